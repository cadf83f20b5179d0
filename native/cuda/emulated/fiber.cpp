#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what a called function must leave alone, and where it stands, to *from; goes on where `to` was saved.
extern "C" void espalier_simt_switch(void **from, void *to);
__asm__(
    ".text\n"
    ".globl espalier_simt_switch\n"
    ".hidden espalier_simt_switch\n"
    ".type espalier_simt_switch, @function\n"
    "espalier_simt_switch:\n"
    "  pushq %rbp\n"
    "  pushq %rbx\n"
    "  pushq %r12\n"
    "  pushq %r13\n"
    "  pushq %r14\n"
    "  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n"
    "  popq %r14\n"
    "  popq %r13\n"
    "  popq %r12\n"
    "  popq %rbx\n"
    "  popq %rbp\n"
    "  ret\n"
    ".size espalier_simt_switch, .-espalier_simt_switch\n");
#endif

namespace espalier::cuda::simt {

namespace {
// Who was left last, and who runs: what sanitizers ask for after a switch.
thread_local Fiber *previous = nullptr;
}  // namespace

Fiber::~Fiber() {
  if (stack_ != nullptr) munmap(stack_, kStackBytes);
}

void Fiber::start(void (*entry)()) {
  if (stack_ == nullptr) {
    void *memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<char *>(memory);
  }
  stack_bottom_ = stack_;
  stack_bytes_ = kStackBytes;
  sanitizer_stack_ = nullptr;
#if defined(__x86_64__)
  // Six registers, then where to return to; a function begins eight bytes off a multiple of 16.
  void **top = reinterpret_cast<void **>(stack_ + kStackBytes) - 1;
  top[0] = nullptr;
  *--top = reinterpret_cast<void *>(entry);
  for (int saved = 0; saved < 6; saved++) *--top = nullptr;
  at_ = top;
#else
  getcontext(&at_);
  at_.uc_stack.ss_sp = stack_;
  at_.uc_stack.ss_size = kStackBytes;
  at_.uc_link = nullptr;
  makecontext(&at_, entry, 0);
#endif
}

void Fiber::resume(Fiber &from, bool is_last) {
  previous = &from;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(is_last ? nullptr : &from.sanitizer_stack_, stack_bottom_, stack_bytes_);
#else
  (void)is_last;
#endif
#if defined(__x86_64__)
  espalier_simt_switch(&from.at_, at_);
#else
  swapcontext(&from.at_, &at_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.sanitizer_stack_, &previous->stack_bottom_, &previous->stack_bytes_);
#endif
}

void Fiber::began() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &previous->stack_bottom_, &previous->stack_bytes_);
#endif
}

}  // namespace espalier::cuda::simt
