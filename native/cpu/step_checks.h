// What a step is asked for, wherever it runs: the checks that keep its reads inside the arrays.
#pragma once

#include "trie.h"

namespace espalier {

// Of the whole step; see esp_step_input.
struct AskedStep {
  uint32_t depth;
  uint64_t row_count;
  uint32_t vocab_size;
  uint32_t token_offset;
  const uint32_t *token_table;
  uint32_t token_table_length;
};

// Of one request; see esp_step_request.
struct AskedRequest {
  const esp_trie_arrays *trie;
  uint32_t beam_count;
  uint32_t beam_width;
  uint32_t first_row;
  esp_normalize normalize;
  float temperature;
  // [beam_count]
  const uint32_t *node_lo;
  const uint32_t *node_hi;
};

// @throws Failure ESP_STATUS_SHAPE on tables that lead out of the vocabulary
void check_tokens(const AskedStep &step);
// @param index which request it is, for messages
// @throws Failure ESP_STATUS_SHAPE
void check_request(const AskedStep &step, const AskedRequest &request, uint32_t index);

}  // namespace espalier
