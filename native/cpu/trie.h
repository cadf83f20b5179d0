// The object behind an esp_trie: its arrays, and the memory that holds them.
#pragma once

#include "internal.h"
#include "levels/step_types.h"

namespace espalier {

// The tables behind a RootIndex.
struct RootTables {
  std::vector<uint64_t> mask;
  std::vector<uint32_t> ranks;
  std::vector<uint32_t> mask_of_node;

  RootIndex index() const { return {mask.data(), ranks.data(), mask_of_node.data()}; }
};

}  // namespace espalier

struct esp_trie {
  std::atomic<uint64_t> references{1};
  esp_trie_arrays arrays = {};
  esp_build_result built = {};
  std::vector<espalier::Memory> memories;
  espalier::RootTables roots;

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

// The last thing to be made of a new trie, after its child masks.
RootTables make_root_tables(const esp_trie_arrays &arrays);

// What reads rely on: no range leads out of an array, and no code out of its codebook's bits.
// @throws Failure ESP_STATUS_SHAPE
void check_structure(const esp_trie_arrays &arrays);

// A code of the trie's rows or explicit nodes.
inline uint32_t code_at(const void *codes, bool wide, uint64_t index) {
  return wide ? static_cast<const uint32_t *>(codes)[index] : static_cast<const uint16_t *>(codes)[index];
}

}  // namespace espalier
