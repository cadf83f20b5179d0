// Device memory, streams and captured steps for the programs that check and time the library. They talk to the CUDA
// runtime, or to its stand-in on the CPU where they are built with ESPALIER_CUDA_EMULATED.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <utility>
#include <vector>

#include "../runtime.h"

namespace checking {

#ifdef ESPALIER_CUDA_EMULATED
constexpr bool kIsEmulated = true;
#else
constexpr bool kIsEmulated = false;
#endif

inline void must(cudaError_t status, const char *what, const char *file, int line) {
  if (status == cudaSuccess) return;
  fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, cudaGetErrorString(status));
  exit(1);
}
#define CUDA_MUST(call) checking::must(call, #call, __FILE__, __LINE__)

// An array in device memory, of at least one element so that its pointer is never null.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count = 0) : count_(count) {
    CUDA_MUST(cudaMalloc(reinterpret_cast<void **>(&data_), (count == 0 ? 1 : count) * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T> &values) : DeviceArray(values.size()) { write(values.data(), values.size()); }
  DeviceArray(DeviceArray &&other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(other.count_) {}
  DeviceArray &operator=(DeviceArray &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  DeviceArray(const DeviceArray &) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T *data() const { return data_; }
  size_t size() const { return count_; }
  void write(const T *values, size_t count) {
    if (count > 0) CUDA_MUST(cudaMemcpy(data_, values, count * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    if (count_ > 0) CUDA_MUST(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T *data_ = nullptr;
  size_t count_ = 0;
};

class Stream {
 public:
  Stream() { CUDA_MUST(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  Stream(const Stream &) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }
  void wait() const { CUDA_MUST(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

// What `launch` puts on a stream, captured once and replayed. Captured in the thread's own mode, so that other threads
// may go on allocating.
class Graph {
 public:
  Graph(const Stream &stream, const std::function<void()> &launch) {
    cudaGraph_t graph = nullptr;
    CUDA_MUST(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    launch();
    CUDA_MUST(cudaStreamEndCapture(stream.get(), &graph));
    CUDA_MUST(cudaGraphInstantiate(&graph_, graph, 0));
    CUDA_MUST(cudaGraphDestroy(graph));
  }
  Graph(const Graph &) = delete;
  ~Graph() { cudaGraphExecDestroy(graph_); }
  void replay(const Stream &stream) const { CUDA_MUST(cudaGraphLaunch(graph_, stream.get())); }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

// Time between two places in a stream, as the device sees it.
class Stopwatch {
 public:
  Stopwatch() {
    CUDA_MUST(cudaEventCreate(&from_));
    CUDA_MUST(cudaEventCreate(&to_));
  }
  Stopwatch(const Stopwatch &) = delete;
  ~Stopwatch() {
    cudaEventDestroy(from_);
    cudaEventDestroy(to_);
  }
  void start(const Stream &stream) { CUDA_MUST(cudaEventRecord(from_, stream.get())); }
  void stop(const Stream &stream) { CUDA_MUST(cudaEventRecord(to_, stream.get())); }
  // Waits for the second place. @returns microseconds; the stand-in takes none that mean anything, and says 0
  double wait() {
    float milliseconds = 0;
    CUDA_MUST(cudaEventSynchronize(to_));
    CUDA_MUST(cudaEventElapsedTime(&milliseconds, from_, to_));
    return kIsEmulated ? 0 : static_cast<double>(milliseconds) * 1000;
  }

 private:
  cudaEvent_t from_ = nullptr;
  cudaEvent_t to_ = nullptr;
};

}  // namespace checking
