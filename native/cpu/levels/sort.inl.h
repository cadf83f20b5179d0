// Sorting keys, most significant digit first.
#pragma once

#include <cstring>

#include "level.h"

namespace espalier {
namespace {

constexpr uint64_t kSmallSort = 24;

inline uint32_t log2_floor(uint64_t value) { return 63 - static_cast<uint32_t>(__builtin_clzll(value)); }

inline void insertion_sort(Key *to, const Key *from, uint64_t count) {
  for (uint64_t index = 0; index < count; index++) {
    const Key key = from[index];
    uint64_t at = index;
    for (; at > 0 && to[at - 1] > key; at--) to[at] = to[at - 1];
    to[at] = key;
  }
}

// Counts for each key how many are smaller: no branch to mispredict, which wins for a handful of keys.
inline void rank_sort(Key *to, const Key *from, uint64_t count) {
  uint8_t ranks[16] = {0};
  for (uint64_t index = 1; index < count; index++) {
    const Key key = from[index];
    uint8_t smaller = 0;
    for (uint64_t other = 0; other < index; other++) {
      const uint8_t is_greater = from[other] > key;
      ranks[other] = static_cast<uint8_t>(ranks[other] + is_greater);
      smaller = static_cast<uint8_t>(smaller + 1 - is_greater);
    }
    ranks[index] = smaller;
  }
  for (uint64_t index = 0; index < count; index++) to[ranks[index]] = from[index];
}

// One past the highest bit in which the keys differ; 0 when they are all the same.
inline uint32_t differing_bits(const Key *keys, uint64_t count) {
  uint64_t high = 0;
  uint64_t low = 0;
  for (uint64_t index = 1; index < count; index++) {
    const Key difference = keys[index] ^ keys[0];
    high |= static_cast<uint64_t>(difference >> 64);
    low |= static_cast<uint64_t>(difference);
  }
  if (high != 0) return 64 + log2_floor(high) + 1;
  return low != 0 ? log2_floor(low) + 1 : 0;
}

struct Digits {
  uint32_t low;
  uint32_t mask;
  uint32_t of(Key key) const {
    return (low >= 64 ? static_cast<uint32_t>(static_cast<uint64_t>(key >> 64) >> (low - 64))
                      : static_cast<uint32_t>(key >> low)) & mask;
  }
};

void sort_keys(Key *keys, uint64_t count, Key *scratch) {
  if (count <= kSmallSort) {
    for (uint64_t index = 1; index < count; index++) {
      const Key key = keys[index];
      uint64_t at = index;
      for (; at > 0 && keys[at - 1] > key; at--) keys[at] = keys[at - 1];
      keys[at] = key;
    }
    return;
  }
  const uint32_t bits = differing_bits(keys, count);
  if (bits == 0) return;
  // About four keys to a digit.
  uint32_t width = log2_floor(count) - 2;
  if (width > kDigitBits) width = kDigitBits;
  if (width > bits) width = bits;
  const Digits digits = {bits - width, (1u << width) - 1};

  uint32_t ends[kMaxDigits];
  memset(ends, 0, (digits.mask + 1) * sizeof(uint32_t));
  for (uint64_t index = 0; index < count; index++) ends[digits.of(keys[index])]++;
  uint32_t start = 0;
  for (uint32_t digit = 0; digit <= digits.mask; digit++) {
    const uint32_t size = ends[digit];
    ends[digit] = start;
    start += size;
  }
  for (uint64_t index = 0; index < count; index++) scratch[ends[digits.of(keys[index])]++] = keys[index];
  // Now each entry is where its digit ends.
  uint32_t begin = 0;
  for (uint32_t digit = 0; digit <= digits.mask; digit++) {
    const uint32_t end = ends[digit];
    const uint32_t size = end - begin;
    if (size == 1) {
      keys[begin] = scratch[begin];
    } else if (size <= 12) {
      rank_sort(keys + begin, scratch + begin, size);
    } else if (size <= kSmallSort) {
      insertion_sort(keys + begin, scratch + begin, size);
    } else {
      memcpy(keys + begin, scratch + begin, size * sizeof(Key));
      sort_keys(keys + begin, size, scratch + begin);
    }
    begin = end;
  }
}

void partition_keys(Key *keys, uint64_t count, uint32_t low, uint32_t bits, uint64_t *ends) {
  const Digits digits = {low, (1u << bits) - 1};
  uint64_t next[256];
  memset(ends, 0, (digits.mask + 1) * sizeof(uint64_t));
  for (uint64_t index = 0; index < count; index++) ends[digits.of(keys[index])]++;
  uint64_t start = 0;
  for (uint32_t digit = 0; digit <= digits.mask; digit++) {
    next[digit] = start;
    start += ends[digit];
    ends[digit] = start;
  }
  for (uint32_t digit = 0; digit <= digits.mask; digit++) {
    while (next[digit] < ends[digit]) {
      Key key = keys[next[digit]];
      for (uint32_t home = digits.of(key); home != digit; home = digits.of(key)) {
        Key &place = keys[next[home]++];
        const Key displaced = place;
        place = key;
        key = displaced;
      }
      keys[next[digit]++] = key;
    }
  }
}

}  // namespace
}  // namespace espalier
