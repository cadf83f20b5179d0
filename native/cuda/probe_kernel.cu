#include <cuda_runtime.h>

#include "probe_kernel.h"

namespace espalier::cuda {

namespace {

__global__ void answer(uint32_t *out) { *out = kProbeAnswer; }

}  // namespace

int launch_probe(uint32_t *out, void *stream) {
  answer<<<1, 1, 0, static_cast<cudaStream_t>(stream)>>>(out);
  return cudaGetLastError();
}

}  // namespace espalier::cuda
