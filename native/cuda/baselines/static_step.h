// One decode step as STATIC takes it (arXiv 2602.22647, algorithms 1 and 2), in plain CUDA and several launches:
// log-softmax of every row; the mask of the next tokens, by a dense row or by a gather of CSR entries; masked scores;
// the best M of each row, then of each request. It has no constraint sets and no exclusions: the trie is the constraint.
#pragma once

#include "static_tables.h"

namespace espalier::baseline {

// All pointers are device pointers. Each request has `beam_width` beams, at the root one.
struct StaticStep {
  uint32_t depth;
  uint32_t request_count;
  // At most 1024.
  uint32_t beam_width;
  // [rows, vocab_size]
  const void *logits;
  // ESP_LOGITS_F32 or ESP_LOGITS_BF16.
  esp_logit_type logit_type;
  // [rows] unused at the root; a score of -infinity is an absent beam.
  const float *scores;
  const uint32_t *states;
  // [requests] and [requests, beam_width], best first; beyond the count scores are -infinity.
  uint32_t *out_counts;
  float *out_scores;
  uint32_t *out_parents;
  uint32_t *out_codes;
  uint32_t *out_states;
  // static_scratch_bytes()
  void *scratch;
};

size_t static_scratch_bytes(uint32_t rows, uint32_t beam_width, uint32_t vocab_size);

// @param stream a cudaStream_t. @return a cudaError_t
int launch_static_step(const StaticTables &tables, const StaticStep &step, void *stream);

}  // namespace espalier::baseline
