// What the timing table is measured on: a synthetic trie, on the host, on the device, and in STATIC's tables.
#pragma once

#include <memory>

#include "../../include/espalier_cuda.h"
#include "../baselines/static_step.h"
#include "device.h"

namespace checking {

constexpr uint32_t kTimedLevels = 8;

struct CatalogShape {
  uint64_t rows;
  uint32_t vocab_size;
};

class Catalog {
 public:
  // Independent, uniform codes, as the paper's benchmark has them. @throws nothing: a failure ends the process
  Catalog(esp_cuda_context *context, const CatalogShape &shape, uint32_t set_count, bool has_baseline);
  Catalog(const Catalog &) = delete;
  ~Catalog();

  const esp_trie_arrays &arrays() const { return *esp_trie_view(trie_); }
  esp_trie *trie() const { return trie_; }
  uint64_t device_bytes() const { return esp_cuda_trie_bytes(on_device_); }
  uint64_t baseline_bytes() const { return baseline_bytes_; }
  double build_seconds() const { return build_seconds_; }
  double upload_seconds() const { return upload_seconds_; }
  bool has_baseline() const { return has_baseline_; }
  const espalier::baseline::StaticTables &tables() const { return tables_; }
  // A constraint of all leaves, or one of the sets, of one leaf in eight each.
  esp_cuda_constraint *all() const { return all_; }
  esp_cuda_constraint *under_set(uint32_t index) const { return sets_[index % sets_.size()].on_device; }
  const esp_constraint *all_on_cpu() const { return all_on_cpu_; }
  const esp_constraint *under_set_on_cpu(uint32_t index) const { return sets_[index % sets_.size()].on_cpu; }

 private:
  struct Set {
    std::vector<uint64_t> leaf_bits, root_mask, node_bits;
    esp_constraint *on_cpu;
    esp_cuda_constraint *on_device;
  };
  void add_set(uint64_t seed);
  void upload_tables();
  template <class T>
  const T *keep(const std::vector<T> &values);

  esp_trie *trie_ = nullptr;
  esp_cuda_trie *on_device_ = nullptr;
  esp_cuda_constraint *all_ = nullptr;
  esp_constraint *all_on_cpu_ = nullptr;
  std::vector<Set> sets_;
  bool has_baseline_;
  espalier::baseline::StaticTables tables_ = {};
  std::vector<DeviceArray<uint8_t>> memory_;
  uint64_t baseline_bytes_ = 0;
  double build_seconds_ = 0;
  double upload_seconds_ = 0;
};

}  // namespace checking
