// log of the sum of exp over logits that a block's threads share, in one pass. A thread takes off what was the maximum of
// what it saw, and goes over to a new one only where that is much larger: what was summed before then hardly matters, and
// so doesn't the error of scaling it. Always the same tree of additions, so that a row gives the same result each time.
#pragma once

#include "step_shared.h"

namespace espalier::cuda {

// One thread's share: exp(shift) * sum. A sum of NaN comes from a logit of NaN or +infinity.
struct LogSum {
  // Finite, so that -infinity less the shift is no NaN.
  float shift = -FLT_MAX;
  double sum = 0;

  template <uint32_t kCount>
  __device__ void add(const float (&logits)[kCount]) {
    float top = logits[0];
#pragma unroll
    for (uint32_t at = 1; at < kCount; at++) top = fmaxf(top, logits[at]);
    if (top > shift + 8.0f) {
      sum *= static_cast<double>(expf(shift - top));
      shift = top;
    }
    float terms[kCount];
#pragma unroll
    for (uint32_t at = 0; at < kCount; at++) terms[at] = expf(logits[at] - shift);
#pragma unroll
    for (uint32_t step = 1; step < kCount; step *= 2) {
#pragma unroll
      for (uint32_t at = 0; at + step < kCount; at += 2 * step) terms[at] += terms[at + step];
    }
    sum += static_cast<double>(terms[0]);
  }

  __device__ void add(float logit) {
    const float one[1] = {logit};
    add(one);
  }

  // Over the whole warp, in all lanes.
  __device__ void reduce() {
    const float top = score_of(__reduce_max_sync(kWholeWarp, order_key(shift)));
    sum *= static_cast<double>(expf(shift - top));
    shift = top;
#pragma unroll
    for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kWholeWarp, sum, lanes);
  }

  __device__ float log() const {
    if (!(sum > 0)) return sum == 0 ? -INFINITY : NAN;
    // The exponent apart, so that no rounding is larger than that of a number near 1.
    float mantissa = static_cast<float>(sum);
    uint32_t bits;
    memcpy(&bits, &mantissa, sizeof bits);
    const int exponent = static_cast<int>((bits + 0x4afb0du) >> 23) - 127;
    mantissa = bits_to_float(bits - (static_cast<uint32_t>(exponent) << 23));
    const double rest = 0.69314718055994530942 * exponent + static_cast<double>(logf(mantissa));
    return static_cast<float>(static_cast<double>(shift) + rest);
  }
};

// All threads' shares together, as log. Synchronizes the block.
__device__ inline float log_of_block(Shared &shared, LogSum mine) {
  mine.reduce();
  if (lane_index() == 0) {
    shared.shifts[warp_index()] = mine.shift;
    shared.sums[warp_index()] = mine.sum;
  }
  __syncthreads();
  LogSum all;
  if (lane_index() < kWarps) {
    all.shift = shared.shifts[lane_index()];
    all.sum = shared.sums[lane_index()];
  }
  all.reduce();
  return all.log();
}

// 16 bytes of logits.
struct alignas(16) LogitWords {
  uint32_t words[4];
};

template <class Logit>
constexpr uint32_t kVectorLogits = sizeof(LogitWords) / sizeof(Logit);

__device__ inline void unpack(const LogitWords &from, const LogitRow<float> &row, float (&to)[4]) {
#pragma unroll
  for (uint32_t at = 0; at < 4; at++) to[at] = row.scaled(bits_to_float(from.words[at]));
}
template <class Logit>
__device__ inline void unpack(const LogitWords &from, const LogitRow<Logit> &row, float (&to)[8]) {
#pragma unroll
  for (uint32_t at = 0; at < 4; at++) {
    to[2 * at] = row.scaled(to_float(Logit{static_cast<uint16_t>(from.words[at])}));
    to[2 * at + 1] = row.scaled(to_float(Logit{static_cast<uint16_t>(from.words[at] >> 16)}));
  }
}

// Tokens [from, from + count) of a row. Rows begin anywhere: what lies before and after whole vectors goes one by one.
template <class Logit>
__device__ inline void add_tokens(LogSum &sum, const LogitRow<Logit> &row, uint32_t from, uint32_t count, uint32_t worker,
                                  uint32_t workers) {
  constexpr uint32_t kCount = kVectorLogits<Logit>;
  const Logit *first = row.logits + from;
  const uint32_t off = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(first) / sizeof(Logit)) % kCount;
  const uint32_t wanted = off == 0 ? 0 : kCount - off;
  const uint32_t head = wanted < count ? wanted : count;
  const uint32_t vectors = (count - head) / kCount;
  const LogitWords *body = reinterpret_cast<const LogitWords *>(first + head);
  for (uint32_t at = worker; at < vectors; at += 2 * workers) {
    const bool has_two = at + workers < vectors;
    const LogitWords one = body[at];
    LogitWords two = one;
    if (has_two) two = body[at + workers];
    float logits[kCount];
    unpack(one, row, logits);
    sum.add(logits);
    if (!has_two) continue;
    unpack(two, row, logits);
    sum.add(logits);
  }
  const uint32_t rest = count - vectors * kCount;
  for (uint32_t at = worker; at < rest; at += workers) sum.add(row.at(from + (at < head ? at : at + vectors * kCount)));
}

// What a normalization reads of a row, but for that of the live children.
template <class Logit>
__device__ inline void add_normalized(LogSum &sum, const RequestView &view, const LogitRow<Logit> &row, uint32_t worker,
                                      uint32_t workers) {
  const StepArgs &args = view.args;
  if (view.asked.normalize == ESP_VOCABULARY) return add_tokens(sum, row, 0, args.vocab_size, worker, workers);
  if (args.token_table == nullptr) return add_tokens(sum, row, args.token_offset, args.code_count, worker, workers);
  for (uint32_t code = worker; code < args.code_count; code += workers) sum.add(row.at(args.token_table[code]));
}

}  // namespace espalier::cuda
