// The rules of a step that CPU and GPU share: how candidates order, and which children of a node are live.
#pragma once

#include <cstddef>

#include "bits.h"
#include "candidate_keys.h"

namespace espalier {
namespace {

// Whether a range with live leaves keeps one of them after the request's exclusions.
ESP_HD inline bool survives(const Reach &reach, uint32_t lo, uint32_t hi) {
  if (reach.dead_count == 0) return true;
  const uint32_t first = lo >> reach.filter_shift;
  const uint32_t last = (hi - 1) >> reach.filter_shift;
  if (last - first < 64 && (two_words_at(reach.filter, first) & low_bits(last - first + 1)) == 0) return true;
  const uint32_t from = lower_bound(reach.dead_leaves, reach.dead_count, lo);
  const uint32_t dead = lower_bound(reach.dead_leaves + from, reach.dead_count - from, hi);
  if (dead == 0) return true;
  const uint64_t words = (uint64_t{reach.trie->leaf_count} + 63) / 64;
  return dead < (reach.leaf_bits == nullptr ? hi - lo : count_range(reach.leaf_bits, words, lo, hi));
}

ESP_HD inline uint32_t code_of(const void *codes, bool is_wide, uint64_t index) {
  return is_wide ? static_cast<const uint32_t *>(codes)[index] : static_cast<const uint16_t *>(codes)[index];
}

// The level-0 node that has this code; the code's bit is set in the mask.
ESP_HD inline uint32_t root_node(const RootIndex &roots, uint32_t code) {
  return roots.ranks[code / 64] + static_cast<uint32_t>(ESP_POPCOUNT(roots.mask[code / 64] & low_bits(code % 64)));
}

// The level-0 node [lo, hi), or UINT32_MAX where there is none. Searched for among starts that the cache holds: the
// leaf's row would name its code at once, but comes from memory.
ESP_HD inline uint32_t find_root_node(const Reach &reach, uint32_t lo, uint32_t hi) {
  const esp_top_level &level = reach.trie->top_levels[0];
  uint32_t node = 0;
  for (uint32_t left = level.node_count; left > 1;) {
    const uint32_t half = left / 2;
    node += level.leaf_start[node + half] <= lo ? half : 0;
    left -= half;
  }
  return level.leaf_start[node] == lo && level.leaf_start[node + 1] == hi ? node : UINT32_MAX;
}

}  // namespace
}  // namespace espalier
