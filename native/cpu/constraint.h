// The object behind an esp_constraint: what one request may reach.
#pragma once

#include "trie.h"

namespace espalier {

// The arrays behind a Reach that are the request's own.
class ReachTables {
 public:
  // Exclusions are prepared once: which top nodes lose every live leaf, and a filter that says for almost every range
  // of leaves that none of it is excluded.
  // @param trie, roots, leaf_bits, node_bits borrowed as long as this; the rest as esp_constraint_create takes them
  // @throws Failure ESP_STATUS_SHAPE where dead leaves don't ascend within the trie's
  void prepare(const esp_trie_arrays &trie, const RootTables &roots, const uint64_t *leaf_bits,
               const uint64_t *root_mask, const uint64_t *node_bits, const uint32_t *dead_leaves, size_t dead_count);

  // Points into these tables, and to what was borrowed.
  const Reach &reach() const { return reach_; }
  const std::vector<uint64_t> &root_mask() const { return root_mask_; }
  const std::vector<uint32_t> &dead_leaves() const { return dead_leaves_; }
  const std::vector<uint32_t> &dead_nodes() const { return dead_nodes_; }
  // Empty where nothing is dead.
  const std::vector<uint64_t> &filter() const { return filter_; }

 private:
  void fill_filter();
  void find_dead_nodes();

  Reach reach_ = {};
  std::vector<uint64_t> root_mask_;
  std::vector<uint32_t> dead_leaves_;
  std::vector<uint32_t> dead_nodes_;
  std::vector<uint64_t> filter_;
};

}  // namespace espalier

struct esp_constraint {
  std::atomic<uint64_t> references{1};
  espalier::TriePointer trie;
  espalier::ReachTables tables;
};
