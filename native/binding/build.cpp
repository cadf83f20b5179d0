// Building on another thread: a job that says how far it is, can be cancelled, and ends in a promise.
#include <atomic>
#include <memory>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <sys/resource.h>
#endif

#include "js.h"

namespace binding {

struct BuildJob {
  std::vector<uint32_t> codebook_sizes;
  esp_rows rows = {};
  esp_build_options options = {};
  // Keeps the input alive until the job has ended.
  napi_ref input = nullptr;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  // Of the thread that started it; the build is as nice.
  int niceness = 0;
  std::atomic<bool> is_cancelled{false};
  std::atomic<int> phase{0};
  std::atomic<double> fraction{0};
  esp_status status = ESP_OK;
  std::string message;
  esp_trie *trie = nullptr;
};

namespace {

constexpr napi_type_tag kJobTag = {0x51d0a7d9b5f14a62ull, 0x8f1d6b1c0c7a4e93ull};

using SharedJob = std::shared_ptr<BuildJob>;

int progress(void *user, esp_phase phase, double fraction) {
  BuildJob &job = *static_cast<BuildJob *>(user);
  job.phase.store(phase, std::memory_order_relaxed);
  job.fraction.store(fraction, std::memory_order_relaxed);
  return job.is_cancelled.load(std::memory_order_relaxed) ? 1 : 0;
}

void build(BuildJob &job) {
  job.status = esp_trie_build(&job.rows, &job.options, &job.trie);
  if (job.status != ESP_OK) job.message = esp_last_error();
}

#ifdef __linux__
// On Linux niceness belongs to a thread, and threads inherit it from the one that starts them.
int own_niceness() { return getpriority(PRIO_PROCESS, 0); }

// A thread that has become nice cannot go back, so libuv's do not: they are for everyone.
bool build_nicely(BuildJob &job) {
  try {
    std::thread([&job] {
      setpriority(PRIO_PROCESS, 0, job.niceness);
      build(job);
    }).join();
    return true;
  } catch (const std::system_error &) {
    return false;  // There is no thread to be had: better not as nice than not at all.
  }
}
#else
int own_niceness() { return 0; }
bool build_nicely(BuildJob &) { return false; }
#endif

// On a thread of libuv's pool.
void execute(napi_env, void *data) {
  BuildJob &job = **static_cast<SharedJob *>(data);
  if (job.niceness <= own_niceness() || !build_nicely(job)) build(job);
}

// Back on the JavaScript thread. When that is being torn down its calls fail, and only the memory matters.
void complete(napi_env env, napi_status, void *data) {
  const std::unique_ptr<SharedJob> held(static_cast<SharedJob *>(data));
  BuildJob &job = **held;
  void *state = nullptr;
  if (napi_get_instance_data(env, &state) == napi_ok && state != nullptr) static_cast<EnvState *>(state)->jobs.erase(&job);
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(env, &scope);
  napi_delete_reference(env, job.input);
  napi_delete_async_work(env, job.work);
  if (job.status == ESP_OK) {
    esp_trie *trie = job.trie;
    job.trie = nullptr;
    try {
      napi_resolve_deferred(env, job.deferred, make_trie_handle(env, trie));
    } catch (const JsFailure &failure) {
      napi_value error = make_error(env, failure);
      if (error != nullptr) napi_reject_deferred(env, job.deferred, error);
    }
  } else {
    napi_value error = make_error(env, {job.status, job.message});
    if (error != nullptr) napi_reject_deferred(env, job.deferred, error);
  }
  napi_close_handle_scope(env, scope);
}

esp_dtype dtype_of(napi_typedarray_type type) {
  switch (type) {
    case napi_uint8_array:
      return ESP_U8;
    case napi_uint16_array:
      return ESP_U16;
    case napi_uint32_array:
      return ESP_U32;
    case napi_int32_array:
      return ESP_I32;
    case napi_bigint64_array:
      return ESP_I64;
    default:
      fail(ESP_STATUS_SHAPE, "codes must be a Uint8Array, Uint16Array, Uint32Array, Int32Array or BigInt64Array");
  }
}

BuildJob &job_of(napi_env env, napi_value value) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  bool is_job = false;
  if (type == napi_object) napi_check_object_type_tag(env, value, &kJobTag, &is_job);
  if (!is_job) fail(ESP_STATUS_SHAPE, "expected the handle of a build");
  void *data = nullptr;
  check(env, napi_unwrap(env, value, &data));
  return **static_cast<SharedJob *>(data);
}

// startBuild(codes, codebookSizes, rowCount, threads, level, maskBudgetBytes): {job, trie: Promise}
napi_value start_build(const Arguments &arguments) {
  napi_env env = arguments.env();
  SharedJob job = std::make_shared<BuildJob>();
  const Elements codes = elements(env, arguments[0], "codes");
  const Elements sizes = elements(env, arguments[1], "codebookSizes");
  const uint32_t *codebook_sizes = array<uint32_t>(env, arguments[1], "codebookSizes", sizes.length);
  if (sizes.length < 1 || sizes.length > ESP_MAX_LEVELS) {
    fail(ESP_STATUS_SHAPE, "levels must be 1 to " + std::to_string(ESP_MAX_LEVELS) + ", found " + std::to_string(sizes.length));
  }
  job->codebook_sizes.assign(codebook_sizes, codebook_sizes + sizes.length);
  job->rows.codes = codes.data;
  job->rows.dtype = dtype_of(codes.type);
  job->rows.row_count = to_count(env, arguments[2], "rowCount", UINT64_MAX / 64);
  job->rows.level_count = static_cast<uint32_t>(sizes.length);
  job->rows.codebook_sizes = job->codebook_sizes.data();
  if (codes.length != job->rows.row_count * sizes.length) {
    fail(ESP_STATUS_SHAPE, std::to_string(job->rows.row_count) + " rows of " + std::to_string(sizes.length) +
                               " codes need " + std::to_string(job->rows.row_count * sizes.length) +
                               " entries, found " + std::to_string(codes.length));
  }
  job->options.threads = static_cast<uint32_t>(to_count(env, arguments[3], "threads", 1024));
  job->options.level = to_level(env, arguments[4]);
  job->options.mask_budget_bytes = to_count(env, arguments[5], "maskBudgetBytes", INT64_MAX / 2);
  job->options.progress = progress;
  job->options.user = job.get();
  job->niceness = own_niceness();

  napi_value result;
  check(env, napi_create_object(env, &result));
  napi_value handle;
  check(env, napi_create_object(env, &handle));
  const auto finalize = [](napi_env, void *data, void *) { delete static_cast<SharedJob *>(data); };
  SharedJob *wrapped = new SharedJob(job);
  if (napi_wrap(env, handle, wrapped, finalize, nullptr, nullptr) != napi_ok) {
    delete wrapped;
    fail(ESP_STATUS_INTERNAL, "Node refused to wrap the build");
  }
  check(env, napi_type_tag_object(env, handle, &kJobTag));
  set(env, result, "job", handle);
  napi_value promise;
  check(env, napi_create_promise(env, &job->deferred, &promise));
  set(env, result, "trie", promise);
  napi_value name;
  check(env, napi_create_string_utf8(env, "espalier:build", NAPI_AUTO_LENGTH, &name));
  check(env, napi_create_reference(env, codes.buffer, 1, &job->input));
  SharedJob *running = new SharedJob(job);
  check(env, napi_create_async_work(env, nullptr, name, execute, complete, running, &job->work));
  check(env, napi_queue_async_work(env, job->work));
  state_of(env).jobs.insert(job.get());
  return result;
}

napi_value build_progress(const Arguments &arguments) {
  napi_env env = arguments.env();
  const BuildJob &job = job_of(env, arguments[0]);
  napi_value result;
  check(env, napi_create_object(env, &result));
  set(env, result, "phase", number(env, job.phase.load(std::memory_order_relaxed)));
  set(env, result, "fraction", number(env, job.fraction.load(std::memory_order_relaxed)));
  return result;
}

napi_value cancel_build(const Arguments &arguments) {
  job_of(arguments.env(), arguments[0]).is_cancelled = true;
  return nullptr;
}

}  // namespace

void cancel_jobs(EnvState &state) {
  for (BuildJob *job : state.jobs) job->is_cancelled = true;
}

void define_build(napi_env env, napi_value exports) {
  define<start_build>(env, exports, "startBuild");
  define<build_progress>(env, exports, "buildProgress");
  define<cancel_build>(env, exports, "cancelBuild");
}

}  // namespace binding
