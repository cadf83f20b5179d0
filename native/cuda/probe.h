#pragma once

#include "../include/espalier_cuda.h"

namespace espalier::cuda {

// Looks for a device and runs a small kernel on it; fills in what it learns on the way.
// @throws Failure as esp_cuda_probe says
void find_device(uint32_t device, esp_cuda_device &out);

}  // namespace espalier::cuda
