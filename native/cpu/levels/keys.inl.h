// Passes over many keys of scores: what a CPU does best.
#pragma once

#include "../../common/candidate_keys.h"
#include "lanes.inl.h"

namespace espalier {
namespace {

// A register of keys. Compilers vectorize loops over so few keys badly by themselves.
#if defined(__AVX512F__)
constexpr uint32_t kKeyLanes = 16;
#elif defined(__AVX2__)
constexpr uint32_t kKeyLanes = 8;
#else
constexpr uint32_t kKeyLanes = 4;
#endif
typedef uint32_t Keys __attribute__((vector_size(kKeyLanes * sizeof(uint32_t))));

// Arrays of keys are filled up with zeros to whole registers, for which they have room.
constexpr uint32_t whole_lanes(uint32_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

inline void pad_keys(uint32_t *keys, uint32_t count) {
  for (uint32_t index = count; index < whole_lanes(count); index++) keys[index] = 0;
}

// `least` is above 0, so that padding doesn't count.
inline uint32_t count_at_least(const uint32_t *keys, uint32_t count, uint32_t least) {
  Keys found = {};
  for (uint32_t at = 0; at < whole_lanes(count); at += kKeyLanes) {
    Keys some;
    memcpy(&some, keys + at, sizeof some);
    found -= (Keys)(some >= Keys{} + least);
  }
  uint32_t total = 0;
  for (uint32_t lane = 0; lane < kKeyLanes; lane++) total += found[lane];
  return total;
}

// A key that `rank` keys reach, and no more than rank + slack unless they tie, by bisection. At least `rank` of the
// padded keys are above `floor`.
inline uint32_t key_of_rank(const uint32_t *keys, uint32_t count, uint32_t rank, uint32_t slack, uint32_t floor) {
  Keys lows = Keys{} + UINT32_MAX;
  Keys highs = {};
  for (uint32_t at = 0; at < whole_lanes(count); at += kKeyLanes) {
    Keys some;
    memcpy(&some, keys + at, sizeof some);
    const Keys kept = some | (Keys)(some <= Keys{} + floor);
    lows = kept < lows ? kept : lows;
    highs = some > highs ? some : highs;
  }
  uint32_t low = UINT32_MAX;
  uint32_t high = 0;
  for (uint32_t lane = 0; lane < kKeyLanes; lane++) {
    low = lows[lane] < low ? lows[lane] : low;
    high = highs[lane] > high ? highs[lane] : high;
  }
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2 + 1;
    const uint32_t found = count_at_least(keys, count, middle);
    if (found < rank) {
      high = middle - 1;
      continue;
    }
    low = middle;
    if (found <= rank + slack) break;
  }
  return low;
}

}  // namespace
}  // namespace espalier
