#include "memory.h"

#include "captures.h"

namespace espalier::cuda {

Piece::~Piece() {
  if (data_ == nullptr) return;
  const DeviceScope scope(context_->device());
  // The device may have failed since; its memory goes with it.
  if ((is_pinned_ ? cudaFreeHost(data_) : cudaFree(data_)) != cudaSuccess) cudaGetLastError();
  context_->count(purpose_, -static_cast<int64_t>(size_));
}

Piece Piece::on_device(Context &context, Purpose purpose, uint64_t bytes, const char *what) {
  Piece piece;
  cudaError_t status = cudaMalloc(&piece.data_, bytes);
  if (status == cudaErrorMemoryAllocation && drop_released()) status = cudaMalloc(&piece.data_, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    const esp_cuda_memory now = context.memory();
    fail(ESP_STATUS_MEMORY, "out of memory: %s needs %llu bytes on device %u, %llu of %llu bytes are free", what,
         static_cast<unsigned long long>(bytes), context.device(), static_cast<unsigned long long>(now.free_bytes),
         static_cast<unsigned long long>(now.total_bytes));
  }
  context.check(status, what);
  piece.context_ = &context;
  piece.purpose_ = purpose;
  piece.size_ = bytes;
  context.count(purpose, static_cast<int64_t>(bytes));
  return piece;
}

Piece Piece::pinned(Context &context, uint64_t bytes) {
  Piece piece;
  const cudaError_t status = cudaHostAlloc(&piece.data_, bytes, cudaHostAllocDefault);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    fail(ESP_STATUS_MEMORY, "out of memory: staging needs %llu bytes of pinned memory", static_cast<unsigned long long>(bytes));
  }
  context.check(status, "allocating pinned memory");
  piece.context_ = &context;
  piece.is_pinned_ = true;
  piece.size_ = bytes;
  context.count(Purpose::kStaging, static_cast<int64_t>(bytes));
  return piece;
}

}  // namespace espalier::cuda
