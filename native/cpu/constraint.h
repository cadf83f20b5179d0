// The object behind an esp_constraint: what one request may reach.
#pragma once

#include "trie.h"

struct esp_constraint {
  std::atomic<uint64_t> references{1};
  espalier::TriePointer trie;
  espalier::Reach reach = {};
  std::vector<uint64_t> root_mask;
  std::vector<uint32_t> dead_leaves;
  std::vector<uint32_t> dead_nodes;
  std::vector<uint64_t> filter;
};
