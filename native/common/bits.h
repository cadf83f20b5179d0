// Bit arrays of 64-bit words, and sorted arrays: what CPU and GPU look up alike.
#pragma once

#if defined(__BMI2__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

#include "host_device.h"

namespace espalier {
namespace {

ESP_HD inline uint64_t low_bits(uint32_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// 64 bits from `from` on; `words` is the length of the array.
ESP_HD inline uint64_t bits_at(const uint64_t *bits, uint64_t words, uint64_t from) {
  const uint64_t word = from / 64;
  const uint32_t shift = from % 64;
  const uint64_t low = bits[word] >> shift;
  return shift == 0 || word + 1 >= words ? low : low | bits[word + 1] << (64 - shift);
}

// The same where the next word can be read, too; no branches.
ESP_HD inline uint64_t two_words_at(const uint64_t *bits, uint64_t from) {
  const uint32_t shift = from % 64;
  return bits[from / 64] >> shift | bits[from / 64 + 1] << 1 << (63 - shift);
}

// The lowest bits go to the places that the mask has, in order.
ESP_HD inline uint64_t scatter_bits(uint64_t bits, uint64_t mask) {
#if defined(__BMI2__) && !defined(__CUDACC__)
  return _pdep_u64(bits, mask);
#else
  uint64_t scattered = 0;
  for (; mask != 0; mask &= mask - 1, bits >>= 1) scattered |= (bits & 1) != 0 ? mask & -mask : 0;
  return scattered;
#endif
}

// The first set bit in [from, to), or `to`.
ESP_HD inline uint32_t next_bit(const uint64_t *bits, uint32_t from, uint32_t to) {
  if (from >= to) return to;
  uint64_t word = from / 64;
  const uint64_t last = (to - 1) / 64;
  uint64_t current = bits[word] & ~low_bits(from % 64);
  while (current == 0) {
    if (++word > last) return to;
    current = bits[word];
  }
  const uint64_t found = word * 64 + static_cast<uint64_t>(ESP_LOW_ZEROS(current));
  return found < to ? static_cast<uint32_t>(found) : to;
}

// The last set bit in [from, at], or `from` where there is none.
ESP_HD inline uint32_t previous_bit(const uint64_t *bits, uint32_t from, uint32_t at) {
  uint64_t word = at / 64;
  const uint64_t first = from / 64;
  uint64_t current = bits[word] & low_bits(at % 64 + 1);
  while (current == 0) {
    if (word-- == first) return from;
    current = bits[word];
  }
  const uint64_t found = word * 64 + 63 - static_cast<uint64_t>(ESP_HIGH_ZEROS(current));
  return found > from ? static_cast<uint32_t>(found) : from;
}

ESP_HD inline uint64_t count_range(const uint64_t *bits, uint64_t words, uint32_t lo, uint32_t hi) {
  uint64_t count = 0;
  for (uint64_t at = lo; at < hi; at += 64) {
    const uint64_t left = hi - at;
    count += static_cast<uint64_t>(
        ESP_POPCOUNT(bits_at(bits, words, at) & low_bits(left < 64 ? static_cast<uint32_t>(left) : 64)));
  }
  return count;
}

// Where the first number of an ascending array is that is no smaller than `value`.
ESP_HD inline uint32_t lower_bound(const uint32_t *sorted, uint32_t count, uint32_t value) {
  uint32_t low = 0;
  while (count > 0) {
    const uint32_t half = count / 2;
    if (sorted[low + half] < value) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return low;
}

}  // namespace
}  // namespace espalier
