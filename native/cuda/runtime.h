// The CUDA runtime, or what stands in for it where tests run without a GPU.
#pragma once

#ifdef ESPALIER_CUDA_EMULATED
#include "emulated/runtime.h"
#else
#include <cuda_runtime.h>
#endif
