// Runs kernels on the CPU, for tests on machines without a GPU: the threads of a block are fibers, which take turns at
// barriers and warp exchanges. It is stricter than a device is:
// - a barrier that not all threads of the block reach, or an exchange that not all of a warp do, ends the process with a
//   line that says who waits where;
// - shared memory is garbage before a block writes to it;
// - set_order() mixes blocks and threads by a seed, and lets several blocks take turns in the middle of their work.
// Exchanges are for whole warps. Only blocks and grids of one dimension.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

namespace espalier::cuda::simt {

constexpr uint32_t kWarpLanes = 32;

struct Index {
  uint32_t x;
};
// What a kernel's threads know of themselves.
struct Self {
  Index thread;
  Index block;
  Index threads;
  Index blocks;
  unsigned char *shared;
};
extern thread_local const Self *self;

// 0: blocks run one after another, threads in order. On this thread, from the next launch on.
void set_order(uint64_t seed);

// Runs a grid to its end.
void run(uint32_t blocks, uint32_t threads, size_t shared_bytes, const std::function<void()> &kernel);

// What <<<>>> is on a device: hands a grid to whoever keeps the streams, or runs it at once. @return a cudaError_t
int launch(void *stream, uint32_t blocks, uint32_t threads, size_t shared_bytes, std::function<void()> kernel);
// Puts work on a stream; null: none are kept.
extern int (*enqueue)(void *stream, std::function<void()> work);

// What a barrier makes of what its threads bring.
struct Tally {
  uint32_t count;
};
// Waits for the whole block. @return over all threads
Tally sync_threads(bool vote);

enum class Exchange : uint32_t { kSync, kShuffle, kBallot, kReduce };
// Waits for the whole warp. @return what each lane brought, [32], until the warp's next exchange but one
const uint64_t *exchange(Exchange kind, uint32_t mask, uint64_t value);

// Where other threads may be let in between.
void pause();

}  // namespace espalier::cuda::simt

#define threadIdx (::espalier::cuda::simt::self->thread)
#define blockIdx (::espalier::cuda::simt::self->block)
#define blockDim (::espalier::cuda::simt::self->threads)
#define gridDim (::espalier::cuda::simt::self->blocks)

inline void __syncthreads() { espalier::cuda::simt::sync_threads(false); }
inline int __syncthreads_or(int vote) { return espalier::cuda::simt::sync_threads(vote != 0).count != 0; }
inline int __syncthreads_count(int vote) { return static_cast<int>(espalier::cuda::simt::sync_threads(vote != 0).count); }
inline void __syncwarp(uint32_t mask = UINT32_MAX) { espalier::cuda::simt::exchange(espalier::cuda::simt::Exchange::kSync, mask, 0); }
inline void __threadfence() { espalier::cuda::simt::pause(); }

namespace espalier::cuda::simt {

inline uint32_t lane() { return threadIdx.x % kWarpLanes; }

template <class T>
T shuffle(uint32_t mask, T value, uint32_t from) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  const uint64_t *lanes = exchange(Exchange::kShuffle, mask, bits);
  T found;
  memcpy(&found, &lanes[from < kWarpLanes ? from : lane()], sizeof found);
  return found;
}

template <class T, class Combine>
T reduce(uint32_t mask, T value, Combine combine) {
  const uint64_t *lanes = exchange(Exchange::kReduce, mask, value);
  T all = static_cast<T>(lanes[0]);
  for (uint32_t other = 1; other < kWarpLanes; other++) all = combine(all, static_cast<T>(lanes[other]));
  return all;
}

}  // namespace espalier::cuda::simt

template <class T>
T __shfl_sync(uint32_t mask, T value, int from) {
  return espalier::cuda::simt::shuffle(mask, value, static_cast<uint32_t>(from) % 32);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lanes) {
  return espalier::cuda::simt::shuffle(mask, value, espalier::cuda::simt::lane() ^ static_cast<uint32_t>(lanes));
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned lanes) {
  return espalier::cuda::simt::shuffle(mask, value, espalier::cuda::simt::lane() - lanes);
}
inline uint32_t __ballot_sync(uint32_t mask, int vote) {
  const uint64_t *lanes = espalier::cuda::simt::exchange(espalier::cuda::simt::Exchange::kBallot, mask, vote != 0);
  uint32_t votes = 0;
  for (uint32_t other = 0; other < 32; other++) votes |= static_cast<uint32_t>(lanes[other]) << other;
  return votes;
}
inline uint32_t __reduce_max_sync(uint32_t mask, uint32_t value) {
  return espalier::cuda::simt::reduce(mask, value, [](uint32_t a, uint32_t b) { return a > b ? a : b; });
}

// Threads of a grid take turns only where they wait or pause, so that plain reads and writes are atomic.
template <class T, class U>
T atomicAdd(T *at, U value) {
  espalier::cuda::simt::pause();
  const T before = *at;
  *at = static_cast<T>(before + value);
  return before;
}
inline uint32_t atomicInc(uint32_t *at, uint32_t last) {
  espalier::cuda::simt::pause();
  const uint32_t before = *at;
  *at = before >= last ? 0 : before + 1;
  return before;
}
inline uint32_t atomicMin(uint32_t *at, uint32_t value) {
  espalier::cuda::simt::pause();
  const uint32_t before = *at;
  if (value < before) *at = value;
  return before;
}
inline uint32_t atomicOr(uint32_t *at, uint32_t value) {
  espalier::cuda::simt::pause();
  const uint32_t before = *at;
  *at = before | value;
  return before;
}
