// Whether there is a device that can run this build's code.
#include "probe.h"

#include <string>

#include "context.h"
#include "probe_kernel.h"

namespace espalier::cuda {

namespace {

std::string version_name(uint32_t version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// What went wrong before there was a context.
[[noreturn]] void refuse(cudaError_t status, uint32_t device, const esp_cuda_device &about) {
  cudaGetLastError();
  switch (status) {
    case cudaErrorInsufficientDriver:
      if (about.driver_version == 0) {
        fail(ESP_STATUS_UNSUPPORTED, "there is no CUDA driver on this machine; this build needs one of CUDA %s",
             version_name(about.runtime_version).c_str());
      }
      fail(ESP_STATUS_UNSUPPORTED, "the driver is of CUDA %s, this build needs one of CUDA %s",
           version_name(about.driver_version).c_str(), version_name(about.runtime_version).c_str());
    case cudaErrorNoDevice:
      fail(ESP_STATUS_UNSUPPORTED, "there is a CUDA %s driver, but no device that it can use",
           version_name(about.driver_version).c_str());
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidPtx:
    case cudaErrorJitCompilerNotFound:
    case cudaErrorUnsupportedPtxVersion:
      fail(ESP_STATUS_UNSUPPORTED,
           "device %u (%s) is of compute capability %u.%u, for which this build has no code that its driver can use: %s",
           device, about.name, about.compute_major, about.compute_minor, cudaGetErrorString(status));
    case cudaErrorMemoryAllocation:
      fail(ESP_STATUS_MEMORY, "device %u (%s) has no memory left for a context", device, about.name);
    default:
      fail(ESP_STATUS_SYSTEM, "device %u cannot be used: %s (%s)", device, cudaGetErrorString(status),
           cudaGetErrorName(status));
  }
}

// Runs the probe's kernel.
cudaError_t ask_kernel(uint32_t &answer) {
  uint32_t *memory = nullptr;
  cudaStream_t stream = nullptr;
  cudaError_t status = cudaMalloc(&memory, sizeof answer);
  if (status == cudaSuccess) status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (status == cudaSuccess) status = static_cast<cudaError_t>(launch_probe(memory, stream));
  if (status == cudaSuccess) status = cudaMemcpyAsync(&answer, memory, sizeof answer, cudaMemcpyDeviceToHost, stream);
  if (status == cudaSuccess) status = cudaStreamSynchronize(stream);
  if (stream != nullptr) cudaStreamDestroy(stream);
  cudaFree(memory);
  return status;
}

}  // namespace

void find_device(uint32_t device, esp_cuda_device &out) {
  out = {};
  int driver = 0;
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  out.driver_version = static_cast<uint32_t>(driver);
  out.runtime_version = static_cast<uint32_t>(runtime);
  const auto check = [&](cudaError_t status) {
    if (status != cudaSuccess) refuse(status, device, out);
  };
  int count = 0;
  check(cudaGetDeviceCount(&count));
  if (count == 0) refuse(cudaErrorNoDevice, device, out);
  if (device >= static_cast<uint32_t>(count)) {
    fail(ESP_STATUS_UNSUPPORTED, "there is no device %u; the last of %d is %d", device, count, count - 1);
  }
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, static_cast<int>(device)));
  std::string(properties.name).copy(out.name, sizeof out.name - 1);
  out.compute_major = static_cast<uint32_t>(properties.major);
  out.compute_minor = static_cast<uint32_t>(properties.minor);
  out.multiprocessor_count = static_cast<uint32_t>(properties.multiProcessorCount);
  out.total_bytes = properties.totalGlobalMem;
  const DeviceScope scope(device);
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes));
  out.free_bytes = free_bytes;
  out.total_bytes = total_bytes;
  uint32_t answer = 0;
  check(ask_kernel(answer));
  if (answer != kProbeAnswer) fail(ESP_STATUS_SYSTEM, "device %u (%s) ran a kernel that did nothing", device, out.name);
}

}  // namespace espalier::cuda

esp_status esp_cuda_probe(uint32_t device, esp_cuda_device *out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] { find_device(device, required(out, "out")); });
}
