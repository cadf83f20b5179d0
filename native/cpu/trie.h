// The object behind an esp_trie: its arrays, and the memory that holds them.
#pragma once

#include "internal.h"
#include "levels/step_types.h"

struct esp_trie {
  std::atomic<uint64_t> references{1};
  esp_trie_arrays arrays = {};
  esp_build_result built = {};
  std::vector<espalier::Memory> memories;
  // What steps look up; see espalier::RootIndex.
  std::vector<uint64_t> root_mask;
  std::vector<uint32_t> root_ranks;
  std::vector<uint32_t> mask_of_node;

  espalier::RootIndex roots() const { return {root_mask.data(), root_ranks.data(), mask_of_node.data()}; }

  // A zeroed array that the trie owns.
  template <class T>
  T *allocate(uint64_t count) {
    memories.push_back(espalier::Memory::allocate(count * sizeof(T)));
    return memories.back().as<T>();
  }
};

namespace espalier {

struct TrieRelease {
  void operator()(esp_trie *trie) const { esp_trie_release(trie); }
};
using TriePointer = std::unique_ptr<esp_trie, TrieRelease>;

// @throws Failure ESP_STATUS_SHAPE on level counts and codebook sizes that no trie has.
void check_codebooks(uint32_t level_count, const uint32_t *codebook_sizes);
bool is_wide(uint32_t level_count, const uint32_t *codebook_sizes);

// Gives the level-0 nodes with the most children a mask of their children's codes, as far as the budget goes.
void add_child_masks(esp_trie &trie, uint64_t budget_bytes);

// Fills root_mask, root_ranks and mask_of_node; the last thing to be done to a new trie.
void index_roots(esp_trie &trie);

// A code of the trie's rows or explicit nodes.
inline uint32_t code_at(const void *codes, bool wide, uint64_t index) {
  return wide ? static_cast<const uint32_t *>(codes)[index] : static_cast<const uint16_t *>(codes)[index];
}

}  // namespace espalier
