// The machine behind the stand-in: its memory, its streams, and how it is made to fail.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime.h"

namespace espalier::cuda::emulated {

// Ends the process: what a device would answer with damage.
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct Settings {
  int driver = 13000;
  int devices = 1;
  int compute = 90;
  uint64_t memory = uint64_t{8} << 30;
  // Counted down; 0: never.
  uint64_t fail_allocation = 0;
  uint64_t fail_launch = 0;
};
Settings read_settings(const char *text);

enum class MemoryKind { kDevice, kPinned };

// All pieces of memory, by where they begin.
class MemoryMap {
 public:
  void *add(MemoryKind kind, size_t bytes);
  // Poisons it first; what is read from it afterwards is nobody's.
  void remove(MemoryKind kind, void *memory);
  // Null where it lies in no piece.
  const MemoryKind *kind_of(const void *pointer) const;
  // @param what for the line that ends the process where these bytes aren't the device's, or the host's
  void expect_device(const void *pointer, size_t bytes, const char *what) const;
  void expect_host(const void *pointer, const char *what) const;
  uint64_t device_bytes() const;
  uint64_t count() const;

 private:
  struct Piece {
    MemoryKind kind;
    size_t bytes;
  };
  const std::pair<const uintptr_t, Piece> *find(const void *pointer) const;

  mutable std::mutex mutex_;
  std::map<uintptr_t, Piece> pieces_;
  uint64_t device_bytes_ = 0;
  // Freed, poisoned, and kept for a while.
  std::deque<std::pair<void *, size_t>> poisoned_;
  size_t poisoned_bytes_ = 0;
};

using Operation = std::function<void()>;

}  // namespace espalier::cuda::emulated

struct CUuserObject_st {
  void *user;
  cudaHostFn_t destroy;
  CUuserObject_st(void *object, cudaHostFn_t destructor);
  CUuserObject_st(const CUuserObject_st &) = delete;
  ~CUuserObject_st();
};
using Retained = std::vector<std::shared_ptr<CUuserObject_st>>;

struct CUgraph_st {
  std::vector<espalier::cuda::emulated::Operation> operations;
  Retained retained;
};
struct CUgraphExec_st {
  std::vector<espalier::cuda::emulated::Operation> operations;
  Retained retained;
};

struct CUstream_st {
  uint64_t id = 0;
  bool is_blocking = false;
  std::deque<espalier::cuda::emulated::Operation> waiting;
  // Operations that were ever put on it, and that have run.
  uint64_t put = 0;
  uint64_t done = 0;
  bool is_running = false;
  // What is put on it goes here while it is captured.
  std::unique_ptr<CUgraph_st> capture;
  uint64_t capture_id = 0;
  cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;
  std::thread::id capture_thread;
  bool is_spoiled = false;
};

struct CUevent_st {
  std::weak_ptr<CUstream_st> stream;
  uint64_t position = 0;
  // Nobody can wait for it: it is part of a graph.
  bool is_captured = false;
  std::shared_ptr<std::chrono::steady_clock::time_point> time = std::make_shared<std::chrono::steady_clock::time_point>();
};

namespace espalier::cuda::emulated {

class Machine {
 public:
  static Machine &get();
  void configure(const char *settings);

  // The error that every call answers with, but for those about errors.
  cudaError_t state() const;
  // Keeps an error of this thread for cudaGetLastError.
  static cudaError_t remember(cudaError_t error);
  // Counts one more thing that is made; false: it must not be.
  bool may_make();
  // Whether a call that is not allowed during captures may go on; spoils captures where it isn't.
  bool may_disturb_captures();
  // Of what no thread may do while a stream is captured. @return whether there was a capture to spoil
  bool spoil_captures();
  // Numbers of streams and captures: none comes twice.
  uint64_t next_id() { return ++last_id_; }

  cudaStream_t add_stream(bool is_blocking);
  cudaError_t remove_stream(cudaStream_t stream);
  // Null where there is no such stream; null as a handle is the default stream.
  std::shared_ptr<CUstream_st> find(cudaStream_t stream);
  void put(CUstream_st &stream, Operation operation);
  // Runs what was put on it first, up to `count` operations since ever.
  void run(CUstream_st &stream, uint64_t count);
  void run_all();
  void run_kernel(const std::function<void()> &kernel);
  uint64_t stream_count() const;

  Settings settings;
  MemoryMap memory;
  std::atomic<uint64_t> events{0};
  std::atomic<uint64_t> user_objects{0};
  std::atomic<void (*)(void *)> hook{nullptr};
  std::atomic<void *> hook_user{nullptr};

 private:
  Machine();
  std::vector<std::shared_ptr<CUstream_st>> streams(bool only_blocking);

  mutable std::mutex mutex_;
  // One thread runs operations at a time.
  std::recursive_mutex running_;
  std::map<cudaStream_t, std::shared_ptr<CUstream_st>> streams_;
  std::shared_ptr<CUstream_st> default_stream_ = std::make_shared<CUstream_st>();
  std::atomic<int> broken_{cudaSuccess};
  std::atomic<uint64_t> last_id_{0};
};

}  // namespace espalier::cuda::emulated
