#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "machine.h"

namespace espalier::cuda::emulated {

namespace {

constexpr size_t kAlignment = 256;
constexpr int kGarbage = 0xc5;
constexpr int kPoison = 0xdb;
// So much freed memory is kept for late readers to find the poison in.
constexpr size_t kMostPoisoned = size_t{128} << 20;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeepPoisoned = false;
#else
constexpr bool kKeepPoisoned = true;
#endif

}  // namespace

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "emulated CUDA: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  abort();
}

void *MemoryMap::add(MemoryKind kind, size_t bytes) {
  void *memory = aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  if (memory == nullptr) return nullptr;
  memset(memory, kGarbage, bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  pieces_.emplace(reinterpret_cast<uintptr_t>(memory), Piece{kind, bytes});
  if (kind == MemoryKind::kDevice) device_bytes_ += bytes;
  return memory;
}

void MemoryMap::remove(MemoryKind kind, void *memory) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = pieces_.find(reinterpret_cast<uintptr_t>(memory));
  if (found == pieces_.end() || found->second.kind != kind) die("%p is freed, and is none of this kind of memory", memory);
  const size_t bytes = found->second.bytes;
  if (kind == MemoryKind::kDevice) device_bytes_ -= bytes;
  pieces_.erase(found);
  memset(memory, kPoison, bytes);
  // A sanitizer says more of late readers than poison does.
  if (!kKeepPoisoned) return free(memory);
  poisoned_.emplace_back(memory, bytes);
  poisoned_bytes_ += bytes;
  while (poisoned_bytes_ > kMostPoisoned) {
    poisoned_bytes_ -= poisoned_.front().second;
    free(poisoned_.front().first);
    poisoned_.pop_front();
  }
}

const std::pair<const uintptr_t, MemoryMap::Piece> *MemoryMap::find(const void *pointer) const {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  auto after = pieces_.upper_bound(address);
  if (after == pieces_.begin()) return nullptr;
  --after;
  return address < after->first + after->second.bytes ? &*after : nullptr;
}

const MemoryKind *MemoryMap::kind_of(const void *pointer) const {
  static constexpr MemoryKind kinds[] = {MemoryKind::kDevice, MemoryKind::kPinned};
  std::lock_guard<std::mutex> lock(mutex_);
  const auto *piece = find(pointer);
  return piece == nullptr ? nullptr : &kinds[piece->second.kind == MemoryKind::kPinned];
}

void MemoryMap::expect_device(const void *pointer, size_t bytes, const char *what) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto *piece = find(pointer);
  if (piece == nullptr || piece->second.kind != MemoryKind::kDevice) die("%s: %p is no device memory", what, pointer);
  const uint64_t left = piece->first + piece->second.bytes - reinterpret_cast<uintptr_t>(pointer);
  if (bytes > left) die("%s: %zu bytes at %p, of which %llu are there", what, bytes, pointer, static_cast<unsigned long long>(left));
}

void MemoryMap::expect_host(const void *pointer, const char *what) const {
  const MemoryKind *kind = kind_of(pointer);
  if (pointer == nullptr || (kind != nullptr && *kind == MemoryKind::kDevice)) die("%s: %p is no host memory", what, pointer);
}

uint64_t MemoryMap::device_bytes() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return device_bytes_;
}

uint64_t MemoryMap::count() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return pieces_.size();
}

}  // namespace espalier::cuda::emulated
