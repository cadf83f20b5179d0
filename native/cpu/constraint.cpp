#include "constraint.h"

#include <algorithm>

#include "levels/children.inl.h"
#include "side_by_side_search.h"

namespace espalier {

namespace {

// A filter has cells enough to be mostly empty, and no more: a new page costs more than all the rest of a request's
// constraint.
constexpr uint64_t kCellsForEach = 64;
constexpr uint64_t kMostFilterCells = 65536;

void check_dead(const esp_trie_arrays &trie, const uint32_t *dead, size_t count) {
  for (size_t index = 0; index < count; index++) {
    if (dead[index] < trie.leaf_count && (index == 0 || dead[index] > dead[index - 1])) continue;
    fail(ESP_STATUS_SHAPE, "dead leaves must ascend and be < %u", trie.leaf_count);
  }
}

}  // namespace

void ReachTables::fill_filter() {
  uint64_t cells = 1024;
  while (cells < kMostFilterCells && cells < dead_leaves_.size() * kCellsForEach) cells *= 2;
  uint32_t shift = 0;
  while (reach_.trie->leaf_count >> shift >= cells) shift++;
  filter_.assign((reach_.trie->leaf_count >> shift) / 64 + 2, 0);
  for (const uint32_t leaf : dead_leaves_) filter_[(leaf >> shift) / 64] |= uint64_t{1} << ((leaf >> shift) % 64);
  reach_.filter_shift = shift;
  reach_.filter = filter_.data();
}

// Dead leaves come in the order of the nodes above them, so that each node is looked at once.
void ReachTables::find_dead_nodes() {
  const esp_trie_arrays &trie = *reach_.trie;
  std::vector<uint32_t> starts(dead_leaves_.size());
  const auto visit_nodes = [&](uint32_t level, auto &&on_dead) {
    const esp_top_level &top = trie.top_levels[level];
    count_not_above([&](uint32_t node) { return top.leaf_start[node]; }, top.node_count, dead_leaves_.data(),
                    dead_leaves_.size(), starts.data());
    uint32_t last = UINT32_MAX;
    for (const uint32_t started : starts) {
      const uint32_t node = started - 1;
      if (node == last) continue;
      last = node;
      if (!survives(reach_, top.leaf_start[node], top.leaf_start[node + 1])) on_dead(node);
    }
  };
  visit_nodes(0, [&](uint32_t node) {
    const uint32_t code = code_at(trie.top_levels[0].codes, trie.is_wide, node);
    root_mask_[code / 64] &= ~(uint64_t{1} << (code % 64));
  });
  if (trie.level_count > 1) visit_nodes(1, [&](uint32_t node) { dead_nodes_.push_back(node); });
}

void ReachTables::prepare(const esp_trie_arrays &trie, const RootTables &roots, const uint64_t *leaf_bits,
                          const uint64_t *root_mask, const uint64_t *node_bits, const uint32_t *dead_leaves,
                          size_t dead_count) {
  check_dead(trie, dead_leaves, dead_count);
  reach_.trie = &trie;
  reach_.roots = roots.index();
  reach_.leaf_bits = leaf_bits;
  reach_.node_bits = leaf_bits == nullptr || trie.level_count < 2 ? nullptr : node_bits;
  root_mask_ = roots.mask;
  if (leaf_bits != nullptr) {
    // A set has no child that the trie lacks.
    for (size_t word = 0; word < root_mask_.size(); word++) root_mask_[word] &= root_mask[word];
  }
  dead_leaves_.assign(dead_leaves, dead_leaves + dead_count);
  reach_.dead_leaves = dead_leaves_.data();
  reach_.dead_count = static_cast<uint32_t>(dead_count);
  if (dead_count > 0) {
    fill_filter();
    find_dead_nodes();
  }
  reach_.root_mask = root_mask_.data();
  reach_.dead_nodes = dead_nodes_.data();
  reach_.dead_node_count = static_cast<uint32_t>(dead_nodes_.size());
}

}  // namespace espalier

esp_status esp_constraint_create(esp_trie *trie, const uint64_t *leaf_bits, const uint64_t *root_mask,
                                 const uint64_t *node_bits, const uint32_t *dead_leaves, size_t dead_count,
                                 esp_constraint **out) {
  return espalier::guarded([&] {
    std::unique_ptr<esp_constraint> constraint(new esp_constraint());
    esp_trie_retain(trie);
    constraint->trie.reset(trie);
    constraint->tables.prepare(trie->arrays, trie->roots, leaf_bits, root_mask, node_bits, dead_leaves, dead_count);
    *out = constraint.release();
  });
}

void esp_constraint_retain(esp_constraint *constraint) { constraint->references.fetch_add(1, std::memory_order_relaxed); }

void esp_constraint_release(esp_constraint *constraint) {
  if (constraint != nullptr && constraint->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete constraint;
}
