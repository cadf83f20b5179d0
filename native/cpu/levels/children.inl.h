// The live children of a node, in ascending order of their codes.
#pragma once

#include "../../common/step_rules.h"

namespace espalier {
namespace {

// Calls visit(code, lo, hi) for each live child of the root.
template <class Visit>
void visit_root(const Reach &reach, Visit &&visit) {
  const esp_trie_arrays &trie = *reach.trie;
  const uint32_t *starts = trie.top_levels[0].leaf_start;
  const uint32_t words = (trie.codebook_sizes[0] + 63) / 64;
  for (uint32_t word = 0; word < words; word++) {
    for (uint64_t left = reach.root_mask[word]; left != 0; left &= left - 1) {
      const uint32_t code = word * 64 + static_cast<uint32_t>(__builtin_ctzll(left));
      const uint32_t node = root_node(reach.roots, code);
      visit(code, starts[node], starts[node + 1]);
    }
  }
}

// The same of a level-0 node.
template <class Visit>
void visit_top(const Reach &reach, uint32_t parent, Visit &&visit) {
  const esp_top_level &level = reach.trie->top_levels[1];
  const uint32_t first = reach.trie->top_levels[0].first_child[parent];
  const uint32_t end = reach.trie->top_levels[0].first_child[parent + 1];
  uint32_t dead = lower_bound(reach.dead_nodes, reach.dead_node_count, first);
  const auto next_live = [&](uint32_t node) { return reach.node_bits == nullptr ? node : next_bit(reach.node_bits, node, end); };
  for (uint32_t node = next_live(first); node < end; node = next_live(node + 1)) {
    while (dead < reach.dead_node_count && reach.dead_nodes[dead] < node) dead++;
    if (dead < reach.dead_node_count && reach.dead_nodes[dead] == node) continue;
    visit(code_of(level.codes, reach.trie->is_wide, node), level.leaf_start[node], level.leaf_start[node + 1]);
  }
}

// Nodes of so few leaves have their rows in a line or two, and are read without the bits of their prefixes, which lie
// elsewhere in memory.
constexpr uint32_t kFewLeaves = 16;

inline bool has_few_leaves(uint32_t lo, uint32_t hi) { return hi - lo <= kFewLeaves; }

// The same of a node [lo, hi) of few leaves at depth 2 or below: a child begins where the code changes.
template <class Code, class Visit>
void visit_few(const Reach &reach, uint32_t depth, uint32_t lo, uint32_t hi, Visit &&visit) {
  const esp_trie_arrays &trie = *reach.trie;
  const Code *codes = static_cast<const Code *>(trie.rows) + depth;
  const auto code_at_leaf = [&](uint32_t leaf) { return codes[size_t{leaf} * trie.level_count]; };
  for (uint32_t from = lo; from < hi;) {
    const Code code = code_at_leaf(from);
    uint32_t end = from + 1;
    while (end < hi && code_at_leaf(end) == code) end++;
    const bool is_live = reach.leaf_bits == nullptr || next_bit(reach.leaf_bits, from, end) < end;
    if (is_live && survives(reach, from, end)) visit(uint32_t{code}, from, end);
    from = end;
  }
}

// The same of a node [lo, hi) at depth 2 or below. With a set, from live leaf to live leaf: children without one are
// never looked at, which is what keeps rare sets fast.
template <class Visit>
void visit_deep(const Reach &reach, uint32_t depth, uint32_t lo, uint32_t hi, Visit &&visit) {
  const esp_trie_arrays &trie = *reach.trie;
  if (has_few_leaves(lo, hi)) {
    if (trie.is_wide) visit_few<uint32_t>(reach, depth, lo, hi, visit);
    else visit_few<uint16_t>(reach, depth, lo, hi, visit);
    return;
  }
  const uint64_t *starts = trie.new_prefix[depth];
  const auto code_at_leaf = [&](uint32_t leaf) {
    return code_of(trie.rows, trie.is_wide, static_cast<uint64_t>(leaf) * trie.level_count + depth);
  };
  if (reach.leaf_bits == nullptr) {
    for (uint32_t from = lo; from < hi;) {
      const uint32_t end = next_bit(starts, from + 1, hi);
      if (survives(reach, from, end)) visit(code_at_leaf(from), from, end);
      from = end;
    }
    return;
  }
  for (uint32_t leaf = next_bit(reach.leaf_bits, lo, hi); leaf < hi;) {
    const uint32_t from = previous_bit(starts, lo, leaf);
    const uint32_t end = next_bit(starts, leaf + 1, hi);
    if (survives(reach, from, end)) visit(code_at_leaf(leaf), from, end);
    leaf = next_bit(reach.leaf_bits, end, hi);
  }
}

}  // namespace
}  // namespace espalier
