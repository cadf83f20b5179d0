// A trie in arrays: nodes in depth-first order, each with a list of its children's codes and numbers.
#pragma once

#include "step.h"

namespace rivals {

class ArrayTrie : public Rival {
 public:
  // [inner nodes + 1] where each node's children begin.
  const uint32_t *child_start;
  // [children]; a leaf's number is 0, which is the root's and no child's.
  const uint32_t *child_codes;
  const uint32_t *child_nodes;

  void look_ahead(const Call &call) override {
    for (uint32_t beam = 0; beam < call.beam_count; beam++) __builtin_prefetch(child_start + call.batch.node_lo[beam]);
    for (uint32_t beam = 0; beam < call.beam_count; beam++) {
      __builtin_prefetch(child_codes + child_start[call.batch.node_lo[beam]]);
    }
  }

  void offer(const Call &call, uint32_t beam, Best &best) override {
    const uint32_t node = call.batch.node_lo[beam];
    const float *row = call.row(beam);
    for (uint32_t child = child_start[node]; child < child_start[node + 1]; child++) {
      const uint32_t code = child_codes[child];
      best.offer({call.score(beam, row[code]) + 0.0f, beam, code, child});
    }
  }

  bool lead(const Call &, const Candidate &winner, Node &to) override {
    to.lo = child_nodes[winner.place];
    return true;
  }
};

}  // namespace rivals
