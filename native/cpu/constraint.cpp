// What a request may reach. Exclusions are prepared once: which top nodes lose every live leaf, and a filter that says
// for almost every range of leaves that none of it is excluded.
#include "constraint.h"

#include <algorithm>

#include "levels/children.inl.h"

namespace espalier {

namespace {

void check_dead(const esp_trie_arrays &trie, const uint32_t *dead, size_t count) {
  for (size_t index = 0; index < count; index++) {
    if (dead[index] < trie.leaf_count && (index == 0 || dead[index] > dead[index - 1])) continue;
    fail(ESP_STATUS_SHAPE, "dead leaves must ascend and be < %u", trie.leaf_count);
  }
}

void fill_filter(esp_constraint &constraint, uint32_t leaf_count) {
  uint32_t shift = 0;
  while (leaf_count >> shift >= 65536) shift++;
  constraint.filter.assign(kFilterWords, 0);
  for (const uint32_t leaf : constraint.dead_leaves) {
    constraint.filter[(leaf >> shift) / 64] |= uint64_t{1} << ((leaf >> shift) % 64);
  }
  constraint.reach.filter_shift = shift;
}

// Dead leaves come in the order of the nodes above them, so that each node is looked at once.
void find_dead_nodes(esp_constraint &constraint) {
  const esp_trie_arrays &trie = constraint.trie->arrays;
  const Reach &reach = constraint.reach;
  const auto visit_nodes = [&](uint32_t level, auto &&on_dead) {
    const esp_top_level &top = trie.top_levels[level];
    uint32_t node = 0;
    for (size_t index = 0; index < constraint.dead_leaves.size();) {
      const uint32_t leaf = constraint.dead_leaves[index];
      const uint32_t *after = std::upper_bound(top.leaf_start + node, top.leaf_start + top.node_count, leaf);
      node = static_cast<uint32_t>(after - top.leaf_start) - 1;
      if (!survives(reach, top.leaf_start[node], top.leaf_start[node + 1])) on_dead(node);
      while (index < constraint.dead_leaves.size() && constraint.dead_leaves[index] < top.leaf_start[node + 1]) index++;
    }
  };
  visit_nodes(0, [&](uint32_t node) {
    const uint32_t code = code_at(trie.top_levels[0].codes, trie.is_wide, node);
    constraint.root_mask[code / 64] &= ~(uint64_t{1} << (code % 64));
  });
  if (trie.level_count > 1) visit_nodes(1, [&](uint32_t node) { constraint.dead_nodes.push_back(node); });
}

void create(esp_constraint &constraint, const uint64_t *leaf_bits, const uint64_t *root_mask, const uint64_t *node_bits,
            const uint32_t *dead_leaves, size_t dead_count) {
  const esp_trie &trie = *constraint.trie;
  check_dead(trie.arrays, dead_leaves, dead_count);
  Reach &reach = constraint.reach;
  reach.trie = &trie.arrays;
  reach.roots = trie.roots();
  reach.leaf_bits = leaf_bits;
  reach.node_bits = leaf_bits == nullptr || trie.arrays.level_count < 2 ? nullptr : node_bits;
  constraint.root_mask = trie.root_mask;
  if (leaf_bits != nullptr) {
    // A set has no child that the trie lacks.
    for (size_t word = 0; word < constraint.root_mask.size(); word++) constraint.root_mask[word] &= root_mask[word];
  }
  constraint.dead_leaves.assign(dead_leaves, dead_leaves + dead_count);
  reach.dead_leaves = constraint.dead_leaves.data();
  reach.dead_count = static_cast<uint32_t>(dead_count);
  if (dead_count > 0) {
    fill_filter(constraint, trie.arrays.leaf_count);
    reach.filter = constraint.filter.data();
    find_dead_nodes(constraint);
  }
  reach.root_mask = constraint.root_mask.data();
  reach.dead_nodes = constraint.dead_nodes.data();
  reach.dead_node_count = static_cast<uint32_t>(constraint.dead_nodes.size());
}

}  // namespace
}  // namespace espalier

esp_status esp_constraint_create(esp_trie *trie, const uint64_t *leaf_bits, const uint64_t *root_mask,
                                 const uint64_t *node_bits, const uint32_t *dead_leaves, size_t dead_count,
                                 esp_constraint **out) {
  return espalier::guarded([&] {
    std::unique_ptr<esp_constraint> constraint(new esp_constraint());
    esp_trie_retain(trie);
    constraint->trie.reset(trie);
    espalier::create(*constraint, leaf_bits, root_mask, node_bits, dead_leaves, dead_count);
    *out = constraint.release();
  });
}

void esp_constraint_retain(esp_constraint *constraint) { constraint->references.fetch_add(1, std::memory_order_relaxed); }

void esp_constraint_release(esp_constraint *constraint) {
  if (constraint != nullptr && constraint->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete constraint;
}
