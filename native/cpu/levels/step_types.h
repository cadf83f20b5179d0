// What step.cpp and the levels share of a decode step. Plain data: see level.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../include/espalier.h"

namespace espalier {

// Codes are looked at in chunks, a mask word each, for which each lane keeps the largest logit of a live child.
constexpr uint32_t kChunkCodes = 64;
constexpr uint32_t kLanes = 16;
// Beams whose groups make a bound; see MaskedRows.
constexpr uint32_t kBoundBeams = 8;
// So few live children are listed faster than a row's groups are compared.
constexpr uint32_t kListed = 24;
constexpr uint32_t kNoMask = UINT32_MAX;
// ESP_MAX_CODEBOOK_SIZE is 2^18; with ESP_MAX_BEAM_WIDTH a beam and a code fit 32 bits.
constexpr uint32_t kCodeBits = 18;

// A trie's level-0 nodes by code; made once for each trie.
struct RootIndex {
  // [codebook_sizes[0]] bits, and for each word the nodes before it.
  const uint64_t *mask;
  const uint32_t *ranks;
  // [nodes of level 0] which child mask it has, or kNoMask.
  const uint32_t *mask_of_node;
};

// What a request may reach: esp_constraint as the levels see it.
struct Reach {
  const esp_trie_arrays *trie;
  RootIndex roots;
  // Null: every leaf is live.
  const uint64_t *leaf_bits;
  const uint64_t *node_bits;
  // [codebook_sizes[0]] bits: the root's children that are live and not dead.
  const uint64_t *root_mask;
  const uint32_t *dead_leaves;
  uint32_t dead_count;
  // Level-1 nodes of which every live leaf is dead, ascending.
  const uint32_t *dead_nodes;
  uint32_t dead_node_count;
  // Bit leaf >> filter_shift is set where there is a dead leaf; one more word is read along.
  const uint64_t *filter;
  uint32_t filter_shift;
};

// One request's part of a step.
struct StepTask {
  const Reach *reach;
  uint32_t depth;
  uint32_t beam_count;
  uint32_t beam_width;
  esp_normalize normalize;
  float temperature;
  // Rows of vocab_size logits, the first beam's first.
  const void *logits;
  esp_logit_type logit_type;
  uint32_t vocab_size;
  uint32_t token_offset;
  const uint32_t *token_table;
  const float *scores;
  const uint32_t *node_lo;
  const uint32_t *node_hi;
  // Where the children go.
  float *out_scores;
  uint32_t *out_parents;
  uint32_t *out_codes;
  uint32_t *out_lo;
  uint32_t *out_hi;
  float *normalizers;
};

// Candidates of a selection, in the order in which ties are broken.
struct Candidates {
  // Ordered as the scores are; 0 is none.
  uint32_t *keys;
  // beam << kCodeBits | code
  uint32_t *children;
  uint32_t *lo;
  uint32_t *hi;
  uint32_t capacity;
};

// The live children of a beam at depth 0 or 1.
struct LiveChildren {
  // No fewer than there are.
  uint32_t count;
  // Where they aren't listed, by code, but bits beyond the codebook mean nothing.
  const uint64_t *mask;
};

// Scratch memory of one request; `reserve` in step.cpp has the sizes.
struct StepScratch {
  // [codes, rounded up to chunks] logits by code, for rows that aren't read where they lie.
  float *values;
  // [beams, chunks, lanes] the largest logit of each group of codes of rows with a mask.
  float *group_maxima;
  // [kBoundBeams, chunks, lanes] keys of what the groups reach.
  uint32_t *group_keys;
  // [beams] and, for those that have no mask of the trie's, [beams, chunks].
  LiveChildren *live;
  // [beams, kListed] nodes of level 1.
  uint32_t *listed;
  uint64_t *masks;
  // [beams] the beam's level-0 node, at depth 1.
  uint32_t *parents;
  // [codes] the live children of one beam, where the normalization needs them first.
  uint32_t *child_codes;
  uint32_t *child_lo;
  uint32_t *child_hi;
  float *child_logits;
  Candidates candidates;
};

struct BadLogit {
  uint32_t beam;
  uint32_t token;
  float value;
};

enum class StepOutcome { kDone, kBadLogit, kBadTrie };

}  // namespace espalier
