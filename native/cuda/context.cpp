#include "context.h"

#include <algorithm>

#include "captures.h"
#include "probe.h"

namespace espalier::cuda {

namespace {

constexpr size_t kBulkChunk = size_t{4} << 20;
constexpr size_t kSmallChunk = size_t{1} << 20;
// Left free on the device, for scratch, exclusions and others: so much, or a part of a small one.
constexpr uint64_t kReserve = uint64_t{128} << 20;
constexpr uint64_t kReservePart = 16;

// Errors of one call; all others are the device's last word.
bool is_passing(cudaError_t error) {
  switch (error) {
    case cudaErrorInvalidValue:
    case cudaErrorMemoryAllocation:
    case cudaErrorInvalidConfiguration:
    case cudaErrorInvalidDevicePointer:
    case cudaErrorInvalidDevice:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidResourceHandle:
    case cudaErrorNotReady:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureMerge:
    case cudaErrorStreamCaptureUnmatched:
    case cudaErrorStreamCaptureUnjoined:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorStreamCaptureImplicit:
    case cudaErrorCapturedEvent:
    case cudaErrorStreamCaptureWrongThread:
      return true;
    default:
      return false;
  }
}

}  // namespace

DeviceScope::DeviceScope(uint32_t device) {
  is_switched_ = cudaGetDevice(&before_) == cudaSuccess && before_ != static_cast<int>(device);
  if (is_switched_) cudaSetDevice(static_cast<int>(device));
  cudaThreadExchangeStreamCaptureMode(&mode_);
}

DeviceScope::~DeviceScope() {
  cudaThreadExchangeStreamCaptureMode(&mode_);
  if (is_switched_) cudaSetDevice(before_);
}

Context::Context(uint32_t device)
    : device_(device), bulk_(*this, kBulkChunk), small_(*this, kSmallChunk) {
  esp_cuda_device about = {};
  find_device(device, about);
  const DeviceScope scope(device);
  bulk_.open();
  small_.open();
  small_.keep_staging();
}

Context::~Context() {
  const DeviceScope scope(device_);
  bulk_.close();
  small_.close();
}

void Context::check_usable() const {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!failure_.empty()) fail(ESP_STATUS_SYSTEM, "device %u failed before: %s", device_, failure_.c_str());
  if (is_closed_) fail(ESP_STATUS_SHAPE, "the context of device %u is closed", device_);
}

void Context::check(cudaError_t status, const char *doing) {
  if (status == cudaSuccess) return;
  // Or the next launch would report it.
  cudaGetLastError();
  if (status == cudaErrorMemoryAllocation) fail(ESP_STATUS_MEMORY, "device %u, %s: out of memory", device_, doing);
  if (!is_passing(status)) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_.empty()) failure_ = std::string(doing) + ": " + cudaGetErrorString(status);
  }
  fail(ESP_STATUS_SYSTEM, "device %u, %s: %s", device_, doing, cudaGetErrorString(status));
}

esp_cuda_memory Context::memory() {
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for free memory");
  return {bytes_[0], bytes_[1], bytes_[2], bytes_[3], bytes_[4], total_bytes, free_bytes};
}

void Context::check_room(uint64_t bytes, const char *what) {
  drop_released();
  const esp_cuda_memory now = memory();
  const uint64_t reserve = std::min(kReserve, now.total_bytes / kReservePart);
  if (bytes <= now.free_bytes && now.free_bytes - bytes >= reserve) return;
  fail(ESP_STATUS_MEMORY,
       "out of memory: %s needs %llu bytes on device %u, and %llu stay in reserve; %llu of %llu bytes are free", what,
       static_cast<unsigned long long>(bytes), device_, static_cast<unsigned long long>(reserve),
       static_cast<unsigned long long>(now.free_bytes), static_cast<unsigned long long>(now.total_bytes));
}

void Context::close() {
  std::unique_lock<std::mutex> lock(mutex_);
  is_closed_ = true;
  idle_.wait(lock, [&] { return running_ == 0; });
}

Context::Running::Running(Context &context) : context_(context) {
  std::lock_guard<std::mutex> lock(context.mutex_);
  context.running_++;
}

Context::Running::~Running() {
  std::lock_guard<std::mutex> lock(context_.mutex_);
  if (--context_.running_ == 0) context_.idle_.notify_all();
}

void check_array(const char *name, const void *array, size_t alignment, uint64_t count) {
  if (count == 0) return;
  if (array == nullptr) fail(ESP_STATUS_SHAPE, "%s must not be null", name);
  if (reinterpret_cast<uintptr_t>(array) % alignment != 0) {
    fail(ESP_STATUS_SHAPE, "%s must begin at a multiple of %zu bytes, found %p", name, alignment, array);
  }
}

}  // namespace espalier::cuda

uint32_t esp_cuda_abi(void) { return ESP_CUDA_ABI; }

esp_status esp_cuda_open(uint32_t device, esp_cuda_context **out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    esp_cuda_context *&opened = required(out, "out");
    opened = nullptr;
    opened = new esp_cuda_context{std::make_shared<Context>(device)};
  });
}

void esp_cuda_close(esp_cuda_context *context) {
  if (context == nullptr) return;
  context->state->close();
  espalier::cuda::drop_released();
  delete context;
}

esp_status esp_cuda_memory_of(esp_cuda_context *context, esp_cuda_memory *out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    Context &state = *required(context, "context").state;
    state.check_usable();
    const DeviceScope scope(state.device());
    drop_released();
    required(out, "out") = state.memory();
  });
}
