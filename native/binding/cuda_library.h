// libespalier_cuda.so, loaded when it is asked for. Nothing here links against it.
#pragma once

#include <memory>
#include <string>

#include "../include/espalier_cuda.h"
#include "js.h"

namespace binding {

// What the addon calls of the library. Each name is a function of espalier_cuda.h without its `esp_cuda_`.
struct CudaLibrary {
  decltype(&esp_cuda_abi) abi;
  decltype(&esp_cuda_probe) probe;
  decltype(&esp_cuda_open) open;
  decltype(&esp_cuda_close) close;
  decltype(&esp_cuda_memory_of) memory_of;
  decltype(&esp_cuda_trie_upload) trie_upload;
  decltype(&esp_cuda_trie_bytes) trie_bytes;
  decltype(&esp_cuda_trie_release) trie_release;
  decltype(&esp_cuda_set_upload) set_upload;
  decltype(&esp_cuda_set_release) set_release;
  decltype(&esp_cuda_constraint_create) constraint_create;
  decltype(&esp_cuda_constraint_release) constraint_release;
  decltype(&esp_cuda_stepper_create) stepper_create;
  decltype(&esp_cuda_stepper_release) stepper_release;
  decltype(&esp_cuda_step) step;
  // The library's own esp_last_error: its failures are not the addon's.
  decltype(&esp_last_error) last_error;

  // @throws JsFailure with the library's words where the status is not ESP_OK
  void check(esp_status status) const;
};

/*
 * Stays loaded until the process ends: the CUDA runtime has threads of its own.
 * @throws JsFailure ESP_STATUS_UNSUPPORTED on a file that is no such library, or one of another ABI
 */
std::shared_ptr<const CudaLibrary> load_cuda(const std::string &path);

}  // namespace binding
