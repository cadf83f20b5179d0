// Rows into keys: checking, counting and scattering them.
#pragma once

#include <cstring>

#if defined(__BMI2__)
#include <immintrin.h>
#endif

#include "level.h"

namespace espalier {
namespace {

template <class Code>
constexpr uint32_t kSizeIndex = sizeof(Code) == 1 ? 0 : sizeof(Code) == 2 ? 1 : sizeof(Code) == 4 ? 2 : 3;

template <class Code>
inline Code load_code(const void *codes, uint64_t index) {
  Code code;
  memcpy(&code, static_cast<const char *>(codes) + index * sizeof(Code), sizeof(Code));
  return code;
}

// One code after the other: for the last rows, and for machines without PEXT.
template <class Code>
inline Key sid_key_plain(const void *codes, uint64_t row, const KeyLayout &layout) {
  Key key = 0;
  const uint64_t start = row * layout.row_stride + layout.first_level;
  for (uint32_t level = 0; level < layout.level_count; level++) {
    // A position of 128 belongs to codebooks of one code before all others.
    if (layout.bits[level] != 0) key |= static_cast<Key>(load_code<Code>(codes, start + level)) << layout.position[level];
  }
  return key;
}

#if defined(__BMI2__)
// The first of the word's codes to the top.
template <class Code>
inline uint64_t reverse_lanes(uint64_t word) {
  if (sizeof(Code) == 1) return __builtin_bswap64(word);
  if (sizeof(Code) == 2) {
    const uint64_t low_bytes = 0x00ff00ff00ff00ffull;
    const uint64_t swapped = __builtin_bswap64(word);
    return (swapped & low_bytes) << 8 | (swapped >> 8 & low_bytes);
  }
  if (sizeof(Code) == 4) return word << 32 | word >> 32;
  return word;
}

template <class Code>
inline Key sid_key_groups(const void *codes, uint64_t row, const KeyLayout &layout) {
  const KeyLayout::Groups &groups = layout.groups[kSizeIndex<Code>];
  const char *at = static_cast<const char *>(codes) + (row * layout.row_stride + layout.first_level) * sizeof(Code);
  Key key = 0;
  for (uint32_t group = 0; group < groups.count; group++) {
    uint64_t word;
    memcpy(&word, at + group * 8, 8);
    const uint64_t part = _pext_u64(reverse_lanes<Code>(word), groups.mask[group]);
    if (groups.bits[group] != 0) key |= static_cast<Key>(part) << groups.position[group];
  }
  return key;
}
#endif

// Rows from which whole words may be read without leaving the array.
template <class Code>
inline uint64_t grouped_rows(uint64_t row_count, const KeyLayout &layout) {
  const uint64_t row_bytes = layout.row_stride * sizeof(Code);
  const uint64_t rows_in_slack = (8 + row_bytes - 1) / row_bytes;
  return row_count > rows_in_slack ? row_count - rows_in_slack : 0;
}

template <class Code>
inline Key sid_key(const void *codes, uint64_t row, uint64_t grouped, const KeyLayout &layout) {
#if defined(__BMI2__)
  if (row < grouped) return sid_key_groups<Code>(codes, row, layout);
#else
  (void)grouped;
#endif
  return sid_key_plain<Code>(codes, row, layout);
}

inline uint32_t top_digit(Key key, uint32_t digit_bits) {
  return digit_bits == 0 ? 0 : static_cast<uint32_t>(key >> (128 - digit_bits));
}

// A block of rows is checked while it is in the cache, by comparing it with a repeating pattern of limits.
constexpr uint32_t kCheckRows = 16;

template <class Code>
inline bool block_in_range(const void *codes, uint64_t start, const Code *limits, uint32_t entries) {
  Code above = 0;
  const char *at = static_cast<const char *>(codes) + start * sizeof(Code);
  for (uint32_t index = 0; index < entries; index++) {
    Code code;
    memcpy(&code, at + index * sizeof(Code), sizeof(Code));
    above |= static_cast<Code>(-static_cast<Code>(code > limits[index]));
  }
  return above == 0;
}

template <class Code>
BadCode find_bad_code(const void *codes, uint64_t from, uint64_t to, const KeyLayout &layout) {
  for (uint64_t row = from; row < to; row++) {
    for (uint32_t level = 0; level < layout.row_stride; level++) {
      if (load_code<Code>(codes, row * layout.row_stride + level) > layout.max_code[level]) return {row, level};
    }
  }
  return {to, 0};
}

template <class Code>
BadCode count_rows(const void *codes, uint64_t from, uint64_t to, const KeyLayout &layout, uint32_t digit_bits,
                   uint64_t *counts) {
  Code limits[ESP_MAX_LEVELS * kCheckRows];
  for (uint32_t index = 0; index < layout.row_stride * kCheckRows; index++) {
    const uint32_t limit = layout.max_code[index % layout.row_stride];
    limits[index] = limit > static_cast<Code>(~Code{0}) ? static_cast<Code>(~Code{0}) : static_cast<Code>(limit);
  }
  // Where level 0 has all bits of the digit, nothing else needs to be read.
  const bool by_first_code = layout.bits[0] >= digit_bits;
  const uint32_t first_shift = by_first_code ? layout.bits[0] - digit_bits : 0;
  for (uint64_t block = from; block < to; block += kCheckRows) {
    const uint64_t end = block + kCheckRows < to ? block + kCheckRows : to;
    const uint32_t block_entries = static_cast<uint32_t>(end - block) * layout.row_stride;
    if (!block_in_range<Code>(codes, block * layout.row_stride, limits, block_entries)) {
      return find_bad_code<Code>(codes, block, end, layout);
    }
    if (by_first_code) {
      for (uint64_t row = block; row < end; row++) counts[load_code<Code>(codes, row * layout.row_stride) >> first_shift]++;
    } else {
      for (uint64_t row = block; row < end; row++) counts[top_digit(sid_key_plain<Code>(codes, row, layout), digit_bits)]++;
    }
  }
  return {to, 0};
}

// Four keys fill a cache line; they are written past the cache once they are together.
constexpr uint32_t kLineKeys = 4;

inline void stream_line(Key *to, const Key *from) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i *>(to), _mm512_load_si512(from));
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i *>(to), _mm256_load_si256(reinterpret_cast<const __m256i *>(from)));
  _mm256_stream_si256(reinterpret_cast<__m256i *>(to + 2), _mm256_load_si256(reinterpret_cast<const __m256i *>(from + 2)));
#else
  memcpy(to, from, kLineKeys * sizeof(Key));
#endif
}

template <class Code>
void scatter_rows(const void *codes, uint64_t row_count, uint64_t from, uint64_t to, const KeyLayout &layout,
                  uint32_t digit_bits, uint64_t *next, Key *keys, Key *buffers) {
  uint64_t first[kMaxDigits];
  const uint32_t digits = 1u << digit_bits;
  memcpy(first, next, digits * sizeof(uint64_t));
  const uint64_t grouped = grouped_rows<Code>(row_count, layout);
  for (uint64_t row = from; row < to; row++) {
    const Key key = sid_key<Code>(codes, row, grouped, layout) | row;
    const uint32_t digit = top_digit(key, digit_bits);
    const uint64_t position = next[digit]++;
    Key *line = buffers + static_cast<uint64_t>(digit) * kLineKeys;
    line[position % kLineKeys] = key;
    if (position % kLineKeys != kLineKeys - 1) continue;
    const uint64_t line_start = position - (kLineKeys - 1);
    if (line_start >= first[digit]) {
      stream_line(keys + line_start, line);
    } else {
      // The line's first keys belong to the bucket or the thread before.
      for (uint64_t at = first[digit]; at <= position; at++) keys[at] = line[at % kLineKeys];
    }
  }
  for (uint32_t digit = 0; digit < digits; digit++) {
    const uint64_t end = next[digit];
    const uint64_t line_start = end / kLineKeys * kLineKeys;
    for (uint64_t at = line_start > first[digit] ? line_start : first[digit]; at < end; at++) {
      keys[at] = buffers[static_cast<uint64_t>(digit) * kLineKeys + at % kLineKeys];
    }
  }
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

template <class Code>
void pack_rows(const void *codes, uint64_t row_count, const uint32_t *rows, uint64_t count, const KeyLayout &layout,
               Key *keys) {
  const uint64_t grouped = grouped_rows<Code>(row_count, layout);
  for (uint64_t index = 0; index < count; index++) {
    const uint64_t row = rows == nullptr ? index : rows[index];
    keys[index] = sid_key<Code>(codes, row, grouped, layout) | row;
  }
}

}  // namespace
}  // namespace espalier
