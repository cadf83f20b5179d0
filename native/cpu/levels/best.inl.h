// The M best of many candidates, exactly, with ties in the order in which they come.
#pragma once

#include "lanes.inl.h"

namespace espalier {
namespace {

// Unsigned numbers that order as floats do; 0 is below all.
inline uint32_t order_key(float score) {
  // -0 becomes +0.
  const float settled = score + 0.0f;
  uint32_t bits;
  memcpy(&bits, &settled, sizeof bits);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

inline float score_of(uint32_t key) {
  const uint32_t bits = (key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key;
  float score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

inline uint32_t count_at_least(const uint32_t *keys, uint32_t count, uint32_t least) {
  uint32_t found = 0;
  for (uint32_t index = 0; index < count; index++) found += keys[index] >= least;
  return found;
}

// The rank-th largest of `count` >= rank keys, by bisection: passes over the keys are what the CPU does best.
inline uint32_t kth_largest(const uint32_t *keys, uint32_t count, uint32_t rank) {
  uint32_t low = UINT32_MAX;
  uint32_t high = 0;
  for (uint32_t index = 0; index < count; index++) {
    low = keys[index] < low ? keys[index] : low;
    high = keys[index] > high ? keys[index] : high;
  }
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2 + 1;
    const uint32_t found = count_at_least(keys, count, middle);
    if (found == rank) {
      uint32_t smallest = UINT32_MAX;
      for (uint32_t index = 0; index < count; index++) {
        const uint32_t kept = keys[index] >= middle ? keys[index] : UINT32_MAX;
        smallest = kept < smallest ? kept : smallest;
      }
      return smallest;
    }
    if (found > rank) low = middle;
    else high = middle - 1;
  }
  return low;
}

// Candidates come in the order of ties: beam, then code. What is below `bound` cannot win.
class Best {
 public:
  Best(const Candidates &candidates, uint32_t width) : at_(candidates), width_(width) {
    // Sorting out often keeps the bound high; doing so costs as much as some hundred candidates.
    const uint32_t wanted = width * 4 < 256 ? 256 : width * 4;
    capacity_ = wanted < candidates.capacity ? wanted : candidates.capacity;
  }

  // The score that a candidate must reach; -infinity as long as every one may win.
  float bound() const { return bound_; }
  void raise_bound(float bound) { bound_ = bound; }
  uint32_t count() const { return count_; }

  void push(float score, uint32_t beam, uint32_t code, uint32_t lo, uint32_t hi) {
    at_.keys[count_] = order_key(score);
    at_.children[count_] = beam << kCodeBits | code;
    at_.lo[count_] = lo;
    at_.hi[count_] = hi;
    if (++count_ == capacity_) keep_best();
  }

  // Afterwards at most `width` are left.
  void keep_best() {
    if (count_ <= width_) return;
    const uint32_t least = kth_largest(at_.keys, count_, width_);
    // The first ones of those that tie.
    uint32_t ties = width_;
    for (uint32_t index = 0; index < count_; index++) ties -= at_.keys[index] > least;
    uint32_t kept = 0;
    for (uint32_t index = 0; index < count_; index++) {
      const uint32_t key = at_.keys[index];
      if (key < least || (key == least && ties == 0)) continue;
      ties -= key == least;
      at_.keys[kept] = key;
      at_.children[kept] = at_.children[index];
      at_.lo[kept] = at_.lo[index];
      at_.hi[kept] = at_.hi[index];
      kept++;
    }
    count_ = kept;
    bound_ = score_of(least);
  }

  // order[rank] is the candidate of that rank; for at most ESP_MAX_BEAM_WIDTH candidates.
  void rank(uint16_t *order) const {
    if (count_ <= 128) rank_by_counting(order);
    else rank_by_digits(order);
  }

  uint32_t key(uint32_t index) const { return at_.keys[index]; }
  uint32_t beam(uint32_t index) const { return at_.children[index] >> kCodeBits; }
  uint32_t code(uint32_t index) const { return at_.children[index] & ((1u << kCodeBits) - 1); }
  uint32_t lo(uint32_t index) const { return at_.lo[index]; }
  uint32_t hi(uint32_t index) const { return at_.hi[index]; }

 private:
  void rank_by_counting(uint16_t *order) const {
    for (uint32_t index = 0; index < count_; index++) {
      const uint32_t key = at_.keys[index];
      uint32_t before = 0;
      for (uint32_t other = 0; other < index; other++) before += at_.keys[other] >= key;
      for (uint32_t other = index + 1; other < count_; other++) before += at_.keys[other] > key;
      order[before] = static_cast<uint16_t>(index);
    }
  }

  void rank_by_digits(uint16_t *order) const {
    uint16_t other[ESP_MAX_BEAM_WIDTH];
    uint16_t *from = other;
    uint16_t *to = order;
    for (uint32_t index = 0; index < count_; index++) order[index] = static_cast<uint16_t>(index);
    for (uint32_t shift = 0; shift < 32; shift += 8) {
      uint16_t *swapped = from;
      from = to;
      to = swapped;
      uint32_t starts[257] = {0};
      // Larger digits first.
      for (uint32_t index = 0; index < count_; index++) starts[256 - (at_.keys[from[index]] >> shift & 255)]++;
      for (uint32_t digit = 1; digit < 257; digit++) starts[digit] += starts[digit - 1];
      for (uint32_t index = 0; index < count_; index++) {
        to[starts[255 - (at_.keys[from[index]] >> shift & 255)]++] = from[index];
      }
    }
    // Four passes end where they began: in `order`.
  }

  Candidates at_;
  uint32_t width_;
  uint32_t capacity_;
  uint32_t count_ = 0;
  float bound_ = kNegativeInfinity;
};

}  // namespace
}  // namespace espalier
