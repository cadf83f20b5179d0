#include "machine.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace espalier::cuda::emulated {

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local bool is_destroying_user_object = false;

}  // namespace

thread_local cudaStreamCaptureMode thread_capture_mode = cudaStreamCaptureModeGlobal;

Settings read_settings(const char *text) {
  Settings settings;
  std::string left = text == nullptr ? "" : text;
  while (!left.empty()) {
    const size_t comma = left.find(',');
    const std::string pair = left.substr(0, comma);
    left = comma == std::string::npos ? "" : left.substr(comma + 1);
    const size_t equals = pair.find('=');
    char *end = nullptr;
    const uint64_t value = equals == std::string::npos ? 0 : strtoull(pair.c_str() + equals + 1, &end, 10);
    const std::string name = pair.substr(0, equals);
    if (end == nullptr || *end != 0 || end == pair.c_str() + equals + 1) die("a setting must be name=number, found \"%s\"", pair.c_str());
    if (name == "driver") settings.driver = static_cast<int>(value);
    else if (name == "devices") settings.devices = static_cast<int>(value);
    else if (name == "compute") settings.compute = static_cast<int>(value);
    else if (name == "memory") settings.memory = value;
    else if (name == "fail-allocation") settings.fail_allocation = value;
    else if (name == "fail-launch") settings.fail_launch = value;
    else die("there is no setting \"%s\"", name.c_str());
  }
  return settings;
}

Machine &Machine::get() {
  static Machine machine;
  return machine;
}

Machine::Machine() : settings(read_settings(getenv("EMULATED_CUDA"))) { default_stream_->is_blocking = true; }

void Machine::configure(const char *text) {
  const Settings read = read_settings(text);
  std::lock_guard<std::mutex> lock(mutex_);
  settings = read;
  broken_ = cudaSuccess;
  last_error = cudaSuccess;
}

cudaError_t Machine::state() const {
  if (is_destroying_user_object) die("what is called when a user object goes must not call CUDA");
  if (settings.driver < 13000) return cudaErrorInsufficientDriver;
  if (settings.devices == 0) return cudaErrorNoDevice;
  return static_cast<cudaError_t>(broken_.load());
}

cudaError_t Machine::remember(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

bool Machine::may_make() {
  std::lock_guard<std::mutex> lock(mutex_);
  return settings.fail_allocation == 0 || --settings.fail_allocation > 0;
}

bool Machine::spoil_captures() {
  std::lock_guard<std::mutex> lock(mutex_);
  bool has_spoiled = false;
  for (const auto &entry : streams_) {
    if (entry.second->capture == nullptr) continue;
    entry.second->is_spoiled = true;
    has_spoiled = true;
  }
  return has_spoiled;
}

bool Machine::may_disturb_captures() {
  if (thread_capture_mode == cudaStreamCaptureModeRelaxed) return true;
  std::lock_guard<std::mutex> lock(mutex_);
  bool may = true;
  for (const auto &entry : streams_) {
    CUstream_st &stream = *entry.second;
    if (stream.capture == nullptr || stream.capture_mode == cudaStreamCaptureModeRelaxed) continue;
    const bool is_others = stream.capture_thread != std::this_thread::get_id();
    if (stream.capture_mode == cudaStreamCaptureModeThreadLocal && is_others) continue;
    stream.is_spoiled = true;
    may = false;
  }
  return may;
}

cudaStream_t Machine::add_stream(bool is_blocking) {
  auto stream = std::make_shared<CUstream_st>();
  stream->id = next_id();
  stream->is_blocking = is_blocking;
  std::lock_guard<std::mutex> lock(mutex_);
  streams_[stream.get()] = stream;
  return stream.get();
}

cudaError_t Machine::remove_stream(cudaStream_t handle) {
  const std::shared_ptr<CUstream_st> stream = handle == nullptr ? nullptr : find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  run(*stream, stream->put);
  std::lock_guard<std::mutex> lock(mutex_);
  streams_.erase(handle);
  return cudaSuccess;
}

std::shared_ptr<CUstream_st> Machine::find(cudaStream_t stream) {
  if (stream == nullptr) return default_stream_;
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<CUstream_st>> Machine::streams(bool only_blocking) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<CUstream_st>> found;
  for (const auto &entry : streams_) {
    if (entry.second->is_blocking || !only_blocking) found.push_back(entry.second);
  }
  return found;
}

void Machine::put(CUstream_st &stream, Operation operation) {
  if (stream.capture == nullptr && stream.is_blocking) {
    // The default stream and the others that are not "non-blocking" wait for each other.
    if (&stream != default_stream_.get()) {
      run(*default_stream_, default_stream_->put);
    } else {
      for (const auto &other : streams(true)) run(*other, other->put);
    }
  }
  std::lock_guard<std::mutex> lock(mutex_);
  if (stream.capture != nullptr) {
    stream.capture->operations.push_back(std::move(operation));
    return;
  }
  stream.waiting.push_back(std::move(operation));
  stream.put++;
}

void Machine::run(CUstream_st &stream, uint64_t count) {
  std::lock_guard<std::recursive_mutex> running(running_);
  while (true) {
    Operation operation;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (stream.done >= count || stream.waiting.empty()) return;
      if (stream.is_running) die("what runs on a stream waits for that stream");
      operation = std::move(stream.waiting.front());
      stream.waiting.pop_front();
      stream.is_running = true;
    }
    // A broken device runs nothing more.
    if (broken_ == cudaSuccess) operation();
    std::lock_guard<std::mutex> lock(mutex_);
    stream.is_running = false;
    stream.done++;
  }
}

void Machine::run_all() {
  run(*default_stream_, default_stream_->put);
  for (const auto &stream : streams(false)) run(*stream, stream->put);
}

void Machine::run_kernel(const std::function<void()> &kernel) {
  if (auto *called = hook.load()) called(hook_user);
  bool breaks = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    breaks = settings.fail_launch > 0 && --settings.fail_launch == 0;
  }
  if (breaks) broken_ = cudaErrorIllegalAddress;
  else kernel();
}

uint64_t Machine::stream_count() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return streams_.size();
}

}  // namespace espalier::cuda::emulated

using espalier::cuda::emulated::Machine;

CUuserObject_st::CUuserObject_st(void *object, cudaHostFn_t destructor) : user(object), destroy(destructor) {
  Machine::get().user_objects++;
}

CUuserObject_st::~CUuserObject_st() {
  Machine::get().user_objects--;
  espalier::cuda::emulated::is_destroying_user_object = true;
  destroy(user);
  espalier::cuda::emulated::is_destroying_user_object = false;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  espalier::cuda::emulated::last_error = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  const cudaError_t state = Machine::get().state();
  return state == cudaSuccess ? espalier::cuda::emulated::last_error : state;
}

const char *cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorNoKernelImageForDevice:
      return "cudaErrorNoKernelImageForDevice";
    default:
      return "cudaError";
  }
}

const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available for execution on the device";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    default:
      return "an error of the emulated device";
  }
}
