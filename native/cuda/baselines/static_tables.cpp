#include "static_tables.h"

#include <algorithm>

namespace espalier::baseline {

namespace {

uint32_t code_of(const esp_trie_arrays &trie, uint64_t leaf, uint32_t depth) {
  const uint64_t at = leaf * trie.level_count + depth;
  return trie.is_wide ? static_cast<const uint32_t *>(trie.rows)[at] : static_cast<const uint16_t *>(trie.rows)[at];
}

// Whether a node of this depth, 1 or more, begins at the leaf.
bool begins(const esp_trie_arrays &trie, uint32_t depth, uint64_t leaf) {
  return trie.new_prefix[depth - 1][leaf / 64] >> (leaf % 64) & 1;
}

}  // namespace

DenseTables make_dense_tables(const esp_trie_arrays &trie) {
  const uint64_t size = trie.codebook_sizes[0];
  DenseTables tables;
  tables.start_mask.assign(size, 0);
  if (trie.level_count > 1) {
    tables.dense_mask.assign(size * size, 0);
    tables.dense_states.assign(size * size, 0);
  }
  uint32_t node = 0;
  for (uint64_t leaf = 0; leaf < trie.leaf_count; leaf++) {
    const uint64_t first = code_of(trie, leaf, 0);
    tables.start_mask[first] = 1;
    if (trie.level_count < 2 || !begins(trie, 2, leaf)) continue;
    const uint64_t at = first * size + code_of(trie, leaf, 1);
    tables.dense_mask[at] = 1;
    tables.dense_states[at] = node++;
  }
  return tables;
}

CsrTable make_csr_table(const esp_trie_arrays &trie, uint32_t depth) {
  CsrTable table = {};
  table.tokens.reserve(trie.leaf_count);
  table.next_states.reserve(trie.leaf_count);
  for (uint64_t leaf = 0; leaf < trie.leaf_count; leaf++) {
    const uint32_t found = static_cast<uint32_t>(table.tokens.size());
    if (begins(trie, depth, leaf)) table.indptr.push_back(found);
    if (!begins(trie, depth + 1, leaf)) continue;
    table.tokens.push_back(code_of(trie, leaf, depth));
    table.next_states.push_back(found);
  }
  table.indptr.push_back(static_cast<uint32_t>(table.tokens.size()));
  for (size_t state = 0; state + 1 < table.indptr.size(); state++) {
    table.most_branches = std::max(table.most_branches, table.indptr[state + 1] - table.indptr[state]);
  }
  return table;
}

}  // namespace espalier::baseline
