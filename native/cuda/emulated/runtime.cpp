// The runtime's calls; see runtime.h.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "../probe_kernel.h"
#include "machine.h"
#include "simt.h"
#include "testing.h"

namespace espalier::cuda::emulated {

extern thread_local cudaStreamCaptureMode thread_capture_mode;

namespace {

Machine &machine() { return Machine::get(); }

// Runs a call's body where the device can still be asked.
template <class Body>
cudaError_t called(Body &&body) {
  const cudaError_t state = machine().state();
  return Machine::remember(state == cudaSuccess ? body() : state);
}

// The same of a call that captures forbid.
template <class Body>
cudaError_t called_outside_captures(Body &&body) {
  return called([&] { return machine().may_disturb_captures() ? body() : cudaErrorStreamCaptureUnsupported; });
}

template <class Body>
cudaError_t on_stream(cudaStream_t handle, Body &&body) {
  return called([&] {
    const std::shared_ptr<CUstream_st> stream = machine().find(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->is_spoiled) return cudaErrorStreamCaptureInvalidated;
    return body(*stream);
  });
}

bool is_device(const void *pointer) {
  const MemoryKind *kind = machine().memory.kind_of(pointer);
  return kind != nullptr && *kind == MemoryKind::kDevice;
}

void check_ends(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  const MemoryMap &memory = machine().memory;
  const bool to_device = kind == cudaMemcpyDefault ? is_device(to) : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDefault ? is_device(from) : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (to_device) memory.expect_device(to, bytes, "a copy's target");
  else memory.expect_host(to, "a copy's target");
  if (from_device) memory.expect_device(from, bytes, "a copy's source");
  else memory.expect_host(from, "a copy's source");
}

cudaError_t add_memory(MemoryKind kind, void **memory, size_t bytes) {
  return called_outside_captures([&] {
    *memory = nullptr;
    const uint64_t left = machine().settings.memory - std::min(machine().settings.memory, machine().memory.device_bytes());
    if (!machine().may_make() || (kind == MemoryKind::kDevice && bytes > left)) return cudaErrorMemoryAllocation;
    *memory = bytes == 0 ? nullptr : machine().memory.add(kind, bytes);
    return *memory == nullptr && bytes > 0 ? cudaErrorMemoryAllocation : cudaSuccess;
  });
}

cudaError_t remove_memory(MemoryKind kind, void *memory) {
  if (memory == nullptr) return cudaSuccess;
  // Memory of a broken device comes back with its end, which here is the free.
  const cudaError_t state = machine().state();
  if (state == cudaSuccess && !machine().may_disturb_captures()) return Machine::remember(cudaErrorStreamCaptureUnsupported);
  machine().memory.remove(kind, memory);
  return Machine::remember(state);
}

// Kernels go on streams, too.
const bool is_enqueuing = [] {
  simt::enqueue = [](void *stream, std::function<void()> work) -> int {
    return launch(static_cast<cudaStream_t>(stream), std::move(work));
  };
  return true;
}();

}  // namespace

cudaError_t launch(cudaStream_t stream, std::function<void()> kernel) {
  return on_stream(stream, [&](CUstream_st &found) {
    if (machine().settings.compute < 80) return cudaErrorNoKernelImageForDevice;
    machine().put(found, [kernel] { machine().run_kernel(kernel); });
    return cudaSuccess;
  });
}

}  // namespace espalier::cuda::emulated

using namespace espalier::cuda::emulated;

// ---- the device --------------------------------------------------------------------------------------

cudaError_t cudaDriverGetVersion(int *version) {
  *version = machine().settings.driver;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count) {
  *count = 0;
  return called([&] {
    *count = machine().settings.devices;
    return cudaSuccess;
  });
}

namespace {
thread_local int current_device = 0;
}

cudaError_t cudaGetDevice(int *device) {
  return called([&] {
    *device = current_device;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return called([&] {
    if (device < 0 || device >= machine().settings.devices) return cudaErrorInvalidDevice;
    current_device = device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  return called([&] {
    if (device < 0 || device >= machine().settings.devices) return cudaErrorInvalidDevice;
    const Settings &settings = machine().settings;
    snprintf(properties->name, sizeof properties->name, "emulated on the CPU");
    properties->totalGlobalMem = settings.memory;
    properties->major = settings.compute / 10;
    properties->minor = settings.compute % 10;
    properties->multiProcessorCount = 2;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  const cudaError_t status = called([&] {
    if (machine().spoil_captures()) return cudaErrorStreamCaptureUnsupported;
    machine().run_all();
    return cudaSuccess;
  });
  return status == cudaSuccess ? machine().state() : status;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
  return called([&] {
    *total_bytes = machine().settings.memory;
    *free_bytes = *total_bytes - std::min<uint64_t>(*total_bytes, machine().memory.device_bytes());
    return cudaSuccess;
  });
}

// ---- streams and events ------------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  return called_outside_captures([&] {
    if (!machine().may_make()) return cudaErrorMemoryAllocation;
    *stream = machine().add_stream((flags & cudaStreamNonBlocking) == 0);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) { return Machine::remember(machine().remove_stream(stream)); }

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const cudaError_t status = on_stream(stream, [&](CUstream_st &found) {
    if (found.capture != nullptr) {
      found.is_spoiled = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    if (!machine().may_disturb_captures()) return cudaErrorStreamCaptureUnsupported;
    machine().run(found, found.put);
    return cudaSuccess;
  });
  return status == cudaSuccess ? machine().state() : status;
}

cudaError_t cudaStreamGetId(cudaStream_t stream, unsigned long long *id) {
  return on_stream(stream, [&](CUstream_st &found) {
    *id = found.id;
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  return called([&] {
    if (!machine().may_make()) return cudaErrorMemoryAllocation;
    *event = new CUevent_st();
    machine().events++;
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  machine().events--;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return on_stream(stream, [&](CUstream_st &found) {
    machine().put(found, [time = event->time] { *time = std::chrono::steady_clock::now(); });
    event->stream = machine().find(stream);
    event->position = found.put;
    event->is_captured = found.capture != nullptr;
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return called_outside_captures([&] {
    if (event->is_captured) return cudaErrorCapturedEvent;
    const auto stream = event->stream.lock();
    return stream == nullptr || stream->done >= event->position ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const cudaError_t status = called_outside_captures([&] {
    if (event->is_captured) return cudaErrorCapturedEvent;
    if (const auto stream = event->stream.lock()) machine().run(*stream, event->position);
    return cudaSuccess;
  });
  return status == cudaSuccess ? machine().state() : status;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return called([&] {
    *milliseconds = std::chrono::duration<float, std::milli>(*to->time - *from->time).count();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return on_stream(stream, [&](CUstream_st &found) {
    machine().put(found, [other = event->stream, position = event->position] {
      if (const auto awaited = other.lock()) machine().run(*awaited, position);
    });
    return cudaSuccess;
  });
}

// ---- memory ------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void **memory, size_t bytes) { return add_memory(MemoryKind::kDevice, memory, bytes); }
cudaError_t cudaFree(void *memory) { return remove_memory(MemoryKind::kDevice, memory); }
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) { return add_memory(MemoryKind::kPinned, memory, bytes); }
cudaError_t cudaFreeHost(void *memory) { return remove_memory(MemoryKind::kPinned, memory); }

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return status == cudaSuccess ? cudaStreamSynchronize(nullptr) : status;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return on_stream(stream, [&](CUstream_st &found) {
    if (bytes == 0) return cudaSuccess;
    check_ends(to, from, bytes, kind);
    const auto copy = [to, bytes, kind](const void *source) {
      check_ends(to, source, bytes, kind);
      memcpy(to, source, bytes);
    };
    const bool is_captured = found.capture != nullptr;
    const bool from_pageable = machine().memory.kind_of(from) == nullptr;
    if (from_pageable && !is_captured) {
      // Pageable memory has been read when the call returns.
      auto taken = std::make_shared<std::vector<char>>(static_cast<const char *>(from), static_cast<const char *>(from) + bytes);
      machine().put(found, [copy, taken] { copy(taken->data()); });
    } else {
      machine().put(found, [copy, from] { copy(from); });
    }
    // And pageable memory has been written.
    if (machine().memory.kind_of(to) == nullptr && !is_captured) machine().run(found, found.put);
    return cudaSuccess;
  });
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes) { return cudaMemsetAsync(memory, value, bytes, nullptr); }

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
  return on_stream(stream, [&](CUstream_st &found) {
    if (bytes == 0) return cudaSuccess;
    machine().memory.expect_device(memory, bytes, "what is set");
    machine().put(found, [=] {
      machine().memory.expect_device(memory, bytes, "what is set");
      memset(memory, value, bytes);
    });
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *pointer) {
  return called([&] {
    const MemoryKind *kind = machine().memory.kind_of(pointer);
    *attributes = {};
    attributes->type = kind == nullptr ? cudaMemoryTypeUnregistered : *kind == MemoryKind::kDevice ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    return cudaSuccess;
  });
}

// ---- captures ----------------------------------------------------------------------------------------

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode) {
  std::swap(*mode, thread_capture_mode);
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
  return called([&] {
    const auto found = machine().find(stream);
    if (found == nullptr) return cudaErrorInvalidResourceHandle;
    *status = found->is_spoiled          ? cudaStreamCaptureStatusInvalidated
              : found->capture != nullptr ? cudaStreamCaptureStatusActive
                                          : cudaStreamCaptureStatusNone;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus *status, unsigned long long *id,
                                     cudaGraph_t *graph, const cudaGraphNode_t **, const cudaGraphEdgeData **, size_t *) {
  const cudaError_t found = cudaStreamIsCapturing(stream, status);
  if (found != cudaSuccess || *status != cudaStreamCaptureStatusActive) return found;
  const auto captured = machine().find(stream);
  *id = captured->capture_id;
  *graph = captured->capture.get();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return on_stream(stream, [&](CUstream_st &found) {
    if (stream == nullptr || found.capture != nullptr) return cudaErrorStreamCaptureUnsupported;
    found.capture_mode = mode;
    found.capture_thread = std::this_thread::get_id();
    found.capture = std::make_unique<CUgraph_st>();
    found.capture_id = machine().next_id();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  *graph = nullptr;
  return called([&] {
    const auto found = machine().find(stream);
    if (found == nullptr || found->capture == nullptr) return cudaErrorInvalidResourceHandle;
    std::unique_ptr<CUgraph_st> captured = std::move(found->capture);
    if (std::exchange(found->is_spoiled, false)) return cudaErrorStreamCaptureInvalidated;
    *graph = captured.release();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
  return called([&] {
    *executable = new CUgraphExec_st{graph->operations, graph->retained};
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return on_stream(stream, [&](CUstream_st &found) {
    for (const Operation &operation : executable->operations) {
      machine().put(found, [operation, retained = executable->retained] { operation(); });
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaUserObjectCreate(cudaUserObject_t *object, void *user, cudaHostFn_t destroy, unsigned references, unsigned flags) {
  return called([&] {
    if (references != 1 || flags != cudaUserObjectNoDestructorSync) return cudaErrorInvalidValue;
    if (!machine().may_make()) return cudaErrorMemoryAllocation;
    *object = new CUuserObject_st(user, destroy);
    return cudaSuccess;
  });
}

cudaError_t cudaUserObjectRelease(cudaUserObject_t object, unsigned) {
  delete object;
  return cudaSuccess;
}

cudaError_t cudaGraphRetainUserObject(cudaGraph_t graph, cudaUserObject_t object, unsigned references, unsigned flags) {
  return called([&] {
    if (graph == nullptr || references != 1 || flags != cudaGraphUserObjectMove) return cudaErrorInvalidValue;
    graph->retained.emplace_back(object);
    return cudaSuccess;
  });
}

// ---- what tests ask for ------------------------------------------------------------------------------

void esp_cuda_emulated_configure(const char *settings) { machine().configure(settings); }

uint64_t esp_cuda_emulated_live(void) {
  return machine().memory.count() + machine().stream_count() + machine().events + machine().user_objects;
}

void esp_cuda_emulated_before_kernel(void (*hook)(void *user), void *user) {
  machine().hook_user = user;
  machine().hook = hook;
}

void *esp_cuda_emulated_allocate(size_t bytes) {
  void *memory = nullptr;
  return cudaMalloc(&memory, bytes) == cudaSuccess ? memory : nullptr;
}

void esp_cuda_emulated_free(void *memory) { cudaFree(memory); }
int esp_cuda_emulated_synchronize(void) { return cudaDeviceSynchronize(); }

// ---- the probe's kernel ------------------------------------------------------------------------------

int espalier::cuda::launch_probe(uint32_t *out, void *stream) {
  return launch(static_cast<cudaStream_t>(stream), [out] { *out = kProbeAnswer; });
}
