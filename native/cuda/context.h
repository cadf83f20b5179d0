// A device with what lies on it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "../cpu/internal.h"
#include "../include/espalier_cuda.h"
#include "runtime.h"
#include "uploader.h"

namespace espalier::cuda {

// Makes a device the calling thread's, and lets the thread make and free memory while streams are captured; takes both
// back at the end.
class DeviceScope {
 public:
  explicit DeviceScope(uint32_t device);
  DeviceScope(const DeviceScope &) = delete;
  ~DeviceScope();

 private:
  int before_ = 0;
  bool is_switched_ = false;
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// What memory is for.
enum class Purpose { kTrie, kSet, kExclusions, kScratch, kStaging };

class Context {
 public:
  // @throws Failure as esp_cuda_probe says
  explicit Context(uint32_t device);
  ~Context();
  Context(const Context &) = delete;

  uint32_t device() const { return device_; }
  // @throws Failure of a context that is closed, or whose device failed
  void check_usable() const;
  // Turns what a call of CUDA's answers into a Failure; remembers errors after which the device answers nothing else.
  void check(cudaError_t status, const char *doing);
  // Counts `bytes` as in use for a purpose, or no longer.
  void count(Purpose purpose, int64_t bytes) { bytes_[static_cast<size_t>(purpose)] += static_cast<uint64_t>(bytes); }
  esp_cuda_memory memory();
  // @throws Failure ESP_STATUS_MEMORY where so much doesn't fit beside a reserve
  void check_room(uint64_t bytes, const char *what);

  // For tries; and for what is small and waited for, which goes past them.
  Uploader &bulk() { return bulk_; }
  Uploader &small() { return small_; }

  // Waits for steppers' steps; what batches have put on streams goes on, and they keep what it reads.
  void close();

  // Counts a step that runs.
  class Running {
   public:
    explicit Running(Context &context);
    ~Running();

   private:
    Context &context_;
  };

 private:
  uint32_t device_;
  std::array<std::atomic<uint64_t>, 5> bytes_ = {};
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  uint32_t running_ = 0;
  bool is_closed_ = false;
  // Why the device answers nothing any more; empty while it does.
  std::string failure_;
  Uploader bulk_;
  Uploader small_;
};

// Handles share the context: it lives until the last of them has gone.
using ContextPointer = std::shared_ptr<Context>;

// Runs a C function's body on the context's device.
template <class Body>
esp_status on_device(const ContextPointer &context, Body &&body) noexcept {
  return guarded([&] {
    context->check_usable();
    const DeviceScope scope(context->device());
    body();
  });
}

// @throws Failure ESP_STATUS_SHAPE
template <class Handle>
Handle &required(Handle *pointer, const char *name) {
  if (pointer == nullptr) fail(ESP_STATUS_SHAPE, "%s must not be null", name);
  return *pointer;
}

// @throws Failure ESP_STATUS_SHAPE where an array of `count` elements is null or begins off its alignment
void check_array(const char *name, const void *array, size_t alignment, uint64_t count);

}  // namespace espalier::cuda

struct esp_cuda_context {
  espalier::cuda::ContextPointer state;
};
