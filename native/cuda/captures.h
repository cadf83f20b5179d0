// Captured steps: a graph keeps what its steps read.
#pragma once

#include <memory>

#include "context.h"

namespace espalier::cuda {

struct Capture {
  // Null where the stream is not captured.
  cudaGraph_t graph;
  // No two captures have the same.
  unsigned long long id;
};

// @throws Failure
Capture capture_of(Context &context, cudaStream_t stream);

// Keeps a thing until the graph, what is made of it, and all replays have gone. @throws Failure
void keep_with(Context &context, const Capture &capture, std::shared_ptr<void> thing);

// Frees what graphs have kept and let go of: they tell of that where CUDA must not be called.
// @return whether there was anything
bool drop_released();

}  // namespace espalier::cuda
