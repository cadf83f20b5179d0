// What JavaScript holds of a GPU. Each object can be disposed before its handle is collected, as often as one likes;
// after that its use is refused.
#pragma once

#include <unordered_set>

#include "cuda_library.h"
#include "handles.h"

namespace binding {

using CudaLibraryPointer = std::shared_ptr<const CudaLibrary>;

// Closed when nobody uses it any more, uploads under way among them.
struct CudaContext {
  CudaLibraryPointer functions;
  esp_cuda_context *context = nullptr;
  ~CudaContext() { functions->close(context); }
};

// Something that lies on the device and belongs to one trie.
struct CudaPart {
  virtual ~CudaPart() = default;
  virtual void dispose() = 0;
};

struct CudaTrie {
  CudaLibraryPointer functions;
  std::shared_ptr<CudaContext> context;
  // Null once disposed.
  esp_cuda_trie *trie = nullptr;
  // Retained: the device's trie borrows its top levels.
  esp_trie *host = nullptr;
  // Its sets and constraints, which go with it.
  std::unordered_set<CudaPart *> parts;

  void dispose();
  ~CudaTrie();
};

struct CudaSet : CudaPart {
  napi_env env = nullptr;
  std::shared_ptr<CudaTrie> trie;
  esp_cuda_set *set = nullptr;
  // The leaf bits, which the device's set borrows.
  napi_ref leaf_bits = nullptr;

  void dispose() override;
  ~CudaSet() override;
};

struct CudaConstraint : CudaPart {
  std::shared_ptr<CudaTrie> trie;
  esp_cuda_constraint *constraint = nullptr;

  void dispose() override;
  ~CudaConstraint() override;
};

struct CudaStepper {
  std::shared_ptr<CudaContext> context;
  esp_cuda_stepper *stepper = nullptr;

  void dispose();
  ~CudaStepper() { dispose(); }
};

// A handle holds one reference.
template <class T>
struct SharedKind {
  static void release(std::shared_ptr<T> *held) { delete held; }
};
template <>
struct Kind<std::shared_ptr<CudaContext>> : SharedKind<CudaContext> {
  static constexpr napi_type_tag tag = {0x2d1be7f0a5c94b18ull, 0xa6f3c1d07e9b4423ull};
  static constexpr const char *name = "a CUDA context";
};
template <>
struct Kind<std::shared_ptr<CudaTrie>> : SharedKind<CudaTrie> {
  static constexpr napi_type_tag tag = {0x64a90b3fd8e14c77ull, 0x8b25d7e1f0c34a96ull};
  static constexpr const char *name = "a trie on a GPU";
};
template <>
struct Kind<std::shared_ptr<CudaSet>> : SharedKind<CudaSet> {
  static constexpr napi_type_tag tag = {0x91c7d25e6b3f4a08ull, 0xb7e4093a5d2c4f61ull};
  static constexpr const char *name = "a constraint set on a GPU";
};
template <>
struct Kind<std::shared_ptr<CudaConstraint>> : SharedKind<CudaConstraint> {
  static constexpr napi_type_tag tag = {0xc05e81f47a9d4b32ull, 0x9d61f3b82e7a4c05ull};
  static constexpr const char *name = "a constraint on a GPU";
};
template <>
struct Kind<std::shared_ptr<CudaStepper>> : SharedKind<CudaStepper> {
  static constexpr napi_type_tag tag = {0x3f82d6a91c5e4d07ull, 0xae0b74c2596f4d18ull};
  static constexpr const char *name = "a stepper on a GPU";
};

template <class T>
napi_value make_shared_handle(napi_env env, std::shared_ptr<T> object) {
  return make_handle(env, new std::shared_ptr<T>(std::move(object)));
}

template <class T>
const std::shared_ptr<T> &of_shared_handle(napi_env env, napi_value handle) {
  return of_handle<std::shared_ptr<T>>(env, handle);
}

// The handle of a trie that has not been disposed.
const std::shared_ptr<CudaTrie> &cuda_trie_of(napi_env env, napi_value handle);

}  // namespace binding
