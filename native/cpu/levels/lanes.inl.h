// Sixteen float32 at a time on every instruction set: what the step needs, and no more. A mask has bit i for lane i.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "step_types.h"

#if defined(__x86_64__) && defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace espalier {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

// 2^f for f in [-0.5, 0.5], relative error 2.2e-7; minimax, found by the Remez exchange.
constexpr float kExp2[6] = {1.00000012f, 0.693146944f, 0.240221202f, 0.0555071309f, 0.00967554096f, 0.00132764725f};
constexpr float kLog2e = 1.44269504f;
// e^x for x beyond is no normal float32: below, too small to matter to a sum that is not looked at again
// (log_sum_exp); above, a sum that it enters is.
constexpr float kMinExponent = -87.0f;
constexpr float kMaxExponent = 88.0f;

inline float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  // The exponent moves from bias 15 to bias 127; multiplying by 2^112 does so for subnormal numbers, too.
  uint32_t bits = magnitude << 13;
  float value;
  memcpy(&value, &bits, sizeof value);
  value *= 0x1p112f;
  memcpy(&bits, &value, sizeof bits);
  if (magnitude >= 0x7c00u) bits |= 0x7f800000u;
  bits |= sign;
  memcpy(&value, &bits, sizeof value);
  return value;
}

#if defined(__AVX512F__)

struct Lanes {
  __m512 v;
};

inline Lanes load(const float *from) { return {_mm512_loadu_ps(from)}; }
inline void store(float *to, Lanes a) { _mm512_storeu_ps(to, a.v); }
inline Lanes splat(float value) { return {_mm512_set1_ps(value)}; }
inline Lanes add(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Lanes sub(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Lanes divide(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Lanes max(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
// The larger of both in the mask's lanes, a's elsewhere.
inline Lanes max_where(uint16_t mask, Lanes a, Lanes b) { return {_mm512_mask_max_ps(a.v, mask, a.v, b.v)}; }
inline uint32_t at_least(Lanes a, Lanes b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ); }
inline uint32_t above(Lanes a, Lanes b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
inline float sum_of(Lanes a) { return _mm512_reduce_add_ps(a.v); }
// e^x; NaN and whatever exceeds kMaxExponent give what no sane sum has. One rounding in the reduced exponent, so
// that large |x| costs little precision.
inline Lanes exponential(Lanes x) {
  const __m512 log2e = _mm512_set1_ps(kLog2e);
  // max gives back its second operand where either is NaN.
  const __m512 clamped = _mm512_max_ps(_mm512_set1_ps(kMinExponent), x.v);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(clamped, log2e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_fmsub_ps(clamped, log2e, n);
  __m512 p = _mm512_set1_ps(kExp2[5]);
  for (int term = 4; term >= 0; term--) p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(kExp2[term]));
  return {_mm512_scalef_ps(p, n)};
}
inline Lanes load_half(const uint16_t *from) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)))};
}
inline void prefetch(const void *address) { _mm_prefetch(static_cast<const char *>(address), _MM_HINT_T0); }

#elif defined(__x86_64__) && defined(__AVX2__)

struct Lanes {
  __m256 lo;
  __m256 hi;
};

inline Lanes load(const float *from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float *to, Lanes a) {
  _mm256_storeu_ps(to, a.lo);
  _mm256_storeu_ps(to + 8, a.hi);
}
inline Lanes splat(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline Lanes add(Lanes a, Lanes b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Lanes sub(Lanes a, Lanes b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline Lanes divide(Lanes a, Lanes b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline Lanes max(Lanes a, Lanes b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline __m256 lanes_of(uint32_t bits) {
  const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i all = _mm256_set1_epi32(static_cast<int>(bits));
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(all, each), each));
}
inline Lanes max_where(uint16_t mask, Lanes a, Lanes b) {
  const Lanes larger = max(a, b);
  return {_mm256_blendv_ps(a.lo, larger.lo, lanes_of(mask & 255u)), _mm256_blendv_ps(a.hi, larger.hi, lanes_of(mask >> 8))};
}
template <int kOperation>
inline uint32_t compare(Lanes a, Lanes b) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, kOperation))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, kOperation))) << 8;
}
inline uint32_t at_least(Lanes a, Lanes b) { return compare<_CMP_GE_OQ>(a, b); }
inline uint32_t above(Lanes a, Lanes b) { return compare<_CMP_GT_OQ>(a, b); }
inline float sum_of(Lanes a) {
  const __m256 both = _mm256_add_ps(a.lo, a.hi);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline __m256 exponential(__m256 x) {
  const __m256 log2e = _mm256_set1_ps(kLog2e);
  // max and min give back their second operand where either is NaN.
  const __m256 clamped =
      _mm256_min_ps(_mm256_set1_ps(kMaxExponent), _mm256_max_ps(_mm256_set1_ps(kMinExponent), x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, log2e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 f = _mm256_fmsub_ps(clamped, log2e, n);
  __m256 p = _mm256_set1_ps(kExp2[5]);
  for (int term = 4; term >= 0; term--) p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(kExp2[term]));
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  // NaN's exponent would have been changed.
  return _mm256_blendv_ps(scaled, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
inline Lanes exponential(Lanes x) { return {exponential(x.lo), exponential(x.hi)}; }
inline Lanes load_half(const uint16_t *from) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from + 8)))};
}
inline void prefetch(const void *address) { _mm_prefetch(static_cast<const char *>(address), _MM_HINT_T0); }

#elif defined(__aarch64__)

struct Lanes {
  float32x4_t v[4];
};

template <class Operation>
inline Lanes each(Operation operation) {
  return {{operation(0), operation(1), operation(2), operation(3)}};
}
inline Lanes load(const float *from) {
  return each([&](int part) { return vld1q_f32(from + part * 4); });
}
inline void store(float *to, Lanes a) {
  for (int part = 0; part < 4; part++) vst1q_f32(to + part * 4, a.v[part]);
}
inline Lanes splat(float value) {
  return each([&](int) { return vdupq_n_f32(value); });
}
inline Lanes add(Lanes a, Lanes b) {
  return each([&](int part) { return vaddq_f32(a.v[part], b.v[part]); });
}
inline Lanes sub(Lanes a, Lanes b) {
  return each([&](int part) { return vsubq_f32(a.v[part], b.v[part]); });
}
inline Lanes divide(Lanes a, Lanes b) {
  return each([&](int part) { return vdivq_f32(a.v[part], b.v[part]); });
}
inline Lanes max(Lanes a, Lanes b) {
  return each([&](int part) { return vmaxq_f32(a.v[part], b.v[part]); });
}
inline uint32x4_t lanes_of(uint32_t bits) {
  const uint32_t each_bit[4] = {1, 2, 4, 8};
  return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(each_bit));
}
inline Lanes max_where(uint16_t mask, Lanes a, Lanes b) {
  return each([&](int part) {
    return vbslq_f32(lanes_of(static_cast<uint32_t>(mask) >> (part * 4)), vmaxq_f32(a.v[part], b.v[part]), a.v[part]);
  });
}
inline uint32_t mask_of(uint32x4_t lanes) {
  const uint32_t each_bit[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(lanes, vld1q_u32(each_bit)));
}
template <class Operation>
inline uint32_t mask_of_each(Operation operation) {
  uint32_t mask = 0;
  for (int part = 0; part < 4; part++) mask |= mask_of(operation(part)) << (part * 4);
  return mask;
}
inline uint32_t at_least(Lanes a, Lanes b) {
  return mask_of_each([&](int part) { return vcgeq_f32(a.v[part], b.v[part]); });
}
inline uint32_t above(Lanes a, Lanes b) {
  return mask_of_each([&](int part) { return vcgtq_f32(a.v[part], b.v[part]); });
}
inline float sum_of(Lanes a) {
  return vaddvq_f32(vaddq_f32(vaddq_f32(a.v[0], a.v[1]), vaddq_f32(a.v[2], a.v[3])));
}
inline float32x4_t exponential(float32x4_t x) {
  // vmax and vmin pass NaN on.
  const float32x4_t clamped = vminq_f32(vdupq_n_f32(kMaxExponent), vmaxq_f32(vdupq_n_f32(kMinExponent), x));
  const float32x4_t n = vrndnq_f32(vmulq_n_f32(clamped, kLog2e));
  const float32x4_t f = vfmaq_f32(vnegq_f32(n), clamped, vdupq_n_f32(kLog2e));
  float32x4_t p = vdupq_n_f32(kExp2[5]);
  for (int term = 4; term >= 0; term--) p = vfmaq_f32(vdupq_n_f32(kExp2[term]), p, f);
  const int32x4_t exponent = vshlq_n_s32(vcvtq_s32_f32(n), 23);
  const float32x4_t scaled = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), exponent));
  return vbslq_f32(vceqq_f32(x, x), scaled, x);
}
inline Lanes exponential(Lanes x) {
  return each([&](int part) { return exponential(x.v[part]); });
}
inline Lanes load_half(const uint16_t *from) {
  return each([&](int part) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + part * 4))); });
}
inline void prefetch(const void *address) { __builtin_prefetch(address); }

#else

struct Lanes {
  float v[kLanes];
};

template <class Operation>
inline Lanes each(Operation operation) {
  Lanes result;
  for (uint32_t lane = 0; lane < kLanes; lane++) result.v[lane] = operation(lane);
  return result;
}
inline Lanes load(const float *from) {
  return each([&](uint32_t lane) { return from[lane]; });
}
inline void store(float *to, Lanes a) { memcpy(to, a.v, sizeof a.v); }
inline Lanes splat(float value) {
  return each([&](uint32_t) { return value; });
}
inline Lanes add(Lanes a, Lanes b) {
  return each([&](uint32_t lane) { return a.v[lane] + b.v[lane]; });
}
inline Lanes sub(Lanes a, Lanes b) {
  return each([&](uint32_t lane) { return a.v[lane] - b.v[lane]; });
}
inline Lanes divide(Lanes a, Lanes b) {
  return each([&](uint32_t lane) { return a.v[lane] / b.v[lane]; });
}
inline Lanes max(Lanes a, Lanes b) {
  return each([&](uint32_t lane) { return a.v[lane] > b.v[lane] ? a.v[lane] : b.v[lane]; });
}
inline Lanes max_where(uint16_t mask, Lanes a, Lanes b) {
  return each([&](uint32_t lane) { return (mask >> lane & 1) != 0 && b.v[lane] > a.v[lane] ? b.v[lane] : a.v[lane]; });
}
template <class Operation>
inline uint32_t mask_of_each(Operation operation) {
  uint32_t mask = 0;
  for (uint32_t lane = 0; lane < kLanes; lane++) mask |= static_cast<uint32_t>(operation(lane)) << lane;
  return mask;
}
inline uint32_t at_least(Lanes a, Lanes b) {
  return mask_of_each([&](uint32_t lane) { return a.v[lane] >= b.v[lane]; });
}
inline uint32_t above(Lanes a, Lanes b) {
  return mask_of_each([&](uint32_t lane) { return a.v[lane] > b.v[lane]; });
}
inline float sum_of(Lanes a) {
  float sum = 0;
  for (float value : a.v) sum += value;
  return sum;
}
inline float exponential(float x) {
  // A NaN is below nothing, and stays.
  const float low = x < kMinExponent ? kMinExponent : x;
  const float clamped = low > kMaxExponent ? kMaxExponent : low;
  // Adding 1.5 * 2^23 rounds to an integer, which is then in the lowest bits.
  constexpr float kRound = 12582912.0f;
  const float rounded = clamped * kLog2e + kRound;
  const float f = static_cast<float>(static_cast<double>(clamped) * kLog2e - (rounded - kRound));
  float p = kExp2[5];
  for (int term = 4; term >= 0; term--) p = p * f + kExp2[term];
  uint32_t exponent;
  memcpy(&exponent, &rounded, sizeof exponent);
  uint32_t bits;
  memcpy(&bits, &p, sizeof bits);
  bits += exponent << 23;
  float result;
  memcpy(&result, &bits, sizeof result);
  return x == x ? result : x;
}
inline Lanes exponential(Lanes x) {
  return each([&](uint32_t lane) { return exponential(x.v[lane]); });
}
inline Lanes load_half(const uint16_t *from) {
  return each([&](uint32_t lane) { return half_to_float(from[lane]); });
}
inline void prefetch(const void *address) { __builtin_prefetch(address); }

#endif

// 64-bit words of a cache line.
constexpr uint32_t kLineWords = 8;

// Makes the compiler keep loads that are made for the cache's sake.
inline void keep(uint64_t touched) { __asm__ __volatile__("" ::"r"(touched)); }

}  // namespace
}  // namespace espalier
