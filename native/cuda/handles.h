// What lies on the device behind the handles. Each holds what it reads, so that the last to go frees it.
#pragma once

#include "../cpu/constraint.h"
#include "memory.h"

namespace espalier::cuda {

struct DeviceTrie {
  ContextPointer context;
  // The caller's top levels and masks; rows and prefixes are null, for they were borrowed for the upload only.
  esp_trie_arrays host = {};
  RootTables host_roots;
  // All arrays, and the two that point to them.
  Piece memory;
  const esp_trie_arrays *arrays = nullptr;
  RootIndex roots = {};
};

struct DeviceSet {
  std::shared_ptr<const DeviceTrie> trie;
  // The caller's.
  const uint64_t *host_leaf_bits = nullptr;
  std::vector<uint64_t> host_root_mask;
  Piece memory;
  const uint64_t *leaf_bits = nullptr;
  const uint64_t *node_bits = nullptr;
};

struct DeviceConstraint {
  std::shared_ptr<const DeviceTrie> trie;
  // Null: all leaves.
  std::shared_ptr<const DeviceSet> set;
  Piece memory;
  // On the device.
  const Reach *reach = nullptr;
};

}  // namespace espalier::cuda

struct esp_cuda_trie {
  std::shared_ptr<const espalier::cuda::DeviceTrie> on_device;
};

struct esp_cuda_set {
  std::shared_ptr<const espalier::cuda::DeviceSet> on_device;
};

struct esp_cuda_constraint {
  std::shared_ptr<const espalier::cuda::DeviceConstraint> on_device;
};
