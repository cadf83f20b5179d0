// The live children of a node, in ascending order of their codes.
#pragma once

#if defined(__BMI2__)
#include <immintrin.h>
#endif

#include "step_types.h"

namespace espalier {
namespace {

inline uint64_t low_bits(uint32_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// 64 bits from `from` on; `words` is the length of the array.
inline uint64_t bits_at(const uint64_t *bits, uint64_t words, uint64_t from) {
  const uint64_t word = from / 64;
  const uint32_t shift = from % 64;
  const uint64_t low = bits[word] >> shift;
  return shift == 0 || word + 1 >= words ? low : low | bits[word + 1] << (64 - shift);
}

// The same where the next word can be read, too; no branches.
inline uint64_t two_words_at(const uint64_t *bits, uint64_t from) {
  const uint32_t shift = from % 64;
  return bits[from / 64] >> shift | bits[from / 64 + 1] << 1 << (63 - shift);
}

inline uint64_t scatter_bits(uint64_t bits, uint64_t mask) {
#if defined(__BMI2__)
  return _pdep_u64(bits, mask);
#else
  uint64_t scattered = 0;
  for (; mask != 0; mask &= mask - 1, bits >>= 1) scattered |= (bits & 1) != 0 ? mask & -mask : 0;
  return scattered;
#endif
}

// The first set bit in [from, to), or `to`.
inline uint32_t next_bit(const uint64_t *bits, uint32_t from, uint32_t to) {
  if (from >= to) return to;
  uint64_t word = from / 64;
  const uint64_t last = (to - 1) / 64;
  uint64_t current = bits[word] & ~low_bits(from % 64);
  while (current == 0) {
    if (++word > last) return to;
    current = bits[word];
  }
  const uint64_t found = word * 64 + static_cast<uint64_t>(__builtin_ctzll(current));
  return found < to ? static_cast<uint32_t>(found) : to;
}

// The last set bit in [from, at], or `from` where there is none.
inline uint32_t previous_bit(const uint64_t *bits, uint32_t from, uint32_t at) {
  uint64_t word = at / 64;
  const uint64_t first = from / 64;
  uint64_t current = bits[word] & low_bits(at % 64 + 1);
  while (current == 0) {
    if (word-- == first) return from;
    current = bits[word];
  }
  const uint64_t found = word * 64 + 63 - static_cast<uint64_t>(__builtin_clzll(current));
  return found > from ? static_cast<uint32_t>(found) : from;
}

inline uint32_t lower_bound(const uint32_t *sorted, uint32_t count, uint32_t value) {
  uint32_t low = 0;
  while (count > 0) {
    const uint32_t half = count / 2;
    if (sorted[low + half] < value) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return low;
}

inline uint64_t count_range(const uint64_t *bits, uint64_t words, uint32_t lo, uint32_t hi) {
  uint64_t count = 0;
  for (uint64_t at = lo; at < hi; at += 64) {
    const uint64_t left = hi - at;
    count += static_cast<uint64_t>(
        __builtin_popcountll(bits_at(bits, words, at) & low_bits(left < 64 ? static_cast<uint32_t>(left) : 64)));
  }
  return count;
}

// Whether a range with live leaves keeps one of them after the request's exclusions.
inline bool survives(const Reach &reach, uint32_t lo, uint32_t hi) {
  if (reach.dead_count == 0) return true;
  const uint32_t first = lo >> reach.filter_shift;
  const uint32_t last = (hi - 1) >> reach.filter_shift;
  if (last - first < 64 && (bits_at(reach.filter, kFilterWords, first) & low_bits(last - first + 1)) == 0) return true;
  const uint32_t from = lower_bound(reach.dead_leaves, reach.dead_count, lo);
  const uint32_t dead = lower_bound(reach.dead_leaves + from, reach.dead_count - from, hi);
  if (dead == 0) return true;
  const uint64_t words = (uint64_t{reach.trie->leaf_count} + 63) / 64;
  return dead < (reach.leaf_bits == nullptr ? hi - lo : count_range(reach.leaf_bits, words, lo, hi));
}

inline uint32_t code_of(const void *codes, bool is_wide, uint64_t index) {
  return is_wide ? static_cast<const uint32_t *>(codes)[index] : static_cast<const uint16_t *>(codes)[index];
}

// The level-0 node that has this code; the code's bit is set in the mask.
inline uint32_t root_node(const RootIndex &roots, uint32_t code) {
  return roots.ranks[code / 64] + static_cast<uint32_t>(__builtin_popcountll(roots.mask[code / 64] & low_bits(code % 64)));
}

// The level-0 node [lo, hi), or UINT32_MAX where there is none. Searched for among starts that the cache holds: the
// leaf's row would name its code at once, but comes from memory.
inline uint32_t find_root_node(const Reach &reach, uint32_t lo, uint32_t hi) {
  const esp_top_level &level = reach.trie->top_levels[0];
  uint32_t node = 0;
  for (uint32_t left = level.node_count; left > 1;) {
    const uint32_t half = left / 2;
    node += level.leaf_start[node + half] <= lo ? half : 0;
    left -= half;
  }
  return level.leaf_start[node] == lo && level.leaf_start[node + 1] == hi ? node : UINT32_MAX;
}

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
