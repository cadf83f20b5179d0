// STATIC's own layout (arXiv 2602.22647): dense tables for the first levels, packed CSR below.
#pragma once

#include "step.h"

namespace rivals {

class StaticCsr : public Rival {
 public:
  // The arrays of src/static-trie/exchange/static-csr.ts.
  const int32_t *packed_csr;
  const int32_t *indptr;
  const uint8_t *start_mask;
  const uint8_t *dense_mask;
  const int32_t *dense_states;
  const int32_t *max_branches;
  uint32_t dense_layers;

  void look_ahead(const Call &call) override {
    if (call.depth < dense_layers) return;
    for (uint32_t beam = 0; beam < call.beam_count; beam++) __builtin_prefetch(indptr + call.batch.node_lo[beam]);
    for (uint32_t beam = 0; beam < call.beam_count; beam++) {
      __builtin_prefetch(packed_csr + 2 * static_cast<size_t>(indptr[call.batch.node_lo[beam]]));
    }
  }

  void offer(const Call &call, uint32_t beam, Best &best) override {
    if (call.depth < dense_layers) offer_dense(call, beam, best);
    else offer_edges(call, beam, best);
  }

  bool lead(const Call &call, const Candidate &winner, Node &to) override {
    if (call.depth == 0) to.lo = winner.code + 1;
    else if (call.depth < dense_layers) to.lo = static_cast<uint32_t>(dense_states[winner.place]);
    else to.lo = static_cast<uint32_t>(packed_csr[2 * static_cast<size_t>(winner.place) + 1]);
    return true;
  }

 private:
  // A mask over the whole row of logits.
  void offer_dense(const Call &call, uint32_t beam, Best &best) {
    const uint32_t vocab = call.vocab_size;
    const size_t start = call.depth == 0 ? 0 : static_cast<size_t>(call.batch.node_lo[beam] - 1) * vocab;
    const uint8_t *mask = call.depth == 0 ? start_mask : dense_mask + start;
    for_each_block(call, beam, best, [&](uint32_t first, uint64_t bits) {
      uint64_t valid = 0;
      const uint32_t count = std::min(kBlock, vocab - first);
      for (uint32_t index = 0; index < count; index++) valid |= static_cast<uint64_t>(mask[first + index]) << index;
      offer_bits(call, beam, first, bits & valid, best,
                 [&](uint32_t index) { return static_cast<uint32_t>(start + first + index); });
    });
  }

  // At most as many edges as the widest node of the level has; a CPU need not gather the padding behind the node's own.
  void offer_edges(const Call &call, uint32_t beam, Best &best) {
    const uint32_t state = call.batch.node_lo[beam];
    const int32_t first = indptr[state];
    const int32_t end = std::min(indptr[state + 1], first + max_branches[call.depth]);
    const float *row = call.row(beam);
    for (int32_t edge = first; edge < end; edge++) {
      const uint32_t code = static_cast<uint32_t>(packed_csr[2 * static_cast<size_t>(edge)]);
      best.offer({call.score(beam, row[code]) + 0.0f, beam, code, static_cast<uint32_t>(edge)});
    }
  }
};

}  // namespace rivals
