// Scores as unsigned numbers that order as the scores do, and passes over many of them: what a CPU does best.
#pragma once

#include "lanes.inl.h"

namespace espalier {
namespace {

// Sixteen keys at a time; the compiler takes several registers where they are narrower.
typedef uint32_t Keys __attribute__((vector_size(kLanes * sizeof(uint32_t))));

inline uint32_t order_key(float score) {
  // -0 becomes +0.
  const float settled = score + 0.0f;
  uint32_t bits;
  memcpy(&bits, &settled, sizeof bits);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

// That of -infinity: the smallest key of any score. 0 is no score's.
constexpr uint32_t kDeadKey = 0x007fffffu;

inline float score_of(uint32_t key) {
  const uint32_t bits = (key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key;
  float score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

constexpr uint32_t round_to_lanes(uint32_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

// Fills up the last sixteen keys with zeros; every array of keys has room for that.
inline void pad_keys(uint32_t *keys, uint32_t count) {
  for (uint32_t index = count; index < round_to_lanes(count); index++) keys[index] = 0;
}

// `least` is above 0, so that padding doesn't count.
inline uint32_t count_at_least(const uint32_t *keys, uint32_t count, uint32_t least) {
  const Keys bound = Keys{} + least;
  Keys found = {};
  for (uint32_t at = 0; at < count; at += kLanes) {
    Keys block;
    memcpy(&block, keys + at, sizeof block);
    found -= (Keys)(block >= bound);
  }
  uint32_t total = 0;
  for (uint32_t lane = 0; lane < kLanes; lane++) total += found[lane];
  return total;
}

struct KeyRange {
  uint32_t low;
  uint32_t high;
};

// The smallest key above `floor`, or UINT32_MAX, and the largest of all.
inline KeyRange range_of(const uint32_t *keys, uint32_t count, uint32_t floor) {
  const Keys floors = Keys{} + floor;
  Keys low = Keys{} + UINT32_MAX;
  Keys high = {};
  for (uint32_t at = 0; at < count; at += kLanes) {
    Keys block;
    memcpy(&block, keys + at, sizeof block);
    const Keys kept = block | (Keys)(block <= floors);
    low = kept < low ? kept : low;
    high = block > high ? block : high;
  }
  KeyRange range = {UINT32_MAX, 0};
  for (uint32_t lane = 0; lane < kLanes; lane++) {
    range.low = low[lane] < range.low ? low[lane] : range.low;
    range.high = high[lane] > range.high ? high[lane] : range.high;
  }
  return range;
}

// A key that `rank` keys reach, and no more than rank + slack unless they tie, by bisection. At least `rank` of the
// padded keys are above `floor`.
inline uint32_t key_of_rank(const uint32_t *keys, uint32_t count, uint32_t rank, uint32_t slack, uint32_t floor) {
  KeyRange range = range_of(keys, count, floor);
  while (range.low < range.high) {
    const uint32_t middle = range.low + (range.high - range.low) / 2 + 1;
    const uint32_t found = count_at_least(keys, count, middle);
    if (found < rank) {
      range.high = middle - 1;
      continue;
    }
    range.low = middle;
    if (found <= rank + slack) break;
  }
  return range.low;
}

}  // namespace
}  // namespace espalier
