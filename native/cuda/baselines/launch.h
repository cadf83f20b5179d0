// How the baselines' kernels are launched: by nvcc's syntax, or on the CPU where they are built with
// ESPALIER_CUDA_EMULATED.
#pragma once

#include "../device.h"
#include "../runtime.h"

#ifdef ESPALIER_CUDA_EMULATED
#define LAUNCH(kernel, blocks, threads, shared, stream, ...) \
  espalier::cuda::simt::launch(stream, static_cast<uint32_t>(blocks), threads, shared, [=] { kernel(__VA_ARGS__); })
#else
#define LAUNCH(kernel, blocks, threads, shared, stream, ...) kernel<<<blocks, threads, shared, stream>>>(__VA_ARGS__)
#endif
