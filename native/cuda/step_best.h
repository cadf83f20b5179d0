// The M best of many candidates, exactly, by all threads of a block. Keys are unique, so that whatever order they come in
// the same ones are kept.
#pragma once

#include "step_shared.h"

namespace espalier::cuda {

// The sum of what the threads before this one bring, and of `all`. Synchronizes the block.
__device__ inline uint32_t sum_before(Shared &shared, uint32_t own, uint32_t &all) {
  uint32_t through = own;
#pragma unroll
  for (uint32_t lanes = 1; lanes < kWarpSize; lanes *= 2) {
    const uint32_t other = __shfl_up_sync(kWholeWarp, through, lanes);
    if (lane_index() >= lanes) through += other;
  }
  if (lane_index() == kWarpSize - 1) shared.totals[warp_index()] = through;
  __syncthreads();
  uint32_t before = through - own;
  all = 0;
  for (uint32_t warp = 0; warp < kWarps; warp++) {
    if (warp < warp_index()) before += shared.totals[warp];
    all += shared.totals[warp];
  }
  return before;
}

// A key that `want` keys reach and no more than `limit` do, by their digits from the top; 1 where there are fewer. Each
// thread's share comes from each(visit), which may visit zeros. Synchronizes the block.
template <class Each>
__device__ uint64_t bound_of(Shared &shared, Each &&each, uint32_t want, uint32_t limit) {
  uint64_t low = UINT64_MAX;
  uint64_t high = 0;
  each([&](uint64_t key) {
    if (key == 0) return;
    low = key < low ? key : low;
    high = key > high ? key : high;
  });
#pragma unroll
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    const uint64_t other_low = __shfl_xor_sync(kWholeWarp, low, lanes);
    const uint64_t other_high = __shfl_xor_sync(kWholeWarp, high, lanes);
    low = other_low < low ? other_low : low;
    high = other_high > high ? other_high : high;
  }
  if (lane_index() == 0) {
    shared.lows[warp_index()] = low;
    shared.highs[warp_index()] = high;
  }
  __syncthreads();
  for (uint32_t warp = 0; warp < kWarps; warp++) {
    low = shared.lows[warp] < low ? shared.lows[warp] : low;
    high = shared.highs[warp] > high ? shared.highs[warp] : high;
  }
  if (low > high) return 1;
  // The key that is searched for is in [low, low + 2^width); `above` keys are beyond.
  uint32_t width = low == high ? 0 : 64 - static_cast<uint32_t>(ESP_HIGH_ZEROS(high - low));
  uint32_t above = 0;
  for (;;) {
    const uint32_t shift = width > kDigitBits ? width - kDigitBits : 0;
    const uint64_t span = low_bits(width);
    for (uint32_t bin = threadIdx.x; bin < kBins; bin += kThreads) shared.histogram[bin] = 0;
    __syncthreads();
    each([&](uint64_t key) {
      if (key != 0 && key - low <= span) atomicAdd(&shared.histogram[(key - low) >> shift], 1u);
    });
    __syncthreads();
    // Bins from the top, some a thread.
    constexpr uint32_t kEach = kBins / (kSumWarps * kWarpSize);
    const uint32_t top = kBins - 1 - threadIdx.x * kEach;
    uint32_t counts[kEach];
    uint32_t own = 0;
#pragma unroll
    for (uint32_t at = 0; at < kEach; at++) {
      counts[at] = threadIdx.x < kSumWarps * kWarpSize ? shared.histogram[top - at] : 0;
      own += counts[at];
    }
    uint32_t all;
    uint32_t before = above + sum_before(shared, own, all);
    if (above + all < want) return 1;
#pragma unroll
    for (uint32_t at = 0; at < kEach; at++) {
      if (before < want && before + counts[at] >= want) {
        shared.bin = top - at;
        shared.above = before;
        shared.inside = counts[at];
      }
      before += counts[at];
    }
    __syncthreads();
    low += static_cast<uint64_t>(shared.bin) << shift;
    above = shared.above;
    width = shift;
    if (shift == 0 || above + shared.inside <= limit) return low;
  }
}

// Candidates in shared memory, of which the `width` best stay. All threads call its functions together; cursor is 0 when
// it begins.
class Best {
 public:
  __device__ Best(Shared &shared, const List &list, uint32_t width) : shared_(shared), list_(list), width_(width) {}

  __device__ uint32_t count() const { return count_; }
  // What is below cannot win.
  __device__ uint64_t bound() const { return bound_; }
  __device__ void raise_bound(uint64_t bound) { bound_ = bound; }

  // Each thread's candidate, or 0. Synchronizes the block.
  __device__ void offer(uint64_t key, Place place) {
    const bool is_kept = key >= bound_;
    const uint32_t lanes = __ballot_sync(kWholeWarp, is_kept);
    uint32_t at = 0;
    if (lanes != 0 && lane_index() == 0) at = atomicAdd(&shared_.cursor, count_lanes(lanes));
    at = __shfl_sync(kWholeWarp, at, 0) + count_lanes(lanes & lanes_before());
    if (is_kept) {
      list_.keys[at] = key;
      list_.places[at] = place;
    }
    count_ += static_cast<uint32_t>(__syncthreads_count(is_kept));
    if (count_ + kThreads > list_.room) keep_best();
  }

  // Takes over what the list already has, for rank().
  __device__ void adopt(uint32_t count) { count_ = count; }

  // Afterwards at most `width` are left.
  __device__ void keep_best() {
    if (count_ <= width_) return;
    const uint64_t bound = bound_of(
        shared_,
        [&](auto &&visit) {
          for (uint32_t at = threadIdx.x; at < count_; at += kThreads) visit(list_.keys[at]);
        },
        width_, width_);
    if (threadIdx.x == 0) shared_.cursor = 0;
    // What stays moves forward, over what has been read.
    for (uint32_t from = 0; from < count_; from += kThreads) {
      const uint32_t at = from + threadIdx.x;
      const uint64_t key = at < count_ ? list_.keys[at] : 0;
      const Place place = at < count_ ? list_.places[at] : Place{0, 0};
      __syncthreads();
      if (key < bound) continue;
      const uint32_t to = atomicAdd(&shared_.cursor, 1u);
      // Only damaged tries have equal keys.
      if (to >= width_) continue;
      list_.keys[to] = key;
      list_.places[to] = place;
    }
    __syncthreads();
    count_ = shared_.cursor < width_ ? shared_.cursor : width_;
    bound_ = bound;
    __syncthreads();
    if (threadIdx.x == 0) shared_.cursor = count_;
    __syncthreads();
  }

  // Calls emit(rank, key, place) for the best ones, by any thread. @return how many
  template <class Emit>
  __device__ uint32_t rank(Emit &&emit) {
    if (count_ > kCounted) keep_best();
    const uint32_t kept = count_ < width_ ? count_ : width_;
    if (count_ <= kCounted) {
      for (uint32_t at = threadIdx.x; at < count_; at += kThreads) {
        const uint64_t key = list_.keys[at];
        uint32_t rank = 0;
        for (uint32_t other = 0; other < count_; other++) {
          const uint64_t against = list_.keys[other];
          rank += against > key || (against == key && other < at);
        }
        if (rank < width_) emit(rank, key, list_.places[at]);
      }
      return kept;
    }
    sort();
    for (uint32_t at = threadIdx.x; at < kept; at += kThreads) emit(at, list_.keys[at], list_.places[at]);
    return kept;
  }

 private:
  // So few are counted against each other faster than they are sorted.
  static constexpr uint32_t kCounted = 128;

  // Bitonic, largest first; zeros fill the list up to a power of two, for which it has room.
  __device__ void sort() {
    uint32_t padded = kCounted;
    while (padded < count_) padded *= 2;
    for (uint32_t at = count_ + threadIdx.x; at < padded; at += kThreads) list_.keys[at] = 0;
    __syncthreads();
    for (uint32_t run = 2; run <= padded; run *= 2) {
      for (uint32_t distance = run / 2; distance > 0; distance /= 2) {
        for (uint32_t pair = threadIdx.x; pair < padded / 2; pair += kThreads) {
          const uint32_t at = pair / distance * distance * 2 + pair % distance;
          exchange(at, at + distance, (at & run) == 0);
        }
        __syncthreads();
      }
    }
  }

  __device__ void exchange(uint32_t a, uint32_t b, bool is_descending) {
    const uint64_t key_a = list_.keys[a];
    const uint64_t key_b = list_.keys[b];
    if ((key_a < key_b) != is_descending) return;
    const Place place_a = list_.places[a];
    list_.keys[a] = key_b;
    list_.keys[b] = key_a;
    list_.places[a] = list_.places[b];
    list_.places[b] = place_a;
  }

  Shared &shared_;
  List list_;
  uint32_t width_;
  uint32_t count_ = 0;
  uint64_t bound_ = 1;
};

}  // namespace espalier::cuda
