// Sorted keys into the arrays of a static trie.
#pragma once

#include <cstring>

#include "level.h"
#include "pack.inl.h"

namespace espalier {
namespace {

// The first level at which two neighbours differ; level_count where their SIDs are equal.
inline uint32_t differing_level(Key a, Key b, const KeyLayout &layout) {
  const Key difference = a ^ b;
  const uint64_t high = static_cast<uint64_t>(difference >> 64);
  const uint64_t low = static_cast<uint64_t>(difference);
  const int zeros = high != 0 ? __builtin_clzll(high) : low != 0 ? 64 + __builtin_clzll(low) : 128;
  return layout.level_of_bit[zeros];
}

EmitCounts count_emitted(const Key *keys, uint64_t from, uint64_t to, const KeyLayout &layout) {
  EmitCounts counts = {};
  bool is_shared = false;
  for (uint64_t index = from; index < to; index++) {
    const uint32_t level = index == 0 ? 0 : differing_level(keys[index - 1], keys[index], layout);
    counts.nodes[0] += level == 0;
    counts.nodes[1] += level <= 1;
    if (level < layout.level_count) {
      counts.leaves++;
      is_shared = false;
    } else {
      counts.shared_leaves += !is_shared;
      counts.shared_rows += is_shared ? 1 : 2;
      is_shared = true;
    }
  }
  return counts;
}

template <class Code>
inline void unpack_row(Key key, const KeyLayout &layout, Code *row, bool may_spill) {
#if defined(__BMI2__)
  if (may_spill) {
    const KeyLayout::Groups &groups = layout.groups[kSizeIndex<Code>];
    for (uint32_t group = 0; group < groups.count; group++) {
      // Bits beyond the mask's are ignored by PDEP, so the part needs no mask of its own.
      const uint64_t part = groups.bits[group] == 0 ? 0 : static_cast<uint64_t>(key >> groups.position[group]);
      const uint64_t word = reverse_lanes<Code>(_pdep_u64(part, groups.mask[group]));
      memcpy(reinterpret_cast<char *>(row) + group * 8, &word, 8);
    }
    return;
  }
#else
  (void)may_spill;
#endif
  for (uint32_t level = 0; level < layout.level_count; level++) {
    const uint32_t bits = layout.bits[level];
    row[level] = bits == 0 ? Code{0}
                           : static_cast<Code>(static_cast<uint32_t>(key >> layout.position[level]) & ((1u << bits) - 1));
  }
}

// 64 leaves' worth of what goes out word by word.
template <class Code>
struct Block {
  // [level] leaves that differ from the one before at exactly this level.
  uint64_t differs[ESP_MAX_LEVELS + 1];
  uint32_t node_count;
  Code codes[65];
  uint32_t starts[65];
};

template <class Code>
void flush_block(Block<Code> &block, uint64_t word, bool is_shared, uint32_t level_count, uint64_t &node,
                 const EmitTarget &target) {
  uint64_t begins = 0;
  for (uint32_t level = 0; level < level_count; level++) {
    begins |= block.differs[level];
    block.differs[level] = 0;
    // The first and the last word may also belong to another thread.
    if (is_shared) {
      __atomic_fetch_or(&target.new_prefix[level][word], begins, __ATOMIC_RELAXED);
    } else {
      target.new_prefix[level][word] = begins;
    }
  }
  if (level_count > 1) {
    memcpy(static_cast<Code *>(target.codes[1]) + node, block.codes, block.node_count * sizeof(Code));
    memcpy(target.leaf_start[1] + node, block.starts, block.node_count * sizeof(uint32_t));
  }
  node += block.node_count;
  block.node_count = 0;
}

template <class Code>
void emit(const Key *keys, uint64_t from, uint64_t to, const KeyLayout &layout, EmitCounts &positions,
          uint64_t leaf_end, Key &before, const EmitTarget &target) {
  const uint32_t level_count = layout.level_count;
  Block<Code> block;
  memset(&block, 0, sizeof block);
  uint64_t leaf = positions.leaves;
  uint64_t node0 = positions.nodes[0];
  uint64_t node1 = positions.nodes[1];
  uint64_t shared_leaf = positions.shared_leaves;
  uint64_t shared_row = positions.shared_rows;
  bool is_shared_word = leaf % 64 != 0;
  bool in_shared_leaf = false;
  Key previous = before;
  for (uint64_t index = from; index < to; index++) {
    const Key key = keys[index];
    const uint32_t level = index == 0 ? 0 : differing_level(previous, key, layout);
    previous = key;
    target.sorted_rows[index] = static_cast<uint32_t>(key) & layout.row_mask;
    if (__builtin_expect(level == level_count, 0)) {
      if (!in_shared_leaf) {
        target.shared_leaves[shared_leaf] = static_cast<uint32_t>(leaf - 1);
        target.shared_start[shared_leaf++] = static_cast<uint32_t>(shared_row++);
        in_shared_leaf = true;
      }
      shared_row++;
      continue;
    }
    in_shared_leaf = false;
    Code *row = static_cast<Code *>(target.rows) + leaf * level_count;
    // A group may write up to three rows further, which are still to come.
    unpack_row(key, layout, row, leaf + 8 < leaf_end);
    block.differs[level] |= uint64_t{1} << (leaf % 64);
    if (level == 0) {
      static_cast<Code *>(target.codes[0])[node0] = row[0];
      target.leaf_start[0][node0] = static_cast<uint32_t>(leaf);
      if (level_count > 1) target.first_child[node0] = static_cast<uint32_t>(node1 + block.node_count);
      node0++;
    }
    if (level_count > 1) {
      // Written always and kept sometimes: this branch could not be predicted.
      block.codes[block.node_count] = row[1];
      block.starts[block.node_count] = static_cast<uint32_t>(leaf);
      block.node_count += level <= 1;
    }
    if (++leaf % 64 == 0) {
      flush_block(block, leaf / 64 - 1, is_shared_word, level_count, node1, target);
      is_shared_word = false;
    }
  }
  if (leaf % 64 != 0) flush_block(block, leaf / 64, true, level_count, node1, target);
  positions = {leaf, {node0, node1}, shared_leaf, shared_row};
  before = previous;
}

}  // namespace
}  // namespace espalier
