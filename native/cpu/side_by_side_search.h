// Binary searches that go on side by side: each alone would wait for memory at every probe, these wait together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace espalier {

constexpr size_t kSearchesAtOnce = 16;

// counts[i]: how many of `key_count` ascending keys are not above values[i].
// @param key_at asked with indices below key_count
template <class KeyAt>
void count_not_above(const KeyAt &key_at, uint32_t key_count, const uint32_t *values, size_t value_count,
                     uint32_t *counts) {
  std::fill_n(counts, value_count, 0);
  for (size_t from = 0; from < value_count; from += kSearchesAtOnce) {
    const size_t end = std::min(value_count, from + kSearchesAtOnce);
    // Each search has `left` keys before it, from counts[i] on; no branch, which would be guessed wrong every other time.
    for (uint32_t left = key_count; left > 0;) {
      const uint32_t half = (left + 1) / 2;
      for (size_t i = from; i < end; i++) counts[i] += key_at(counts[i] + half - 1) <= values[i] ? half : 0;
      left -= half;
    }
  }
}

}  // namespace espalier
