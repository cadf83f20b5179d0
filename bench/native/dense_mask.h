// A row of one bit a code for every node of every level.
#pragma once

#include "step.h"

namespace rivals {

class DenseMask : public Rival {
 public:
  // [levels] of [nodes, words]
  std::vector<const uint64_t *> masks;
  // [levels] of [nodes] the number, on the next level, of each node's first child.
  std::vector<const uint32_t *> first_child;
  uint32_t words;

  void look_ahead(const Call &call) override {
    for (uint32_t beam = 0; beam < call.beam_count; beam++) {
      const char *row = reinterpret_cast<const char *>(row_of(call, beam));
      for (uint32_t byte = 0; byte < words * 8; byte += 64) __builtin_prefetch(row + byte);
    }
  }

  void offer(const Call &call, uint32_t beam, Best &best) override {
    const uint64_t *mask = row_of(call, beam);
    const float *row = call.row(beam);
    for (uint32_t word = 0; word < words; word++) {
      if (mask[word] == 0) continue;
      const uint32_t first = word * kBlock;
      // A look at all 64 logits costs as much as a few one by one.
      uint64_t valid = mask[word];
      if (__builtin_popcountll(valid) > 4) {
        const uint32_t count = std::min(kBlock, call.vocab_size - first);
        valid &= reaching(row + first, count, call.batch.scores[beam], call.batch.normalizers[beam], best.bound());
      }
      offer_bits(call, beam, first, valid, best, [](uint32_t) { return 0u; });
    }
  }

  bool lead(const Call &call, const Candidate &winner, Node &to) override {
    const uint32_t node = call.batch.node_lo[winner.beam];
    const uint64_t *mask = row_of(call, winner.beam);
    uint32_t before = 0;
    for (uint32_t word = 0; word < winner.code / 64; word++) before += __builtin_popcountll(mask[word]);
    before += __builtin_popcountll(mask[winner.code / 64] & ((1ull << (winner.code % 64)) - 1));
    to.lo = first_child[call.depth][node] + before;
    return true;
  }

 private:
  const uint64_t *row_of(const Call &call, uint32_t beam) const {
    return masks[call.depth] + static_cast<size_t>(call.batch.node_lo[beam]) * words;
  }
};

}  // namespace rivals
