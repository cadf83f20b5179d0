// Rows of logits in each type, and what they are in float32, which all three types can be turned into exactly.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "../../tests/testing.h"

namespace checking {

using testing::Random;

constexpr float kGone = -std::numeric_limits<float>::infinity();

inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// bfloat16 is the upper half of a float32. Cut rather than rounded: the result is as good a random number.
inline uint16_t to_bfloat16(float value) {
  const uint32_t bits = bits_of(value);
  // A NaN stays one also when its lower half goes.
  return static_cast<uint16_t>(std::isnan(value) ? 0x7fc0 : bits >> 16);
}
inline float from_bfloat16(uint16_t half) { return float_of(static_cast<uint32_t>(half) << 16); }

// Cut, and to the nearest end where float16 has no such value; denormal numbers become 0.
inline uint16_t to_float16(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t sign = bits >> 16 & 0x8000;
  const int exponent = static_cast<int>(bits >> 23 & 255) - 127;
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00);
  if (std::isinf(value)) return static_cast<uint16_t>(sign | 0x7c00);
  if (exponent > 15) return static_cast<uint16_t>(sign | 0x7bff);
  if (exponent < -14) return static_cast<uint16_t>(sign);
  return static_cast<uint16_t>(sign | static_cast<uint32_t>(exponent + 15) << 10 | (bits >> 13 & 1023));
}
inline float from_float16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = half >> 10 & 31;
  const uint32_t fraction = half & 1023;
  if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
  if (exponent == 0) return float_of(sign | bits_of(static_cast<float>(fraction) * 0x1p-24f));
  return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

inline size_t bytes_of(esp_logit_type type) { return type == ESP_LOGITS_F32 ? 4 : 2; }

// [row_count, vocab_size]
struct Logits {
  esp_logit_type type;
  uint64_t row_count;
  uint32_t vocab_size;
  // What a kernel gets, and the same in float32.
  std::vector<uint8_t> bytes;
  std::vector<float> values;

  Logits(esp_logit_type logit_type, uint64_t rows, uint32_t vocab)
      : type(logit_type), row_count(rows), vocab_size(vocab), bytes(rows * vocab * bytes_of(logit_type)), values(rows * vocab) {}

  const float *row(uint64_t index) const { return values.data() + index * vocab_size; }

  void set(uint64_t at, float value) {
    if (type == ESP_LOGITS_F32) {
      memcpy(&bytes[at * 4], &value, 4);
      values[at] = value;
      return;
    }
    const bool is_half = type == ESP_LOGITS_F16;
    const uint16_t half = is_half ? to_float16(value) : to_bfloat16(value);
    memcpy(&bytes[at * 2], &half, 2);
    values[at] = is_half ? from_float16(half) : from_bfloat16(half);
  }
};

// Kinds of rows: three values only, so that most children tie; mostly or wholly gone; huge; far from 0; plain.
constexpr uint64_t kLogitKinds = 9;
inline float random_logit(Random &random, uint64_t kind) {
  const float unit = static_cast<float>(random.below(1u << 20)) * 0x1p-20f - 0.5f;
  switch (kind) {
    case 0: return static_cast<float>(random.below(3)) - 1.0f;
    case 1: return random.chance(0.6) ? kGone : unit;
    case 2: return kGone;
    case 3: return unit * 1e5f;
    case 4: return unit - 120.0f;
    case 5: return random.chance(0.5) ? -0.0f : 0.0f;
    default: return unit * 20.0f;
  }
}

}  // namespace checking
