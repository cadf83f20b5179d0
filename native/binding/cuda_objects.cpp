// Contexts, and tries, sets and constraints on the device: made, asked about and disposed.
#include "cuda_objects.h"

#include "step_arguments.h"

namespace binding {

void CudaTrie::dispose() {
  for (CudaPart *part : std::unordered_set<CudaPart *>(std::move(parts))) part->dispose();
  parts.clear();
  if (trie == nullptr) return;
  functions->trie_release(trie);
  trie = nullptr;
  esp_trie_release(host);
  host = nullptr;
}

CudaTrie::~CudaTrie() { dispose(); }

void CudaSet::dispose() {
  if (set == nullptr) return;
  trie->functions->set_release(set);
  set = nullptr;
  napi_delete_reference(env, leaf_bits);
  trie->parts.erase(this);
}

CudaSet::~CudaSet() { dispose(); }

void CudaConstraint::dispose() {
  if (constraint == nullptr) return;
  trie->functions->constraint_release(constraint);
  constraint = nullptr;
  trie->parts.erase(this);
}

CudaConstraint::~CudaConstraint() { dispose(); }

void CudaStepper::dispose() {
  if (stepper == nullptr) return;
  context->functions->stepper_release(stepper);
  stepper = nullptr;
  context = nullptr;
}

const std::shared_ptr<CudaTrie> &cuda_trie_of(napi_env env, napi_value handle) {
  const std::shared_ptr<CudaTrie> &trie = of_shared_handle<CudaTrie>(env, handle);
  if (trie->trie == nullptr) fail(ESP_STATUS_SHAPE, "the trie on the GPU has been disposed");
  return trie;
}

namespace {

std::string to_text(napi_env env, napi_value value, const char *name) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must be a string");
  }
  std::string text(length, '\0');
  check(env, napi_get_value_string_utf8(env, value, &text[0], length + 1, &length));
  return text;
}

napi_value text(napi_env env, const char *value) {
  napi_value result;
  check(env, napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &result));
  return result;
}

napi_value null_value(napi_env env) {
  napi_value result;
  check(env, napi_get_null(env, &result));
  return result;
}

const std::shared_ptr<CudaContext> &context_of(napi_env env, napi_value handle) {
  const std::shared_ptr<CudaContext> &context = of_shared_handle<CudaContext>(env, handle);
  if (context == nullptr) fail(ESP_STATUS_SHAPE, "the CUDA context has been disposed");
  return context;
}

uint32_t device_number(napi_env env, napi_value value) {
  return static_cast<uint32_t>(to_count(env, value, "device", INT32_MAX));
}

napi_value device_facts(napi_env env, const esp_cuda_device &device) {
  napi_value facts;
  check(env, napi_create_object(env, &facts));
  set(env, facts, "name", text(env, device.name));
  set(env, facts, "computeMajor", number(env, device.compute_major));
  set(env, facts, "computeMinor", number(env, device.compute_minor));
  set(env, facts, "multiprocessorCount", number(env, device.multiprocessor_count));
  set(env, facts, "driverVersion", number(env, device.driver_version));
  set(env, facts, "runtimeVersion", number(env, device.runtime_version));
  set(env, facts, "totalBytes", number(env, static_cast<double>(device.total_bytes)));
  set(env, facts, "freeBytes", number(env, static_cast<double>(device.free_bytes)));
  return facts;
}

// cudaProbe(path, device): {abi, reason, device}; reason is null where the device can run steps. To be called in a
// process that may die of it.
napi_value probe(const Arguments &arguments) {
  napi_env env = arguments.env();
  const CudaLibraryPointer library = load_cuda(to_text(env, arguments[0], "path"));
  esp_cuda_device device = {};
  const esp_status status = library->probe(device_number(env, arguments[1]), &device);
  napi_value result;
  check(env, napi_create_object(env, &result));
  set(env, result, "abi", number(env, library->abi()));
  set(env, result, "reason", status == ESP_OK ? null_value(env) : text(env, library->last_error()));
  set(env, result, "device", device_facts(env, device));
  return result;
}

// cudaOpen(path, device)
napi_value open(const Arguments &arguments) {
  napi_env env = arguments.env();
  const CudaLibraryPointer library = load_cuda(to_text(env, arguments[0], "path"));
  esp_cuda_context *context = nullptr;
  library->check(library->open(device_number(env, arguments[1]), &context));
  return make_shared_handle(env, std::shared_ptr<CudaContext>(new CudaContext{library, context}));
}

// cudaMemory(context)
napi_value memory(const Arguments &arguments) {
  napi_env env = arguments.env();
  const std::shared_ptr<CudaContext> &context = context_of(env, arguments[0]);
  esp_cuda_memory memory = {};
  context->functions->check(context->functions->memory_of(context->context, &memory));
  napi_value result;
  check(env, napi_create_object(env, &result));
  const auto bytes = [&](const char *name, uint64_t value) { set(env, result, name, number(env, static_cast<double>(value))); };
  bytes("trieBytes", memory.trie_bytes);
  bytes("setBytes", memory.set_bytes);
  bytes("exclusionBytes", memory.exclusion_bytes);
  bytes("scratchBytes", memory.scratch_bytes);
  bytes("stagingBytes", memory.staging_bytes);
  bytes("totalBytes", memory.total_bytes);
  bytes("freeBytes", memory.free_bytes);
  return result;
}

// Uploading a trie takes as long as the bus needs: on another thread, beside steps, or at once.
struct TrieUpload {
  std::shared_ptr<CudaContext> context;
  esp_trie *host = nullptr;
  esp_cuda_trie *trie = nullptr;
  esp_status status = ESP_OK;
  std::string message;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;

  // Takes a reference to the trie's arrays along.
  TrieUpload(std::shared_ptr<CudaContext> into, esp_trie *from) : context(std::move(into)), host(from) { esp_trie_retain(host); }
  ~TrieUpload() {
    if (trie != nullptr) context->functions->trie_release(trie);
    esp_trie_release(host);
  }

  void run() {
    status = context->functions->trie_upload(context->context, esp_trie_view(host), &trie);
    if (status != ESP_OK) message = context->functions->last_error();
  }

  napi_value handle(napi_env env) {
    if (status != ESP_OK) fail(status, message);
    const std::shared_ptr<CudaTrie> made = std::make_shared<CudaTrie>();
    made->functions = context->functions;
    made->context = context;
    std::swap(made->trie, trie);
    esp_trie_retain(host);
    made->host = host;
    return make_shared_handle(env, made);
  }
};

// cudaUploadTrieNow(context, trie)
napi_value upload_trie_now(const Arguments &arguments) {
  napi_env env = arguments.env();
  TrieUpload upload(context_of(env, arguments[0]), trie_of(env, arguments[1]));
  upload.run();
  return upload.handle(env);
}

void execute_upload(napi_env, void *data) { static_cast<TrieUpload *>(data)->run(); }

// Back on the JavaScript thread. When that is being torn down its calls fail, and only the memory matters.
void complete_upload(napi_env env, napi_status, void *data) {
  const std::unique_ptr<TrieUpload> upload(static_cast<TrieUpload *>(data));
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(env, &scope);
  napi_delete_async_work(env, upload->work);
  try {
    napi_resolve_deferred(env, upload->deferred, upload->handle(env));
  } catch (const JsFailure &failure) {
    napi_value error = make_error(env, failure);
    if (error != nullptr) napi_reject_deferred(env, upload->deferred, error);
  }
  napi_close_handle_scope(env, scope);
}

// cudaUploadTrie(context, trie): Promise
napi_value upload_trie(const Arguments &arguments) {
  napi_env env = arguments.env();
  std::unique_ptr<TrieUpload> upload(new TrieUpload(context_of(env, arguments[0]), trie_of(env, arguments[1])));
  napi_value promise;
  check(env, napi_create_promise(env, &upload->deferred, &promise));
  napi_value name;
  check(env, napi_create_string_utf8(env, "espalier:upload", NAPI_AUTO_LENGTH, &name));
  check(env, napi_create_async_work(env, nullptr, name, execute_upload, complete_upload, upload.get(), &upload->work));
  const napi_status queued = napi_queue_async_work(env, upload->work);
  if (queued != napi_ok) napi_delete_async_work(env, upload->work);
  check(env, queued);
  upload.release();
  return promise;
}

// cudaTrieBytes(trie)
napi_value trie_bytes(const Arguments &arguments) {
  const CudaTrie &trie = *cuda_trie_of(arguments.env(), arguments[0]);
  return number(arguments.env(), static_cast<double>(trie.functions->trie_bytes(trie.trie)));
}

// cudaUploadSet(trie, {leafBits, rootMask, nodeBits})
napi_value upload_set(const Arguments &arguments) {
  napi_env env = arguments.env();
  const std::shared_ptr<CudaTrie> &trie = cuda_trie_of(env, arguments[0]);
  if (is_nullish(env, arguments[1])) fail(ESP_STATUS_SHAPE, "expected the live leaves of a set");
  const LiveBits live = live_bits(env, arguments[1], *esp_trie_view(trie->host));
  const std::shared_ptr<CudaSet> made = std::make_shared<CudaSet>();
  made->env = env;
  made->trie = trie;
  napi_ref leaf_bits = nullptr;
  check(env, napi_create_reference(env, get(env, arguments[1], "leafBits"), 1, &leaf_bits));
  made->leaf_bits = leaf_bits;
  const esp_status status = trie->functions->set_upload(trie->trie, live.leaf_bits, live.root_mask, live.node_bits, &made->set);
  if (status != ESP_OK) napi_delete_reference(env, leaf_bits);
  trie->functions->check(status);
  trie->parts.insert(made.get());
  return make_shared_handle(env, made);
}

// cudaCreateConstraint(trie, set | null, deadLeaves | null)
napi_value create_constraint(const Arguments &arguments) {
  napi_env env = arguments.env();
  const std::shared_ptr<CudaTrie> &trie = cuda_trie_of(env, arguments[0]);
  esp_cuda_set *set = nullptr;
  if (!is_nullish(env, arguments[1])) {
    const CudaSet &of = *of_shared_handle<CudaSet>(env, arguments[1]);
    if (of.set == nullptr) fail(ESP_STATUS_SHAPE, "the constraint set on the GPU has been disposed");
    if (of.trie != trie) fail(ESP_STATUS_SHAPE, "the constraint set belongs to another trie");
    set = of.set;
  }
  const LeafList dead = leaf_list(env, arguments[2], "deadLeaves");
  const std::shared_ptr<CudaConstraint> made = std::make_shared<CudaConstraint>();
  made->trie = trie;
  trie->functions->check(trie->functions->constraint_create(trie->trie, set, dead.leaves, dead.count, &made->constraint));
  trie->parts.insert(made.get());
  return make_shared_handle(env, made);
}

// cudaCreateStepper(context)
napi_value create_stepper(const Arguments &arguments) {
  napi_env env = arguments.env();
  const std::shared_ptr<CudaStepper> made = std::make_shared<CudaStepper>();
  made->context = context_of(env, arguments[0]);
  const CudaLibrary &library = *made->context->functions;
  library.check(library.stepper_create(made->context->context, &made->stepper));
  return make_shared_handle(env, made);
}

// cudaDispose(handle), of a context or anything that lies in one
napi_value dispose(const Arguments &arguments) {
  napi_env env = arguments.env();
  const napi_value handle = arguments[0];
  if (is_handle<std::shared_ptr<CudaTrie>>(env, handle)) {
    of_shared_handle<CudaTrie>(env, handle)->dispose();
  } else if (is_handle<std::shared_ptr<CudaSet>>(env, handle)) {
    of_shared_handle<CudaSet>(env, handle)->dispose();
  } else if (is_handle<std::shared_ptr<CudaConstraint>>(env, handle)) {
    of_shared_handle<CudaConstraint>(env, handle)->dispose();
  } else if (is_handle<std::shared_ptr<CudaStepper>>(env, handle)) {
    of_shared_handle<CudaStepper>(env, handle)->dispose();
  } else {
    of_handle<std::shared_ptr<CudaContext>>(env, handle) = nullptr;
  }
  return nullptr;
}

}  // namespace

void define_cuda_objects(napi_env env, napi_value exports) {
  define<probe>(env, exports, "cudaProbe");
  define<open>(env, exports, "cudaOpen");
  define<memory>(env, exports, "cudaMemory");
  define<upload_trie>(env, exports, "cudaUploadTrie");
  define<upload_trie_now>(env, exports, "cudaUploadTrieNow");
  define<trie_bytes>(env, exports, "cudaTrieBytes");
  define<upload_set>(env, exports, "cudaUploadSet");
  define<create_constraint>(env, exports, "cudaCreateConstraint");
  define<create_stepper>(env, exports, "cudaCreateStepper");
  define<dispose>(env, exports, "cudaDispose");
}

}  // namespace binding
