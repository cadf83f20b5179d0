// What a step's call brings: a StepBatch (src/kernels/step-batch.ts) whose arrays are bound once, and the step's own
// arguments. The same for every kernel; inputs and requests of all have fields of the same names.
#pragma once

#include "js.h"

namespace binding {

// The arrays of a StepBatch, which keeps them alive.
struct BatchArrays {
  uint32_t requests = 0;
  uint32_t beams = 0;
  uint32_t *beam_counts = nullptr;
  uint32_t *beam_widths = nullptr;
  uint32_t *first_rows = nullptr;
  uint32_t *normalizations = nullptr;
  float *temperatures = nullptr;
  float *scores = nullptr;
  uint32_t *node_lo = nullptr;
  uint32_t *node_hi = nullptr;
  esp_step_output out = {};
};

BatchArrays batch_arrays(napi_env env, napi_value batch);

// The logits of a call: float32, or float16 in a Uint16Array.
struct Logits {
  const void *data;
  esp_logit_type type;
  uint64_t rows;
};

Logits logits_of(napi_env env, napi_value value, uint32_t vocab_size);

// The bits of a LiveLeaves (src/kernels/types.ts), which keeps them alive; all null where it is null.
struct LiveBits {
  const uint64_t *leaf_bits = nullptr;
  const uint64_t *root_mask = nullptr;
  const uint64_t *node_bits = nullptr;
};

LiveBits live_bits(napi_env env, napi_value live, const esp_trie_arrays &trie);

// Leaves in a Uint32Array; none where it is null.
struct LeafList {
  const uint32_t *leaves = nullptr;
  size_t count = 0;
};

LeafList leaf_list(napi_env env, napi_value value, const char *name);

// The elements of an array of handles. @throws JsFailure ESP_STATUS_SHAPE on more than `most`
std::vector<napi_value> handle_list(napi_env env, napi_value list, const char *name, uint32_t most);

// The requests of a batch; `used` keeps its memory from step to step.
template <class Request, class Constraint>
void read_requests(const BatchArrays &batch, const std::vector<Constraint> &constraints, std::vector<Request> &used) {
  used.resize(constraints.size());
  uint64_t beams = 0;
  uint64_t children = 0;
  for (size_t index = 0; index < constraints.size(); index++) {
    used[index] = {constraints[index],
                   batch.beam_counts[index],
                   batch.beam_widths[index],
                   batch.first_rows[index],
                   static_cast<esp_normalize>(batch.normalizations[index]),
                   batch.temperatures[index]};
    beams += batch.beam_counts[index];
    children += batch.beam_widths[index];
  }
  if (beams > batch.beams || children > batch.beams) {
    fail(ESP_STATUS_SHAPE, "the batch has room for " + std::to_string(batch.beams) + " beams, found " +
                               std::to_string(beams) + ", of which " + std::to_string(children) + " are to be kept");
  }
}

// Of step(stepper, batch, depth, logits, vocabSize, tokenOffset | tokenTable): all but the requests.
template <class Input>
void read_step(const Arguments &arguments, const BatchArrays &batch, Input &input) {
  napi_env env = arguments.env();
  input.depth = static_cast<uint32_t>(to_count(env, arguments[2], "depth", ESP_MAX_LEVELS));
  input.scores = batch.scores;
  input.node_lo = batch.node_lo;
  input.node_hi = batch.node_hi;
  input.vocab_size = static_cast<uint32_t>(to_count(env, arguments[4], "vocabSize", INT32_MAX));
  const Logits logits = logits_of(env, arguments[3], input.vocab_size);
  input.logits = logits.data;
  input.logit_type = logits.type;
  input.row_count = logits.rows;
  napi_valuetype token_type;
  check(env, napi_typeof(env, arguments[5], &token_type));
  if (token_type == napi_number) {
    input.token_offset = static_cast<uint32_t>(to_count(env, arguments[5], "tokenOffset", INT32_MAX));
  } else if (input.request_count > 0) {
    // All requests of a batch have the same codebooks; the library checks.
    const size_t length = elements(env, arguments[5], "tokenTable").length;
    input.token_table = array<uint32_t>(env, arguments[5], "tokenTable", length);
    input.token_table_length = static_cast<uint32_t>(length);
  }
}

}  // namespace binding
