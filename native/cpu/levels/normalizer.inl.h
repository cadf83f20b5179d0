// log of the sum of exp over a row of logits, in one pass and without its maximum wherever that is safe.
#pragma once

#include "lanes.inl.h"

namespace espalier {
namespace {

// A float32 sum in 64 lanes takes 16 terms before it goes on in double: enough to keep the error below 4e-7.
constexpr size_t kBlock = 1024;
// What is read is fetched so far ahead, in floats.
constexpr size_t kAhead = 1024;
// Terms that were clamped at e^-87 cannot matter to a larger sum; below a smaller one nothing has overflowed.
constexpr double kSmallestSum = 1e-25;
constexpr double kLargestSum = 1e37;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline double sum_of_four(const Lanes *sums) {
  return sum_of(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

// The sum of exp(x - shift) over at most kBlock values.
template <bool kIsShifted>
double block_sum(const float *values, size_t count, float shift) {
  const Lanes shifts = splat(shift);
  const auto term = [&](const float *from) {
    return exponential(kIsShifted ? sub(load(from), shifts) : load(from));
  };
  Lanes sums[4] = {splat(0), splat(0), splat(0), splat(0)};
  size_t at = 0;
  for (; at + 4 * kLanes <= count; at += 4 * kLanes) {
    for (size_t part = 0; part < 4; part++) {
      prefetch(values + at + kAhead + part * kLanes);
      sums[part] = add(sums[part], term(values + at + part * kLanes));
    }
  }
  for (; at < count; at += kLanes) {
    float rest[kLanes];
    for (size_t lane = 0; lane < kLanes; lane++) rest[lane] = at + lane < count ? values[at + lane] : kNegativeInfinity;
    sums[0] = add(sums[0], term(rest));
  }
  return sum_of_four(sums);
}

template <bool kIsShifted>
double sum_exp(const float *values, size_t count, float shift) {
  double sum = 0;
  for (size_t at = 0; at < count; at += kBlock) {
    sum += block_sum<kIsShifted>(values + at, count - at < kBlock ? count - at : kBlock, shift);
  }
  return sum;
}

inline bool is_sane(double sum) { return sum > kSmallestSum && sum < kLargestSum; }

// A row of logits as float32, divided by the temperature.
class Row {
 public:
  Row(const StepTask &task, uint32_t beam)
      : row_(static_cast<const char *>(task.logits) +
             static_cast<size_t>(beam) * task.vocab_size * (task.logit_type == ESP_LOGITS_F16 ? 2 : 4)),
        is_half_(task.logit_type == ESP_LOGITS_F16),
        temperature_(task.temperature) {}

  // Whether logits can be read where they lie.
  bool is_plain() const { return !is_half_ && temperature_ == 1.0f; }
  const float *plain() const { return reinterpret_cast<const float *>(row_); }

  float at(uint32_t token) const {
    float logit;
    if (is_half_) {
      uint16_t half;
      memcpy(&half, row_ + static_cast<size_t>(token) * 2, sizeof half);
      logit = half_to_float(half);
    } else {
      memcpy(&logit, row_ + static_cast<size_t>(token) * 4, sizeof logit);
    }
    return temperature_ == 1.0f ? logit : logit / temperature_;
  }

  // Tokens [from, from + count) converted.
  void convert(uint32_t from, size_t count, float *to) const {
    const Lanes temperature = splat(temperature_);
    size_t index = 0;
    for (; index + kLanes <= count; index += kLanes) {
      const Lanes logits = is_half_ ? load_half(reinterpret_cast<const uint16_t *>(row_) + from + index)
                                    : load(plain() + from + index);
      store(to + index, temperature_ == 1.0f ? logits : divide(logits, temperature));
    }
    for (; index < count; index++) to[index] = at(from + static_cast<uint32_t>(index));
  }

  // Calls visit(values, count, first token) for stretches of [from, to).
  template <class Visit>
  void visit(uint32_t from, uint32_t to, Visit &&visit) const {
    if (is_plain()) {
      if (from < to) visit(plain() + from, size_t{to} - from, from);
      return;
    }
    alignas(64) float buffer[kBlock];
    for (uint32_t at = from; at < to; at += kBlock) {
      const size_t count = to - at < kBlock ? to - at : kBlock;
      convert(at, count, buffer);
      visit(static_cast<const float *>(buffer), count, at);
    }
  }

 private:
  const char *row_;
  bool is_half_;
  float temperature_;
};

// The logits that a normalization reads, stretch by stretch: visit(values, count, token of index).
template <class Visit>
void visit_normalized(const StepTask &task, const Row &row, uint32_t code_count, const float *live, size_t live_count,
                      const uint32_t *live_codes, Visit &&visit) {
  const auto token_of = [&](uint32_t code) {
    return task.token_table != nullptr ? task.token_table[code] : task.token_offset + code;
  };
  switch (task.normalize) {
    case ESP_VOCABULARY:
      row.visit(0, task.vocab_size, [&](const float *values, size_t count, uint32_t first) {
        visit(values, count, [&](size_t index) { return first + static_cast<uint32_t>(index); });
      });
      break;
    case ESP_LEVEL_TOKENS:
      if (task.token_table == nullptr) {
        row.visit(task.token_offset, task.token_offset + code_count, [&](const float *values, size_t count, uint32_t first) {
          visit(values, count, [&](size_t index) { return first + static_cast<uint32_t>(index); });
        });
      } else {
        float buffer[kBlock];
        for (uint32_t at = 0; at < code_count; at += kBlock) {
          const uint32_t count = code_count - at < kBlock ? code_count - at : static_cast<uint32_t>(kBlock);
          for (uint32_t index = 0; index < count; index++) buffer[index] = row.at(token_of(at + index));
          visit(static_cast<const float *>(buffer), count, [&](size_t index) { return token_of(at + static_cast<uint32_t>(index)); });
        }
      }
      break;
    case ESP_LIVE:
      visit(live, live_count, [&](size_t index) { return token_of(live_codes[index]); });
      break;
  }
}

// The same with the maximum taken off first, for rows whose plain sum is not to be trusted; NaN where one is NaN or
// +infinity.
inline float careful_normalizer(const StepTask &task, const Row &row, uint32_t code_count, const float *live = nullptr,
                                size_t live_count = 0, const uint32_t *live_codes = nullptr) {
  float maximum = kNegativeInfinity;
  bool is_bad = false;
  visit_normalized(task, row, code_count, live, live_count, live_codes, [&](const float *values, size_t count, auto &&) {
    for (size_t index = 0; index < count; index++) {
      is_bad |= !(values[index] < kInfinity);
      maximum = values[index] > maximum ? values[index] : maximum;
    }
  });
  if (is_bad) return kNan;
  if (maximum == kNegativeInfinity) return maximum;
  double sum = 0;
  visit_normalized(task, row, code_count, live, live_count, live_codes, [&](const float *values, size_t count, auto &&) {
    sum += sum_exp<true>(values, count, maximum);
  });
  return static_cast<float>(static_cast<double>(maximum) + std::log(sum));
}

inline BadLogit find_bad_logit(const StepTask &task, uint32_t beam, uint32_t code_count, const float *live = nullptr,
                               size_t live_count = 0, const uint32_t *live_codes = nullptr) {
  BadLogit bad = {beam, 0, 0};
  bool is_found = false;
  visit_normalized(task, Row(task, beam), code_count, live, live_count, live_codes,
                   [&](const float *values, size_t count, auto &&token_of) {
                     for (size_t index = 0; index < count && !is_found; index++) {
                       if (values[index] < kInfinity) continue;
                       bad = {beam, token_of(index), values[index]};
                       is_found = true;
                     }
                   });
  return bad;
}

// log of a sum that was made without the maximum, where it can be trusted.
template <class Careful>
float normalizer_of(double sum, Careful &&careful) {
  return __builtin_expect(is_sane(sum), 1) ? logf(static_cast<float>(sum)) : careful();
}

inline void log_sum_exp(const float *logits, uint32_t vocab_size, uint64_t rows, float *out) {
  StepTask task = {};
  task.logits = logits;
  task.vocab_size = vocab_size;
  task.temperature = 1.0f;
  for (uint64_t row = 0; row < rows; row++) {
    const float *values = logits + row * vocab_size;
    out[row] = normalizer_of(sum_exp<false>(values, vocab_size, 0),
                             [&] { return careful_normalizer(task, Row(task, static_cast<uint32_t>(row)), 0); });
  }
}

}  // namespace
}  // namespace espalier
