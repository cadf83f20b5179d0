// Memory on the device, and pinned memory beside it, counted by what it is for.
#pragma once

#include "context.h"

namespace espalier::cuda {

// One piece of a context's memory; the context outlives it.
class Piece {
 public:
  Piece() = default;
  Piece(Piece &&other) noexcept { *this = std::move(other); }
  Piece &operator=(Piece &&other) noexcept {
    std::swap(context_, other.context_);
    std::swap(purpose_, other.purpose_);
    std::swap(is_pinned_, other.is_pinned_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Piece();

  // Garbage, aligned to 256 bytes. @throws Failure ESP_STATUS_MEMORY, with what is needed and free
  static Piece on_device(Context &context, Purpose purpose, uint64_t bytes, const char *what);
  static Piece pinned(Context &context, uint64_t bytes);

  template <class T = char>
  T *at(uint64_t offset = 0) const {
    return reinterpret_cast<T *>(static_cast<char *>(data_) + offset);
  }
  uint64_t size() const { return size_; }

 private:
  Context *context_ = nullptr;
  Purpose purpose_ = Purpose::kStaging;
  bool is_pinned_ = false;
  void *data_ = nullptr;
  uint64_t size_ = 0;
};

// Where the arrays of one piece begin.
class Layout {
 public:
  // Kernels read a word or a vector beyond an array's last element, and use nothing of it.
  static constexpr uint64_t kSpare = 16;
  static constexpr uint64_t kAlignment = 256;

  uint64_t add(uint64_t bytes) {
    const uint64_t offset = size_;
    size_ = (size_ + bytes + kSpare + kAlignment - 1) / kAlignment * kAlignment;
    return offset;
  }
  template <class T>
  uint64_t add_array(uint64_t count) {
    return add(count * sizeof(T));
  }
  uint64_t size() const { return size_; }

 private:
  uint64_t size_ = 0;
};

}  // namespace espalier::cuda
