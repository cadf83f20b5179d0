// What the files of native/cpu share: failures, memory, threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "../include/espalier.h"

namespace espalier {

// Thrown inside the library; the C functions turn it into a status.
struct Failure {
  esp_status status;
  std::string message;
};

[[noreturn]] void fail(esp_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
void remember_error(const std::string &message);

// Runs a C function's body: no exception leaves the library.
template <class Body>
esp_status guarded(Body &&body) noexcept {
  try {
    body();
    return ESP_OK;
  } catch (const Failure &failure) {
    remember_error(failure.message);
    return failure.status;
  } catch (const std::bad_alloc &) {
    remember_error("out of memory");
    return ESP_STATUS_MEMORY;
  } catch (const std::exception &thrown) {
    remember_error(thrown.what());
    return ESP_STATUS_INTERNAL;
  }
}

inline uint64_t words_for(uint64_t bit_count) { return (bit_count + 63) / 64; }

// An owning reference to an esp_memory.
class Memory {
 public:
  Memory() = default;
  explicit Memory(esp_memory *memory) : memory_(memory) {}
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;
  Memory(Memory &&other) noexcept : memory_(std::exchange(other.memory_, nullptr)) {}
  Memory &operator=(Memory &&other) noexcept {
    std::swap(memory_, other.memory_);
    return *this;
  }
  ~Memory() { esp_memory_release(memory_); }

  // Zeroed, aligned to 64 bytes at least.
  static Memory allocate(size_t bytes);

  esp_memory *get() const { return memory_; }
  template <class T>
  T *as() const {
    return static_cast<T *>(const_cast<void *>(esp_memory_data(memory_)));
  }
  size_t size() const { return memory_ ? esp_memory_size(memory_) : 0; }
  // Gives the whole pages of [begin, end) back to the system; what they held is gone.
  static void discard(void *begin, void *end);

 private:
  esp_memory *memory_ = nullptr;
};

// Runs body(thread) on `threads` threads, the caller's among them; rethrows the first failure.
void parallel(uint32_t threads, const std::function<void(uint32_t)> &body);

}  // namespace espalier
