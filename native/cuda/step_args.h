// What the host hands to a step's one launch. Plain data; every pointer is a device pointer.
#pragma once

#include "../cpu/levels/step_types.h"

namespace espalier::cuda {

// One request of the batch. `reach` and all that it points to lie on the device.
struct RequestArgs {
  const Reach *reach;
  uint32_t beam_width;
  esp_normalize normalize;
  float temperature;
  // Where its rows of logits, its beams and its children begin.
  uint32_t first_row;
  uint32_t first_beam;
  uint32_t first_child;
};

// What became of a request, beside its children.
constexpr int32_t kFineBeams = -1;
constexpr int32_t kNoNodes = -2;

struct StepArgs {
  uint32_t depth;
  uint32_t request_count;
  // The largest number of beams that a request may have; the grid has as many rows for each.
  uint32_t most_beams;
  // The largest beam width.
  uint32_t most_children;
  const RequestArgs *requests;
  // [requests]; null at depth 0 of a batch that stays on the device: one beam each, at the root, with score 0.
  const uint32_t *beam_counts;
  const float *scores;
  const uint32_t *node_lo;
  const uint32_t *node_hi;
  const void *logits;
  esp_logit_type logit_type;
  uint32_t vocab_size;
  // Of the level, in every trie of the batch.
  uint32_t code_count;
  uint32_t token_offset;
  const uint32_t *token_table;
  // [requests], [children] and [beams]; the last three may be null.
  uint32_t *out_counts;
  float *out_scores;
  uint32_t *out_parents;
  uint32_t *out_codes;
  uint32_t *out_lo;
  uint32_t *out_hi;
  // A bad beam, kFineBeams or kNoNodes.
  int32_t *out_bad_beams;
  float *out_normalizers;
  uint32_t *out_bad_tokens;
  float *out_bad_values;
  // step_scratch_bytes() of it, aligned to 256 bytes. All zero before the first step; each step leaves it ready
  // for the next, of whatever shape.
  void *scratch;
};

// Scratch that a step of this shape needs, whatever the tries, sets and logits: the same for every depth.
struct StepShape {
  uint32_t request_count;
  uint32_t most_beams;
  uint32_t most_children;
  // The largest codebook.
  uint32_t code_count;
};
uint64_t step_scratch_bytes(const StepShape &shape);

// Launches the step. @param stream a cudaStream_t. @return a cudaError_t
int launch_step(const StepArgs &args, void *stream);

}  // namespace espalier::cuda
