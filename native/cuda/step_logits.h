// Logits of three types, as float32 and divided by the temperature.
#pragma once

#include "device.h"

namespace espalier::cuda {

// The bits of a float16 and of a bfloat16.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

__device__ inline float bits_to_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(BFloat value) { return bits_to_float(static_cast<uint32_t>(value.bits) << 16); }
__device__ inline float to_float(Half value) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#else
  const uint32_t magnitude = value.bits & 0x7fffu;
  // The exponent moves from bias 15 to bias 127; multiplying by 2^112 does so for subnormal numbers, too.
  float result = bits_to_float(magnitude << 13) * 0x1p112f;
  if (magnitude >= 0x7c00u) result = bits_to_float(magnitude << 13 | 0x7f800000u);
  return (value.bits & 0x8000u) != 0 ? -result : result;
#endif
}

// 16 bytes of logits.
template <class Logit>
struct alignas(16) LogitVector {
  static constexpr uint32_t kCount = 16 / sizeof(Logit);
  Logit values[kCount];
};

// A row of logits.
template <class Logit>
struct LogitRow {
  const Logit *logits;
  float temperature;

  __device__ float scaled(float logit) const { return temperature == 1.0f ? logit : logit / temperature; }
  __device__ float at(uint32_t token) const { return scaled(to_float(logits[token])); }
};

}  // namespace espalier::cuda
