#include "js.h"

namespace binding {

EnvState &state_of(napi_env env) {
  void *data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<EnvState *>(data);
}

void fail(esp_status status, const std::string &message) { throw JsFailure{status, message}; }

void check(esp_status status) {
  if (status != ESP_OK) fail(status, esp_last_error());
}

void check(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  const napi_extended_error_info *info = nullptr;
  napi_get_last_error_info(env, &info);
  fail(ESP_STATUS_INTERNAL, info != nullptr && info->error_message != nullptr ? info->error_message : "Node refused a call");
}

napi_value make_error(napi_env env, const JsFailure &failure) {
  napi_value message;
  napi_value error;
  if (napi_create_string_utf8(env, failure.message.c_str(), failure.message.size(), &message) != napi_ok ||
      napi_create_error(env, nullptr, message, &error) != napi_ok) {
    return nullptr;
  }
  napi_value status;
  if (napi_create_int32(env, failure.status, &status) == napi_ok) napi_set_named_property(env, error, "status", status);
  return error;
}

Arguments::Arguments(napi_env env, napi_callback_info info) : env_(env) {
  check(env, napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr));
  check(env, napi_get_undefined(env, &undefined_));
  if (count_ > 12) count_ = 12;
}

double to_number(napi_env env, napi_value value, const char *name) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must be a number");
  }
  return number;
}

uint64_t to_count(napi_env env, napi_value value, const char *name, uint64_t max) {
  const double number = to_number(env, value, name);
  if (!(number >= 0 && number <= static_cast<double>(max)) || number != static_cast<double>(static_cast<uint64_t>(number))) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must be an integer from 0 to " + std::to_string(max));
  }
  return static_cast<uint64_t>(number);
}

bool is_nullish(napi_env env, napi_value value) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  return type == napi_null || type == napi_undefined;
}

napi_value get(napi_env env, napi_value object, const char *name) {
  napi_value value;
  if (napi_get_named_property(env, object, name, &value) != napi_ok) {
    fail(ESP_STATUS_SHAPE, std::string("expected an object with ") + name);
  }
  return value;
}

void set(napi_env env, napi_value object, const char *name, napi_value value) {
  check(env, napi_set_named_property(env, object, name, value));
}

napi_value number(napi_env env, double value) {
  napi_value result;
  check(env, napi_create_double(env, value, &result));
  return result;
}

esp_level to_level(napi_env env, napi_value value) {
  return static_cast<esp_level>(to_count(env, value, "level", ESP_LEVEL_COUNT - 1));
}

Elements elements(napi_env env, napi_value value, const char *name) {
  bool is_typed_array = false;
  check(env, napi_is_typedarray(env, value, &is_typed_array));
  if (!is_typed_array) fail(ESP_STATUS_SHAPE, std::string(name) + " must be a typed array");
  Elements result;
  size_t offset = 0;
  check(env, napi_get_typedarray_info(env, value, &result.type, &result.length, &result.data, &result.buffer, &offset));
  // A SharedArrayBuffer could change under the kernels' feet.
  bool is_buffer = false;
  check(env, napi_is_arraybuffer(env, result.buffer, &is_buffer));
  if (!is_buffer) fail(ESP_STATUS_SHAPE, std::string(name) + " must not lie in shared memory");
  bool is_detached = false;
  check(env, napi_is_detached_arraybuffer(env, result.buffer, &is_detached));
  if (is_detached) fail(ESP_STATUS_SHAPE, std::string(name) + " has been detached");
  return result;
}

namespace {

template <class T>
struct Type;
template <>
struct Type<uint32_t> {
  static constexpr napi_typedarray_type value = napi_uint32_array;
  static constexpr const char *name = "Uint32Array";
};
template <>
struct Type<int32_t> {
  static constexpr napi_typedarray_type value = napi_int32_array;
  static constexpr const char *name = "Int32Array";
};
template <>
struct Type<float> {
  static constexpr napi_typedarray_type value = napi_float32_array;
  static constexpr const char *name = "Float32Array";
};
template <>
struct Type<double> {
  static constexpr napi_typedarray_type value = napi_float64_array;
  static constexpr const char *name = "Float64Array";
};

// Empty arrays have no address, and the library wants one.
alignas(64) uint64_t nothing[8];

}  // namespace

template <class T>
T *array(napi_env env, napi_value value, const char *name, size_t length) {
  const Elements found = elements(env, value, name);
  if (found.type != Type<T>::value) fail(ESP_STATUS_SHAPE, std::string(name) + " must be a " + Type<T>::name);
  if (length != SIZE_MAX && found.length != length) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must have " + std::to_string(length) + " entries, found " +
                               std::to_string(found.length));
  }
  return found.length == 0 ? reinterpret_cast<T *>(nothing) : static_cast<T *>(found.data);
}

template uint32_t *array<uint32_t>(napi_env, napi_value, const char *, size_t);
template int32_t *array<int32_t>(napi_env, napi_value, const char *, size_t);
template float *array<float>(napi_env, napi_value, const char *, size_t);
template double *array<double>(napi_env, napi_value, const char *, size_t);

uint64_t *bits(napi_env env, napi_value value, const char *name, uint64_t bit_count) {
  const Elements found = elements(env, value, name);
  if (found.type != napi_uint32_array) fail(ESP_STATUS_SHAPE, std::string(name) + " must be a Uint32Array");
  const uint64_t words = (bit_count + 63) / 64 * 2;
  if (found.length != words) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must have " + std::to_string(words) + " words for " +
                               std::to_string(bit_count) + " bits, found " + std::to_string(found.length));
  }
  if (words == 0) return nothing;
  if (reinterpret_cast<uintptr_t>(found.data) % sizeof(uint64_t) != 0) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must start at a multiple of 8 bytes");
  }
  return static_cast<uint64_t *>(found.data);
}

napi_value show(napi_env env, esp_memory *memory) {
  napi_value buffer;
  void *data = const_cast<void *>(esp_memory_data(memory));
  if (esp_memory_size(memory) == 0) {
    check(env, napi_create_arraybuffer(env, 0, &data, &buffer));
    return buffer;
  }
  const auto finalize = [](napi_env finalized, void *shown, void *hint) {
    // The state is gone once the thread ends.
    void *state = nullptr;
    napi_get_instance_data(finalized, &state);
    if (state != nullptr) static_cast<EnvState *>(state)->shown.erase(shown);
    esp_memory_release(static_cast<esp_memory *>(hint));
  };
  esp_memory_retain(memory);
  const napi_status status =
      napi_create_external_arraybuffer(env, data, esp_memory_size(memory), finalize, memory, &buffer);
  if (status != napi_ok) {
    esp_memory_release(memory);
    check(env, status);
  }
  state_of(env).shown[data] = memory;
  return buffer;
}

std::vector<esp_memory *> shown_memories(napi_env env) {
  std::vector<esp_memory *> memories;
  for (const auto &entry : state_of(env).shown) memories.push_back(entry.second);
  return memories;
}

}  // namespace binding
