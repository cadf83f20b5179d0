// Threads of execution that take turns on one thread of the system, and change over in a few nanoseconds.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace espalier::cuda::simt {

// One that waits. The thread that started them is one, too, with no stack of its own.
class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber &) = delete;
  Fiber &operator=(const Fiber &) = delete;
  ~Fiber();

  // Makes it begin with entry(), which must not return, when it is switched to next.
  void start(void (*entry)());
  // Leaves `from`, the one that runs, and goes on with this one.
  void resume(Fiber &from, bool is_last = false);
  // The first thing that entry() does.
  static void began();

 private:
  static constexpr size_t kStackBytes = size_t{64} << 10;

  char *stack_ = nullptr;
#if defined(__x86_64__)
  void *at_ = nullptr;
#else
  ucontext_t at_ = {};
#endif
  void *sanitizer_stack_ = nullptr;
  const void *stack_bottom_ = nullptr;
  size_t stack_bytes_ = 0;
};

}  // namespace espalier::cuda::simt
