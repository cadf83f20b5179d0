// The M best of many candidates, exactly, with ties in the order in which they come.
#pragma once

#include "keys.inl.h"

namespace espalier {
namespace {

// Candidates come in the order of ties: beam, then code. What is below `bound` cannot win.
class Best {
 public:
  Best(const Candidates &candidates, uint32_t width) : at_(candidates), width_(width) {
    // Sorting out often keeps the bound high; doing so costs as much as some hundred candidates.
    const uint32_t wanted = width * 2 < 128 ? 128 : width * 2;
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
    pad_keys(at_.keys, count_);
    const uint32_t least = key_of_rank(at_.keys, count_, width_, 0, 0);
    // The first ones of those that tie.
    uint32_t ties = width_ - count_at_least(at_.keys, count_, least + 1);
    uint32_t kept = 0;
    // No branches: whether a candidate stays is anybody's guess.
    for (uint32_t index = 0; index < count_; index++) {
      const uint32_t key = at_.keys[index];
      const bool is_tie = key == least;
      at_.keys[kept] = key;
      at_.children[kept] = at_.children[index];
      at_.lo[kept] = at_.lo[index];
      at_.hi[kept] = at_.hi[index];
      kept += (key > least) | (is_tie & (ties > 0));
      ties -= is_tie & (ties > 0);
    }
    count_ = kept;
    bound_ = score_of(least);
  }

  // order[rank] is the candidate of that rank; for at most ESP_MAX_BEAM_WIDTH candidates.
  void rank(uint16_t *order) const {
    if (count_ <= kCounted) rank_by_counting(order);
    else rank_by_digits(order);
  }

  uint32_t key(uint32_t index) const { return at_.keys[index]; }
  uint32_t beam(uint32_t index) const { return at_.children[index] >> kCodeBits; }
  uint32_t code(uint32_t index) const { return at_.children[index] & ((1u << kCodeBits) - 1); }
  uint32_t lo(uint32_t index) const { return at_.lo[index]; }
  uint32_t hi(uint32_t index) const { return at_.hi[index]; }

 private:
  // So few are counted against each other faster than they are sorted.
  static constexpr uint32_t kCounted = 128;

  // A candidate comes after all with larger keys, and after those before it that tie.
  void rank_by_counting(uint16_t *order) const {
    constexpr uint16_t kFree = UINT16_MAX;
    for (uint32_t rank = 0; rank < count_; rank++) order[rank] = kFree;
    pad_keys(at_.keys, count_);
    for (uint32_t at = 0; at < count_; at += kKeyLanes) {
      Keys some;
      memcpy(&some, at_.keys + at, sizeof some);
      Keys above = {};
      for (uint32_t other = 0; other < count_; other++) above -= (Keys)(Keys{} + at_.keys[other] > some);
      for (uint32_t lane = 0; lane < kKeyLanes && at + lane < count_; lane++) {
        uint32_t rank = above[lane];
        while (order[rank] != kFree) rank++;
        order[rank] = static_cast<uint16_t>(at + lane);
      }
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
