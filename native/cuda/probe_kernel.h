// A kernel that answers: whether this build has code that the device can run.
#pragma once

#include <cstdint>

namespace espalier::cuda {

constexpr uint32_t kProbeAnswer = 0xe5911e12;

// Writes the answer. @param out device memory. @return a cudaError_t
int launch_probe(uint32_t *out, void *stream);

}  // namespace espalier::cuda
