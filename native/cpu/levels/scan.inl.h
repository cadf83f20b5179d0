// Tests over columns: 64 codes to one word of bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__BMI2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "level.h"

namespace espalier {
namespace {

#if defined(__AVX512F__)

inline uint64_t in_range_64(const uint8_t *codes, uint8_t low, uint8_t span) {
  const __m512i shifted = _mm512_sub_epi8(_mm512_loadu_si512(codes), _mm512_set1_epi8(static_cast<char>(low)));
  return _mm512_cmple_epu8_mask(shifted, _mm512_set1_epi8(static_cast<char>(span)));
}

// Masks are joined as masks: GCC 12 may spill the 32 bits of one to memory and read them back as 64, with
// whatever lay behind them.
inline uint64_t join(__mmask32 low, __mmask32 high) { return _cvtmask64_u64(_mm512_kunpackd(high, low)); }
inline uint64_t join(const __mmask16 *parts) {
  return join(_mm512_kunpackw(parts[1], parts[0]), _mm512_kunpackw(parts[3], parts[2]));
}

inline __mmask32 in_range_32(const uint16_t *codes, uint16_t low, uint16_t span) {
  const __m512i shifted = _mm512_sub_epi16(_mm512_loadu_si512(codes), _mm512_set1_epi16(static_cast<short>(low)));
  return _mm512_cmple_epu16_mask(shifted, _mm512_set1_epi16(static_cast<short>(span)));
}

inline uint64_t in_range_64(const uint16_t *codes, uint16_t low, uint16_t span) {
  return join(in_range_32(codes, low, span), in_range_32(codes + 32, low, span));
}

inline uint64_t in_range_64(const uint32_t *codes, uint32_t low, uint32_t span) {
  __mmask16 parts[4];
  for (int part = 0; part < 4; part++) {
    const __m512i shifted =
        _mm512_sub_epi32(_mm512_loadu_si512(codes + part * 16), _mm512_set1_epi32(static_cast<int>(low)));
    parts[part] = _mm512_cmple_epu32_mask(shifted, _mm512_set1_epi32(static_cast<int>(span)));
  }
  return join(parts);
}

inline uint64_t in_range_64(const double *codes, double low, double high) {
  uint64_t word = 0;
  for (int part = 0; part < 8; part++) {
    const __m512d values = _mm512_loadu_pd(codes + part * 8);
    const __mmask8 above = _mm512_cmp_pd_mask(values, _mm512_set1_pd(low), _CMP_GE_OQ);
    const __mmask8 inside = _mm512_mask_cmp_pd_mask(above, values, _mm512_set1_pd(high), _CMP_LE_OQ);
    word |= static_cast<uint64_t>(inside) << (part * 8);
  }
  return word;
}

// The flags of 16 codes; those beyond `count` have none.
inline __mmask16 flags_16(__m512i codes, const uint64_t *flags, uint64_t count) {
  const __mmask16 known = _mm512_cmplt_epu32_mask(codes, _mm512_set1_epi32(static_cast<int>(count)));
  const __m512i words = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), known, _mm512_srli_epi32(codes, 5), flags, 4);
  const __m512i bits = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(codes, _mm512_set1_epi32(31)));
  return _mm512_test_epi32_mask(words, bits);
}

inline uint64_t flagged_64(const uint16_t *codes, const uint64_t *flags, uint64_t count) {
  __mmask16 parts[4];
  for (int part = 0; part < 4; part++) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes + part * 16));
    parts[part] = flags_16(_mm512_cvtepu16_epi32(half), flags, count);
  }
  return join(parts);
}

inline uint64_t flagged_64(const uint32_t *codes, const uint64_t *flags, uint64_t count) {
  __mmask16 parts[4];
  for (int part = 0; part < 4; part++) parts[part] = flags_16(_mm512_loadu_si512(codes + part * 16), flags, count);
  return join(parts);
}

#elif defined(__AVX2__)

inline uint64_t in_range_64(const uint8_t *codes, uint8_t low, uint8_t span) {
  uint64_t word = 0;
  for (int part = 0; part < 2; part++) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes + part * 32));
    const __m256i shifted = _mm256_sub_epi8(values, _mm256_set1_epi8(static_cast<char>(low)));
    const __m256i inside = _mm256_cmpeq_epi8(_mm256_min_epu8(shifted, _mm256_set1_epi8(static_cast<char>(span))), shifted);
    word |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(inside))) << (part * 32);
  }
  return word;
}

inline uint64_t in_range_64(const uint16_t *codes, uint16_t low, uint16_t span) {
  uint64_t word = 0;
  const __m256i spans = _mm256_set1_epi16(static_cast<short>(span));
  for (int part = 0; part < 2; part++) {
    __m256i inside[2];
    for (int half = 0; half < 2; half++) {
      const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes + part * 32 + half * 16));
      const __m256i shifted = _mm256_sub_epi16(values, _mm256_set1_epi16(static_cast<short>(low)));
      inside[half] = _mm256_cmpeq_epi16(_mm256_min_epu16(shifted, spans), shifted);
    }
    // Packing works within 128-bit lanes; the permutation puts the quarters in order.
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(inside[0], inside[1]), 0xd8);
    word |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(bytes))) << (part * 32);
  }
  return word;
}

inline uint64_t in_range_64(const uint32_t *codes, uint32_t low, uint32_t span) {
  uint64_t word = 0;
  const __m256i spans = _mm256_set1_epi32(static_cast<int>(span));
  for (int part = 0; part < 8; part++) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes + part * 8));
    const __m256i shifted = _mm256_sub_epi32(values, _mm256_set1_epi32(static_cast<int>(low)));
    const __m256i inside = _mm256_cmpeq_epi32(_mm256_min_epu32(shifted, spans), shifted);
    word |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(inside)))) << (part * 8);
  }
  return word;
}

inline uint64_t in_range_64(const double *codes, double low, double high) {
  uint64_t word = 0;
  for (int part = 0; part < 16; part++) {
    const __m256d values = _mm256_loadu_pd(codes + part * 4);
    const __m256d inside = _mm256_and_pd(_mm256_cmp_pd(values, _mm256_set1_pd(low), _CMP_GE_OQ),
                                         _mm256_cmp_pd(values, _mm256_set1_pd(high), _CMP_LE_OQ));
    word |= static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_pd(inside))) << (part * 4);
  }
  return word;
}

inline uint32_t flags_8(__m256i codes, const uint64_t *flags, uint64_t count) {
  // Unsigned comparison by flipping the sign bits; a count beyond 32 bits knows every code.
  const __m256i sign = _mm256_set1_epi32(INT32_MIN);
  const __m256i known = count > UINT32_MAX
                            ? _mm256_set1_epi32(-1)
                            : _mm256_cmpgt_epi32(_mm256_xor_si256(_mm256_set1_epi32(static_cast<int>(count)), sign),
                                                 _mm256_xor_si256(codes, sign));
  const __m256i words = _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), reinterpret_cast<const int *>(flags),
                                                    _mm256_srli_epi32(codes, 5), known, 4);
  const __m256i bits = _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_and_si256(codes, _mm256_set1_epi32(31)));
  const __m256i missing = _mm256_cmpeq_epi32(_mm256_and_si256(words, bits), _mm256_setzero_si256());
  return ~static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(missing))) & 0xff;
}

inline uint64_t flagged_64(const uint16_t *codes, const uint64_t *flags, uint64_t count) {
  uint64_t word = 0;
  for (int part = 0; part < 8; part++) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i *>(codes + part * 8));
    word |= static_cast<uint64_t>(flags_8(_mm256_cvtepu16_epi32(eight), flags, count)) << (part * 8);
  }
  return word;
}

inline uint64_t flagged_64(const uint32_t *codes, const uint64_t *flags, uint64_t count) {
  uint64_t word = 0;
  for (int part = 0; part < 8; part++) {
    const __m256i eight = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes + part * 8));
    word |= static_cast<uint64_t>(flags_8(eight, flags, count)) << (part * 8);
  }
  return word;
}

#else

#if defined(__aarch64__)
// One bit for each of 16 bytes that are all ones or all zeros.
inline uint64_t mask_16(uint8x16_t bytes) {
  static const uint8_t kWeights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t weighted = vandq_u8(bytes, vld1q_u8(kWeights));
  return static_cast<uint64_t>(vaddv_u8(vget_low_u8(weighted))) |
         static_cast<uint64_t>(vaddv_u8(vget_high_u8(weighted))) << 8;
}

inline uint64_t in_range_64(const uint8_t *codes, uint8_t low, uint8_t span) {
  uint64_t word = 0;
  for (int part = 0; part < 4; part++) {
    const uint8x16_t shifted = vsubq_u8(vld1q_u8(codes + part * 16), vdupq_n_u8(low));
    word |= mask_16(vcleq_u8(shifted, vdupq_n_u8(span))) << (part * 16);
  }
  return word;
}

inline uint8x8_t in_range_8(const uint16_t *codes, uint16_t low, uint16_t span) {
  return vmovn_u16(vcleq_u16(vsubq_u16(vld1q_u16(codes), vdupq_n_u16(low)), vdupq_n_u16(span)));
}

inline uint64_t in_range_64(const uint16_t *codes, uint16_t low, uint16_t span) {
  uint64_t word = 0;
  for (int part = 0; part < 4; part++) {
    const uint16_t *at = codes + part * 16;
    word |= mask_16(vcombine_u8(in_range_8(at, low, span), in_range_8(at + 8, low, span))) << (part * 16);
  }
  return word;
}

inline uint16x4_t in_range_4(const uint32_t *codes, uint32_t low, uint32_t span) {
  return vmovn_u32(vcleq_u32(vsubq_u32(vld1q_u32(codes), vdupq_n_u32(low)), vdupq_n_u32(span)));
}

inline uint64_t in_range_64(const uint32_t *codes, uint32_t low, uint32_t span) {
  uint64_t word = 0;
  for (int part = 0; part < 4; part++) {
    const uint32_t *at = codes + part * 16;
    const uint16x8_t first = vcombine_u16(in_range_4(at, low, span), in_range_4(at + 4, low, span));
    const uint16x8_t second = vcombine_u16(in_range_4(at + 8, low, span), in_range_4(at + 12, low, span));
    word |= mask_16(vcombine_u8(vmovn_u16(first), vmovn_u16(second))) << (part * 16);
  }
  return word;
}
#else
template <class Code>
inline uint64_t in_range_64(const Code *codes, Code low, Code span) {
  uint64_t word = 0;
  for (uint32_t bit = 0; bit < 64; bit++) {
    word |= static_cast<uint64_t>(static_cast<Code>(codes[bit] - low) <= span) << bit;
  }
  return word;
}
#endif

inline uint64_t in_range_64(const double *codes, double low, double high) {
  uint64_t word = 0;
  for (uint32_t bit = 0; bit < 64; bit++) {
    word |= static_cast<uint64_t>(codes[bit] >= low && codes[bit] <= high) << bit;
  }
  return word;
}

template <class Code>
inline uint64_t flagged_64(const Code *codes, const uint64_t *flags, uint64_t count) {
  uint64_t word = 0;
  for (uint32_t bit = 0; bit < 64; bit++) {
    const uint64_t code = codes[bit];
    if (code < count) word |= (flags[code / 64] >> (code % 64) & 1) << bit;
  }
  return word;
}

#endif

// The 256 flags that 8-bit codes can have, as a table of bytes: one look-up for all codes of a word.
inline uint64_t flagged_64(const uint8_t *codes, const uint8_t *table) {
#if defined(__AVX512VBMI__)
  const __m512i values = _mm512_loadu_si512(codes);
  const __m512i packed = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(table)));
  // Byte code / 8 of the table, then bit code % 8 of that byte.
  const __m512i index = _mm512_and_si512(_mm512_srli_epi16(values, 3), _mm512_set1_epi8(31));
  const __m512i bytes = _mm512_permutexvar_epi8(index, packed);
  const __m512i weights = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201ull));
  const __m512i bits = _mm512_shuffle_epi8(weights, _mm512_and_si512(values, _mm512_set1_epi8(7)));
  return _mm512_test_epi8_mask(bytes, bits);
#elif defined(__AVX2__)
  const __m128i *halves = reinterpret_cast<const __m128i *>(table);
  const __m256i low_table = _mm256_broadcastsi128_si256(_mm_loadu_si128(halves));
  const __m256i high_table = _mm256_broadcastsi128_si256(_mm_loadu_si128(halves + 1));
  const __m256i weights = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  uint64_t word = 0;
  for (int part = 0; part < 2; part++) {
    const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(codes + part * 32));
    const __m256i index = _mm256_and_si256(_mm256_srli_epi16(values, 3), _mm256_set1_epi8(15));
    // The code's top bit chooses the half of the table.
    const __m256i bytes =
        _mm256_blendv_epi8(_mm256_shuffle_epi8(low_table, index), _mm256_shuffle_epi8(high_table, index), values);
    const __m256i bits = _mm256_shuffle_epi8(weights, _mm256_and_si256(values, _mm256_set1_epi8(7)));
    const __m256i missing = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bits), _mm256_setzero_si256());
    word |= static_cast<uint64_t>(~static_cast<uint32_t>(_mm256_movemask_epi8(missing))) << (part * 32);
  }
  return word;
#else
  uint64_t word = 0;
  for (uint32_t bit = 0; bit < 64; bit++) {
    word |= static_cast<uint64_t>(table[codes[bit] / 8] >> (codes[bit] % 8) & 1) << bit;
  }
  return word;
#endif
}

template <class Code>
void range(const void *codes, double low, double high, uint64_t *out, size_t words) {
  const Code first = static_cast<Code>(low);
  const Code span = static_cast<Code>(static_cast<Code>(high) - first);
  for (size_t word = 0; word < words; word++) {
    out[word] = in_range_64(static_cast<const Code *>(codes) + word * 64, first, span);
  }
}

void range_doubles(const void *codes, double low, double high, uint64_t *out, size_t words) {
  for (size_t word = 0; word < words; word++) {
    out[word] = in_range_64(static_cast<const double *>(codes) + word * 64, low, high);
  }
}

template <class Code>
void flags(const void *codes, const uint64_t *flags, uint64_t flag_count, uint64_t *out, size_t words) {
  for (size_t word = 0; word < words; word++) {
    out[word] = flagged_64(static_cast<const Code *>(codes) + word * 64, flags, flag_count);
  }
}

template <>
void flags<uint8_t>(const void *codes, const uint64_t *flags, uint64_t flag_count, uint64_t *out, size_t words) {
  uint8_t table[32] = {0};
  for (uint64_t flag = 0; flag < flag_count && flag < 256; flag++) {
    table[flag / 8] = static_cast<uint8_t>(table[flag / 8] | (flags[flag / 64] >> (flag % 64) & 1) << (flag % 8));
  }
  for (size_t word = 0; word < words; word++) {
    out[word] = flagged_64(static_cast<const uint8_t *>(codes) + word * 64, table);
  }
}

}  // namespace
}  // namespace espalier
