// A few threads that wait for short work: they spin for some microseconds after each job, then sleep.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "internal.h"

namespace espalier {

// One caller at a time. The caller works as well, and waits only for items that a thread has begun: one that the
// system does not let run holds nobody up.
class ThreadPool {
 public:
  // @param threads the caller's among them
  explicit ThreadPool(uint32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  uint32_t size() const { return static_cast<uint32_t>(threads_.size()) + 1; }

  // Runs body(item, worker) for items [0, count), each once, in any order. The body must not throw.
  using Body = void (*)(void *context, uint32_t item, uint32_t worker);
  void run(uint32_t count, Body body, void *context);

  template <class Function>
  void run(uint32_t count, const Function &function) {
    const auto call = [](void *context, uint32_t item, uint32_t worker) {
      (*static_cast<const Function *>(context))(item, worker);
    };
    run(count, call, const_cast<void *>(static_cast<const void *>(&function)));
  }

 private:
  void work(uint32_t worker);
  void take_items(uint32_t generation, uint32_t worker);

  Body body_ = nullptr;
  void *context_ = nullptr;
  // The job's number above, and below how many of its items nobody has taken: a thread that comes late to one job
  // takes nothing of the next.
  alignas(64) std::atomic<uint64_t> left_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  alignas(64) std::atomic<uint32_t> sleeping_{0};
  std::atomic<bool> is_ending_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> threads_;
};

}  // namespace espalier
