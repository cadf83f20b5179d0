// One request's decode step as its parts see it.
#pragma once

#include "children.inl.h"
#include "normalizer.inl.h"

namespace espalier {
namespace {

struct StepView {
  const StepTask &task;
  const StepScratch &scratch;
  const Reach &reach;
  const esp_trie_arrays &trie;
  uint32_t code_count;
  // Of a mask of the level's codes; a chunk is a word's codes.
  uint32_t word_count;

  StepView(const StepTask &one, const StepScratch &memory)
      : task(one),
        scratch(memory),
        reach(*one.reach),
        trie(*one.reach->trie),
        code_count(trie.codebook_sizes[one.depth]),
        word_count((code_count + kChunkCodes - 1) / kChunkCodes) {}

  uint32_t token_of(uint32_t code) const {
    return task.token_table != nullptr ? task.token_table[code] : task.token_offset + code;
  }

  // Whether a beam's children are compared as a whole row: see MaskedRows.
  bool is_masked(uint32_t beam) const {
    if (task.normalize == ESP_LIVE) return false;
    if (task.depth == 0) return trie.top_levels[0].node_count * 64u >= code_count;
    return task.depth == 1 && reach.roots.mask_of_node[scratch.parents[beam]] != kNoMask;
  }

  float score(float logit, uint32_t beam) const { return task.scores[beam] + (logit - task.normalizers[beam]); }

  // Calls visit(code, lo, hi) for each live child of a beam.
  template <class Visit>
  void visit_children(uint32_t beam, Visit &&visit) const {
    if (task.depth == 0) visit_root(reach, visit);
    else if (task.depth == 1) visit_top(reach, scratch.parents[beam], visit);
    else visit_deep(reach, task.depth, task.node_lo[beam], task.node_hi[beam], visit);
  }
};

}  // namespace
}  // namespace espalier
