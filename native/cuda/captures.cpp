#include "captures.h"

#include <atomic>
#include <utility>

namespace espalier::cuda {

namespace {

using Thing = std::shared_ptr<void>;

// A thing that a graph keeps, and its place among those that graphs have let go of.
struct Kept {
  Thing thing;
  Kept *next;
};

// Of all contexts: one that only such a thing keeps alive has nobody else to free it.
std::atomic<Kept *> released{nullptr};

// On a thread of CUDA's.
void release(void *user) {
  Kept *const kept = static_cast<Kept *>(user);
  kept->next = released.load();
  while (!released.compare_exchange_weak(kept->next, kept)) {
  }
}

cudaError_t look(cudaStream_t stream, cudaStreamCaptureStatus &status, Capture &capture) {
  // CUDA 13 has edges' data among the arguments.
#if defined(CUDART_VERSION) && CUDART_VERSION < 13000
  return cudaStreamGetCaptureInfo_v2(stream, &status, &capture.id, &capture.graph, nullptr, nullptr);
#else
  return cudaStreamGetCaptureInfo(stream, &status, &capture.id, &capture.graph, nullptr, nullptr, nullptr);
#endif
}

}  // namespace

Capture capture_of(Context &context, cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  Capture capture = {nullptr, 0};
  context.check(look(stream, status, capture), "looking at a stream");
  if (status == cudaStreamCaptureStatusInvalidated) context.check(cudaErrorStreamCaptureInvalidated, "looking at a stream");
  if (status != cudaStreamCaptureStatusActive) capture.graph = nullptr;
  return capture;
}

void keep_with(Context &context, const Capture &capture, Thing thing) {
  std::unique_ptr<Kept> kept(new Kept{std::move(thing), nullptr});
  cudaUserObject_t object = nullptr;
  context.check(cudaUserObjectCreate(&object, kept.get(), release, 1, cudaUserObjectNoDestructorSync), "keeping what is captured");
  kept.release();
  const cudaError_t status = cudaGraphRetainUserObject(capture.graph, object, 1, cudaGraphUserObjectMove);
  if (status != cudaSuccess) cudaUserObjectRelease(object, 1);
  context.check(status, "keeping what is captured");
}

bool drop_released() {
  std::unique_ptr<Kept> first(released.exchange(nullptr));
  const bool has_any = first != nullptr;
  while (first != nullptr) first.reset(first->next);
  return has_any;
}

}  // namespace espalier::cuda
