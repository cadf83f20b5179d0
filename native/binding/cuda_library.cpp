#include "cuda_library.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

namespace binding {

void CudaLibrary::check(esp_status status) const {
  if (status != ESP_OK) fail(status, last_error());
}

#ifdef _WIN32

std::shared_ptr<const CudaLibrary> load_cuda(const std::string &) {
  fail(ESP_STATUS_UNSUPPORTED, "CUDA steps are not built for Windows");
}

#else

namespace {

std::string load_failure() {
  const char *message = dlerror();
  return message == nullptr ? "it cannot be loaded" : message;
}

template <class Function>
void resolve(void *library, const char *name, Function *&out) {
  out = reinterpret_cast<Function *>(dlsym(library, name));
  if (out == nullptr) fail(ESP_STATUS_UNSUPPORTED, std::string("it is no Espalier CUDA library: it has no ") + name);
}

}  // namespace

std::shared_ptr<const CudaLibrary> load_cuda(const std::string &path) {
  // Its own esp_ functions must not be taken for the addon's, nor the other way round.
  void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) fail(ESP_STATUS_UNSUPPORTED, load_failure());
  const std::shared_ptr<CudaLibrary> loaded = std::make_shared<CudaLibrary>();
  // First of all: of another ABI nothing else is known.
  resolve(library, "esp_cuda_abi", loaded->abi);
  const uint32_t abi = loaded->abi();
  if (abi != ESP_CUDA_ABI) {
    fail(ESP_STATUS_UNSUPPORTED, "the library has ABI " + std::to_string(abi) + ", the addon needs ABI " +
                                     std::to_string(ESP_CUDA_ABI) + "; build both from the same version");
  }
  resolve(library, "esp_last_error", loaded->last_error);
  resolve(library, "esp_cuda_probe", loaded->probe);
  resolve(library, "esp_cuda_open", loaded->open);
  resolve(library, "esp_cuda_close", loaded->close);
  resolve(library, "esp_cuda_memory_of", loaded->memory_of);
  resolve(library, "esp_cuda_trie_upload", loaded->trie_upload);
  resolve(library, "esp_cuda_trie_bytes", loaded->trie_bytes);
  resolve(library, "esp_cuda_trie_release", loaded->trie_release);
  resolve(library, "esp_cuda_set_upload", loaded->set_upload);
  resolve(library, "esp_cuda_set_release", loaded->set_release);
  resolve(library, "esp_cuda_constraint_create", loaded->constraint_create);
  resolve(library, "esp_cuda_constraint_release", loaded->constraint_release);
  resolve(library, "esp_cuda_stepper_create", loaded->stepper_create);
  resolve(library, "esp_cuda_stepper_release", loaded->stepper_release);
  resolve(library, "esp_cuda_step", loaded->step);
  return loaded;
}

#endif

}  // namespace binding
