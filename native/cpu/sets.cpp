// Constraint sets and exclusions: bitmaps over leaves, and over the items on shared leaves.
#include <algorithm>
#include <cstring>

#include "levels/level.h"
#include "side_by_side_search.h"
#include "trie.h"

namespace espalier {

namespace {

bool bit_at(const uint64_t *bits, uint64_t index) { return bits[index / 64] >> (index % 64) & 1; }

// 64 bits from any position on; bits beyond `end` are clear.
uint64_t bits_from(const uint64_t *bits, uint64_t from, uint64_t end) {
  if (from >= end) return 0;
  const uint64_t word = from / 64;
  const uint32_t shift = from % 64;
  uint64_t value = bits[word] >> shift;
  if (shift != 0 && (word + 1) * 64 < end) value |= bits[word + 1] << (64 - shift);
  const uint64_t count = end - from;
  return count < 64 ? value & ((uint64_t{1} << count) - 1) : value;
}

bool any_bit(const uint64_t *bits, uint64_t from, uint64_t end) {
  for (; from < end; from += 64) {
    if (bits_from(bits, from, end) != 0) return true;
  }
  return false;
}

void check_shared(const esp_leaf_items &items) {
  uint64_t extra = 0;
  for (uint32_t index = 0; index < items.shared_count; index++) {
    const bool ascends = items.shared_leaves[index] < items.leaf_count &&
                         (index == 0 || items.shared_leaves[index] > items.shared_leaves[index - 1]) &&
                         items.shared_start[index + 1] > items.shared_start[index];
    if (!ascends) fail(ESP_STATUS_SHAPE, "shared leaf %u must follow the one before it within the leaves", index);
    extra += items.shared_start[index + 1] - items.shared_start[index] - 1;
  }
  if (items.shared_start[0] != 0 || items.leaf_count + extra != items.item_count) {
    fail(ESP_STATUS_SHAPE, "the shared leaves must make up %u items", items.item_count);
  }
}

void derive(const LevelKernels &kernels, const esp_trie_arrays &trie, const uint64_t *leaf_bits, uint64_t *root_mask,
            uint64_t *node_bits) {
  const esp_top_level &roots = trie.top_levels[0];
  memset(root_mask, 0, words_for(trie.codebook_sizes[0]) * sizeof(uint64_t));
  // In a trie of one level the root's children are the leaves.
  const uint64_t *bits = leaf_bits;
  const uint32_t *starts = roots.leaf_start;
  if (trie.level_count > 1) {
    memset(node_bits, 0, words_for(trie.top_levels[1].node_count) * sizeof(uint64_t));
    kernels.live_nodes(trie.new_prefix[1], leaf_bits, trie.leaf_count, node_bits);
    bits = node_bits;
    starts = roots.first_child;
  }
  for (uint32_t node = 0; node < roots.node_count; node++) {
    if (!any_bit(bits, starts[node], starts[node + 1])) continue;
    const uint32_t code = code_at(roots.codes, trie.is_wide, node);
    root_mask[code / 64] |= uint64_t{1} << (code % 64);
  }
}

void item_starts(const esp_leaf_items &items, uint64_t *starts) {
  check_shared(items);
  const uint64_t bit_count = uint64_t{items.item_count} + 1;
  memset(starts, 0xff, words_for(bit_count) * sizeof(uint64_t));
  if (bit_count % 64 != 0) starts[bit_count / 64] = (uint64_t{1} << (bit_count % 64)) - 1;
  for (uint32_t index = 0; index < items.shared_count; index++) {
    const uint64_t first = uint64_t{items.shared_leaves[index]} + items.shared_start[index] - index;
    const uint64_t end = first + items.shared_start[index + 1] - items.shared_start[index];
    for (uint64_t item = first + 1; item < end; item++) starts[item / 64] &= ~(uint64_t{1} << (item % 64));
  }
}

void from_items(const LevelKernels &kernels, const esp_leaf_items &items, const uint64_t *starts,
                const uint64_t *item_bits, uint64_t *leaf_bits, uint64_t *shared_bits) {
  if (items.shared_count == 0) {
    if (items.item_count != items.leaf_count) fail(ESP_STATUS_SHAPE, "without shared leaves there must be %u items", items.leaf_count);
    const uint64_t words = words_for(items.item_count);
    memcpy(leaf_bits, item_bits, words * sizeof(uint64_t));
    if (items.item_count % 64 != 0) leaf_bits[words - 1] &= (uint64_t{1} << (items.item_count % 64)) - 1;
    return;
  }
  // What is counted here is what will be written.
  const ItemCounts found = kernels.count_items(starts, items.item_count);
  const uint32_t shared_items = items.shared_start[items.shared_count];
  if (found.leaves != items.leaf_count || found.shared != shared_items) {
    fail(ESP_STATUS_SHAPE, "the starts must be those of %u leaves and %u shared items", items.leaf_count, shared_items);
  }
  kernels.live_nodes(starts, item_bits, items.item_count, leaf_bits);
  kernels.shared_items(starts, item_bits, items.item_count, shared_bits);
}

// Walks the excluded items leaf by leaf; shared leaves and excluded items both ascend.
void prepare_exclusions(const esp_leaf_items &items, const uint32_t *excluded, size_t excluded_count,
                        const uint64_t *leaf_bits, const uint64_t *shared_bits, uint32_t *dead_leaves,
                        size_t *dead_count, size_t *in_set) {
  *dead_count = 0;
  *in_set = 0;
  // The first item of shared leaf `index`, and how many leaves items are ahead before it.
  const auto beyond = [&](uint32_t index) { return items.shared_start[index] - index; };
  const auto first_item = [&](uint32_t index) { return items.shared_leaves[index] + beyond(index); };
  // Of some items, how many shared leaves there are whose first item is not behind them.
  uint32_t passed_by[kSearchesAtOnce];
  size_t searched_from = 0;
  size_t searched_to = 0;
  for (size_t at = 0; at < excluded_count;) {
    const uint32_t item = excluded[at];
    if (item >= items.item_count || (at > 0 && item <= excluded[at - 1])) {
      fail(ESP_STATUS_SHAPE, "excluded item %zu: %u must be above the one before and < %u", at, item, items.item_count);
    }
    if (at >= searched_to) {
      searched_from = at;
      searched_to = std::min(excluded_count, at + kSearchesAtOnce);
      count_not_above(first_item, items.shared_count, excluded + at, searched_to - at, passed_by);
    }
    const uint32_t passed = passed_by[at - searched_from];
    uint32_t leaf = item - beyond(passed);
    bool is_shared = false;
    if (passed > 0) {
      const uint32_t last = items.shared_leaves[passed - 1];
      const uint32_t count = items.shared_start[passed] - items.shared_start[passed - 1];
      is_shared = item - first_item(passed - 1) < count;
      if (is_shared) leaf = last;
    }
    // Here and not by a pass over all shared leaves: requests must not pay for the size of the catalog.
    const bool is_within = leaf < items.leaf_count && (passed == 0 || (items.shared_start[passed - 1] < items.shared_start[passed] &&
                           items.shared_start[passed] <= items.shared_start[items.shared_count]));
    if (!is_within) fail(ESP_STATUS_SHAPE, "the shared leaves around item %u don't ascend", item);
    if (!is_shared) {
      at++;
      if (leaf_bits != nullptr && !bit_at(leaf_bits, leaf)) continue;
      ++*in_set;
      dead_leaves[(*dead_count)++] = leaf;
      continue;
    }
    const uint32_t start = items.shared_start[passed - 1];
    const uint32_t count = items.shared_start[passed] - start;
    const uint32_t first = first_item(passed - 1);
    size_t excluded_here = 0;
    for (const size_t here = at; at < excluded_count && excluded[at] - first < count; at++) {
      if (at > here && excluded[at] <= excluded[at - 1]) {
        fail(ESP_STATUS_SHAPE, "excluded item %zu: %u must be above the one before", at, excluded[at]);
      }
      excluded_here += shared_bits == nullptr || bit_at(shared_bits, start + (excluded[at] - first));
    }
    if (excluded_here == 0) continue;
    *in_set += excluded_here;
    size_t allowed_here = count;
    if (shared_bits != nullptr) {
      allowed_here = 0;
      for (uint32_t number = start; number < start + count; number += 64) {
        allowed_here += static_cast<size_t>(__builtin_popcountll(bits_from(shared_bits, number, start + count)));
      }
    }
    if (excluded_here == allowed_here) dead_leaves[(*dead_count)++] = leaf;
  }
}

}  // namespace
}  // namespace espalier

using namespace espalier;

esp_status esp_bits_combine(esp_level level, esp_bit_operation operation, const uint64_t *a, const uint64_t *b,
                            uint64_t *out, size_t word_count) {
  return guarded([&] { kernels_of(level).combine(operation, a, b, out, word_count); });
}

esp_status esp_bits_count(esp_level level, const uint64_t *bits, uint64_t bit_count, uint64_t *out) {
  return guarded([&] {
    *out = kernels_of(level).count_bits(bits, bit_count / 64);
    if (bit_count % 64 != 0) {
      *out += static_cast<uint64_t>(__builtin_popcountll(bits_from(bits, bit_count / 64 * 64, bit_count)));
    }
  });
}

esp_status esp_set_derive(esp_level level, const esp_trie *trie, const uint64_t *leaf_bits, uint64_t *root_mask,
                          uint64_t *node_bits) {
  return guarded([&] { derive(kernels_of(level), trie->arrays, leaf_bits, root_mask, node_bits); });
}

esp_status esp_set_live_nodes(esp_level level, const esp_trie *trie, const uint64_t *leaf_bits, uint64_t *out) {
  return guarded([&] {
    const LevelKernels &kernels = kernels_of(level);
    for (uint32_t depth = 0; depth < trie->arrays.level_count; depth++) {
      out[depth] = kernels.live_nodes(trie->arrays.new_prefix[depth], leaf_bits, trie->arrays.leaf_count, nullptr);
    }
  });
}

esp_status esp_item_starts(const esp_leaf_items *items, uint64_t *starts) {
  return guarded([&] { item_starts(*items, starts); });
}

esp_status esp_set_from_items(esp_level level, const esp_leaf_items *items, const uint64_t *starts,
                              const uint64_t *item_bits, uint64_t *leaf_bits, uint64_t *shared_bits) {
  return guarded([&] { from_items(kernels_of(level), *items, starts, item_bits, leaf_bits, shared_bits); });
}

esp_status esp_set_settle(const esp_leaf_items *items, const uint64_t *shared_bits, uint64_t *leaf_bits,
                          uint32_t *live_count) {
  return guarded([&] {
    check_shared(*items);
    uint32_t live = 0;
    uint32_t from = 0;
    for (uint32_t index = 0; index < items->shared_count; index++) {
      const uint32_t end = items->shared_start[index + 1];
      const uint64_t is_live = from / 64 == (end - 1) / 64
                                   ? (shared_bits[from / 64] >> (from % 64) << (64 - (end - from))) != 0
                                   : any_bit(shared_bits, from, end);
      const uint32_t leaf = items->shared_leaves[index];
      uint64_t &word = leaf_bits[leaf / 64];
      word = (word & ~(uint64_t{1} << (leaf % 64))) | is_live << (leaf % 64);
      live += static_cast<uint32_t>(is_live);
      from = end;
    }
    *live_count = live;
  });
}

esp_status esp_exclusions_prepare(const esp_leaf_items *items, const uint32_t *excluded, size_t excluded_count,
                                  const uint64_t *leaf_bits, const uint64_t *shared_bits, uint32_t *dead_leaves,
                                  size_t *dead_count, size_t *in_set) {
  return guarded([&] {
    prepare_exclusions(*items, excluded, excluded_count, leaf_bits, shared_bits, dead_leaves, dead_count, in_set);
  });
}
