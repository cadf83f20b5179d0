// How the baselines' kernels are launched: by nvcc's syntax, or on the CPU where they are built with
// ESPALIER_CUDA_EMULATED.
#pragma once

#include <cmath>

#include "../runtime.h"

#ifdef ESPALIER_CUDA_EMULATED
#include "../emulated/simt.h"
#else
#define LAUNCH(kernel, blocks, threads, stream, ...) kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__)
#endif
