// Native objects as JavaScript values that are known by their kind and released with their value.
#pragma once

#include "js.h"

namespace binding {

// Of each kind of object: `tag`, a `name` for messages, and `release`.
template <class T>
struct Kind;

// Takes the object over, also where it fails.
template <class T>
napi_value make_handle(napi_env env, T *object) {
  const auto finalize = [](napi_env, void *data, void *) { Kind<T>::release(static_cast<T *>(data)); };
  napi_value handle;
  napi_status status = napi_create_object(env, &handle);
  if (status == napi_ok) status = napi_wrap(env, handle, object, finalize, nullptr, nullptr);
  if (status != napi_ok) Kind<T>::release(object);
  check(env, status);
  check(env, napi_type_tag_object(env, handle, &Kind<T>::tag));
  return handle;
}

template <class T>
bool is_handle(napi_env env, napi_value value) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  bool is_kind = false;
  if (type == napi_object) napi_check_object_type_tag(env, value, &Kind<T>::tag, &is_kind);
  return is_kind;
}

// @throws JsFailure ESP_STATUS_SHAPE on a handle of another kind
template <class T>
T &of_handle(napi_env env, napi_value handle) {
  if (!is_handle<T>(env, handle)) fail(ESP_STATUS_SHAPE, std::string("expected the handle of ") + Kind<T>::name);
  void *data = nullptr;
  check(env, napi_unwrap(env, handle, &data));
  return *static_cast<T *>(data);
}

}  // namespace binding
