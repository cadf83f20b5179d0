// STATIC's index (arXiv 2602.22647, section 4) of a trie: dense tables for the first two levels, CSR below them.
#pragma once

#include <vector>

#include "../../include/espalier.h"

namespace espalier::baseline {

// Levels that have dense tables.
constexpr uint32_t kDenseLevels = 2;

// The transitions of one level below the dense ones: those of state s are entries [indptr[s], indptr[s + 1]).
struct CsrLevel {
  const uint32_t *indptr;
  const uint32_t *tokens;
  const uint32_t *next_states;
  // No state has more.
  uint32_t most_branches;
};

// On the device. A state of depth 1 is its code, one of a deeper level its rank among the level's nodes.
struct StaticTables {
  uint32_t level_count;
  // Of every level; a token is its code.
  uint32_t vocab_size;
  // [vocab_size]
  const uint8_t *start_mask;
  // [vocab_size, vocab_size] by the first two codes; null in tries of one level.
  const uint8_t *dense_mask;
  const uint32_t *dense_states;
  // [level_count] from kDenseLevels on.
  CsrLevel levels[ESP_MAX_LEVELS];
};

// The same on the host, level by level, since all at once would take gigabytes.
struct DenseTables {
  std::vector<uint8_t> start_mask;
  std::vector<uint8_t> dense_mask;
  std::vector<uint32_t> dense_states;
};
DenseTables make_dense_tables(const esp_trie_arrays &trie);

struct CsrTable {
  std::vector<uint32_t> indptr;
  std::vector<uint32_t> tokens;
  std::vector<uint32_t> next_states;
  uint32_t most_branches;
};
// @param depth kDenseLevels or more
CsrTable make_csr_table(const esp_trie_arrays &trie, uint32_t depth);

}  // namespace espalier::baseline
