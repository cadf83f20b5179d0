// The language that kernels are written in: CUDA, or what stands in for it where tests run without a GPU.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include "emulated/simt.h"
#endif

#include "../common/step_rules.h"

namespace espalier::cuda {

constexpr uint32_t kWarpSize = 32;
constexpr uint32_t kWholeWarp = UINT32_MAX;

__device__ inline uint32_t lane_index() { return threadIdx.x % kWarpSize; }
__device__ inline uint32_t warp_index() { return threadIdx.x / kWarpSize; }

// Bits of the lanes before this one.
__device__ inline uint32_t lanes_before() { return (1u << lane_index()) - 1; }

__device__ inline uint32_t lowest_lane(uint32_t lanes) { return static_cast<uint32_t>(ESP_LOW_ZEROS(uint64_t{lanes})); }
__device__ inline uint32_t highest_lane(uint32_t lanes) { return 63 - static_cast<uint32_t>(ESP_HIGH_ZEROS(uint64_t{lanes})); }
__device__ inline uint32_t count_lanes(uint32_t lanes) { return static_cast<uint32_t>(ESP_POPCOUNT(uint64_t{lanes})); }

// The block's shared memory, all of it: its size is the launch's.
__device__ inline unsigned char *shared_bytes() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char bytes[];
  return bytes;
#else
  return simt::self->shared;
#endif
}

}  // namespace espalier::cuda
