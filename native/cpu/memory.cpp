// Reference-counted memory: allocated (large pieces in huge pages) or mapped from a file.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "internal.h"

struct esp_memory {
  std::atomic<uint64_t> references{1};
  void *data = nullptr;
  size_t size = 0;
  // The mapping to be undone; null where malloc gave the memory.
  void *mapping = nullptr;
  size_t mapping_size = 0;
};

namespace espalier {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

esp_memory *allocate(size_t bytes) {
  auto memory = std::make_unique<esp_memory>();
  memory->size = bytes;
  if (bytes < kHugePage) {
    void *data = nullptr;
    if (posix_memalign(&data, 64, bytes > 0 ? bytes : 1) != 0) throw std::bad_alloc();
    memset(data, 0, bytes);
    memory->data = data;
    return memory.release();
  }
  // Half the time of a large build would go into faults on small pages.
  memory->mapping_size = bytes + kHugePage;
  memory->mapping = mmap(nullptr, memory->mapping_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory->mapping == MAP_FAILED) throw std::bad_alloc();
  const uintptr_t start = reinterpret_cast<uintptr_t>(memory->mapping);
  memory->data = reinterpret_cast<void *>((start + kHugePage - 1) & ~(kHugePage - 1));
#ifdef MADV_HUGEPAGE
  madvise(memory->data, bytes, MADV_HUGEPAGE);
#endif
  return memory.release();
}

esp_memory *map(int file, uint64_t offset, size_t length) {
  // Reading a mapping beyond the file's end would end the process.
  struct stat about;
  if (fstat(file, &about) != 0) fail(ESP_STATUS_SYSTEM, "looking at a file: %s", strerror(errno));
  const uint64_t size = static_cast<uint64_t>(about.st_size);
  if (offset > size || length > size - offset) {
    fail(ESP_STATUS_SHAPE, "bytes %llu to %llu of a file of %llu", static_cast<unsigned long long>(offset),
         static_cast<unsigned long long>(offset + length), static_cast<unsigned long long>(size));
  }
  auto memory = std::make_unique<esp_memory>();
  memory->size = length;
  if (length == 0) return memory.release();
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t lead = offset % page;
  memory->mapping_size = length + lead;
  memory->mapping = mmap(nullptr, memory->mapping_size, PROT_READ, MAP_SHARED, file, static_cast<off_t>(offset - lead));
  if (memory->mapping == MAP_FAILED) {
    fail(ESP_STATUS_SYSTEM, "mapping %zu bytes of a file at %llu: %s", length,
         static_cast<unsigned long long>(offset), strerror(errno));
  }
  memory->data = static_cast<char *>(memory->mapping) + lead;
  return memory.release();
}

}  // namespace

Memory Memory::allocate(size_t bytes) { return Memory(espalier::allocate(bytes)); }

void Memory::discard(void *begin, void *end) {
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + kHugePage - 1) & ~(kHugePage - 1);
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) & ~(kHugePage - 1);
  if (first < last) madvise(reinterpret_cast<void *>(first), last - first, MADV_DONTNEED);
}

}  // namespace espalier

esp_status esp_memory_map(int file, uint64_t offset, size_t length, esp_memory **out) {
  return espalier::guarded([&] { *out = espalier::map(file, offset, length); });
}

const void *esp_memory_data(const esp_memory *memory) { return memory->data; }
size_t esp_memory_size(const esp_memory *memory) { return memory->size; }

void esp_memory_retain(esp_memory *memory) { memory->references.fetch_add(1, std::memory_order_relaxed); }

void esp_memory_release(esp_memory *memory) {
  if (memory == nullptr || memory->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (memory->mapping != nullptr) {
    munmap(memory->mapping, memory->mapping_size);
  } else {
    free(memory->data);
  }
  delete memory;
}
