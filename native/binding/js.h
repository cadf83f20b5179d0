// The few things that every function of the binding does with JavaScript values. Nothing here computes.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "../include/espalier.h"

namespace binding {

struct BuildJob;

// What one JavaScript thread holds; never shared between threads.
struct EnvState {
  // Memory that ArrayBuffers of this thread show, by its address.
  std::unordered_map<const void *, esp_memory *> shown;
  std::unordered_set<BuildJob *> jobs;
};

EnvState &state_of(napi_env env);

// Becomes a JavaScript error with a numeric `status`, an esp_status.
struct JsFailure {
  esp_status status;
  std::string message;
};

[[noreturn]] void fail(esp_status status, const std::string &message);
// @throws JsFailure with the library's words where the status is not ESP_OK
void check(esp_status status);
// @throws JsFailure where a call of Node's fails
void check(napi_env env, napi_status status);
napi_value make_error(napi_env env, const JsFailure &failure);

// The arguments of a call.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info);
  napi_env env() const { return env_; }
  napi_value operator[](size_t index) const { return index < count_ ? values_[index] : undefined_; }

 private:
  napi_env env_;
  napi_value values_[12];
  size_t count_ = 12;
  napi_value undefined_;
};

uint64_t to_count(napi_env env, napi_value value, const char *name, uint64_t max);
double to_number(napi_env env, napi_value value, const char *name);
bool is_nullish(napi_env env, napi_value value);
napi_value get(napi_env env, napi_value object, const char *name);
void set(napi_env env, napi_value object, const char *name, napi_value value);
napi_value number(napi_env env, double value);
esp_level to_level(napi_env env, napi_value value);

// A typed array's elements, borrowed until the call returns.
struct Elements {
  void *data = nullptr;
  // In elements.
  size_t length = 0;
  napi_typedarray_type type = napi_uint8_array;
  napi_value buffer = nullptr;
};

// @throws JsFailure ESP_STATUS_SHAPE on what is no typed array, is shared, or is detached
Elements elements(napi_env env, napi_value value, const char *name);
// Exactly `length` elements of one type.
template <class T>
T *array(napi_env env, napi_value value, const char *name, size_t length);
// Bits in a Uint32Array of whole 64-bit words: room for `bit_count`.
uint64_t *bits(napi_env env, napi_value value, const char *name, uint64_t bit_count);

// An ArrayBuffer over memory that it retains until it is collected.
napi_value show(napi_env env, esp_memory *memory);
// The memory of this thread's shown buffers.
std::vector<esp_memory *> shown_memories(napi_env env);

// Defines a function whose C++ failures become JavaScript errors.
using Function = napi_value (*)(const Arguments &arguments);
template <Function function>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    return function(Arguments(env, info));
  } catch (const JsFailure &failure) {
    // Node may have thrown in its own words; ours say what was expected.
    napi_value ignored;
    napi_get_and_clear_last_exception(env, &ignored);
    napi_throw(env, make_error(env, failure));
  } catch (const std::exception &thrown) {
    napi_throw(env, make_error(env, {ESP_STATUS_MEMORY, thrown.what()}));
  }
  return nullptr;
}

template <Function function>
void define(napi_env env, napi_value exports, const char *name) {
  napi_value value;
  check(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<function>, nullptr, &value));
  set(env, exports, name, value);
}

// The trie behind a handle. @throws JsFailure on another kind of handle, or one that was disposed
esp_trie *trie_of(napi_env env, napi_value handle);
// A handle that owns one reference to the trie.
napi_value make_trie_handle(napi_env env, esp_trie *trie);

void define_build(napi_env env, napi_value exports);
void define_tries(napi_env env, napi_value exports);
void define_sets(napi_env env, napi_value exports);
void define_scan(napi_env env, napi_value exports);
void define_step(napi_env env, napi_value exports);
void define_cuda_objects(napi_env env, napi_value exports);
void define_cuda_step(napi_env env, napi_value exports);
void cancel_jobs(EnvState &state);

}  // namespace binding
