#include "thread_pool.h"

#include <chrono>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace espalier {

namespace {

// About as long as a step of a small batch takes: a sleeping thread is back sooner than it could have helped.
constexpr std::chrono::microseconds kSpin(30);
constexpr uint32_t kPausesBetweenLooks = 32;
constexpr uint32_t kPausesBeforeYield = 2000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// The job's number, and how many of its items nobody has taken.
constexpr uint64_t ticket(uint32_t generation, uint32_t left) { return uint64_t{generation} << 32 | left; }

}  // namespace

ThreadPool::ThreadPool(uint32_t threads) {
  try {
    for (uint32_t worker = 1; worker < threads; worker++) threads_.emplace_back([this, worker] { work(worker); });
  } catch (const std::system_error &) {
    // As many as the system gives; the caller does the rest.
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    is_ending_.store(true);
  }
  wake_.notify_all();
  for (std::thread &thread : threads_) thread.join();
}

void ThreadPool::run(uint32_t count, Body body, void *context) {
  if (threads_.empty() || count <= 1) {
    for (uint32_t item = 0; item < count; item++) body(context, item, 0);
    return;
  }
  const uint32_t generation = static_cast<uint32_t>(left_.load() >> 32) + 1;
  body_ = body;
  context_ = context;
  done_.store(0);
  left_.store(ticket(generation, count));
  if (sleeping_.load() > 0) {
    // The lock orders this with a thread that has just looked and is about to sleep.
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  take_items(generation, 0);
  for (uint32_t pauses = 0; done_.load() < count; pauses++) {
    // Whoever has the last item may wait for this very core.
    if (pauses < kPausesBeforeYield) pause();
    else std::this_thread::yield();
  }
}

void ThreadPool::take_items(uint32_t generation, uint32_t worker) {
  uint64_t seen = left_.load();
  for (;;) {
    const uint32_t left = static_cast<uint32_t>(seen);
    if (static_cast<uint32_t>(seen >> 32) != generation || left == 0) return;
    // An item that is taken keeps the job from ending, so that body and context stay.
    if (!left_.compare_exchange_weak(seen, seen - 1)) continue;
    body_(context_, left - 1, worker);
    done_.fetch_add(1);
    seen = left_.load();
  }
}

void ThreadPool::work(uint32_t worker) {
  uint32_t finished = 0;
  for (;;) {
    uint32_t generation = finished;
    const auto until = std::chrono::steady_clock::now() + kSpin;
    while (generation == finished && !is_ending_.load()) {
      for (uint32_t pauses = 0; pauses < kPausesBetweenLooks && generation == finished; pauses++) {
        pause();
        generation = static_cast<uint32_t>(left_.load() >> 32);
      }
      if (generation != finished || std::chrono::steady_clock::now() < until) continue;
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [&] { return is_ending_.load() || static_cast<uint32_t>(left_.load() >> 32) != finished; });
      sleeping_.fetch_sub(1);
      generation = static_cast<uint32_t>(left_.load() >> 32);
    }
    if (is_ending_.load()) return;
    take_items(generation, worker);
    finished = generation;
  }
}

}  // namespace espalier
