// No constraint; and a constraint that comes too late.
#pragma once

#include "sorted_sids.h"

namespace rivals {

// The best tokens, whatever they lead to.
class Unconstrained : public Rival {
 public:
  void offer(const Call &call, uint32_t beam, Best &best) override {
    for_each_block(call, beam, best, [&](uint32_t first, uint64_t bits) {
      offer_bits(call, beam, first, bits, best, [](uint32_t) { return 0u; });
    });
  }
  bool lead(const Call &, const Candidate &, Node &) override { return true; }
};

// The same, and after the last step the beams that are no SIDs are taken away. A node is a slot that holds a prefix.
class PostFilter : public Unconstrained {
 public:
  SortedSids sids;
  // [slots, levels]; winners write theirs from `next` on, round and round behind the first `fixed`.
  uint32_t *prefixes;
  uint32_t slots;
  uint32_t fixed;
  uint32_t next;

  bool lead(const Call &call, const Candidate &winner, Node &to) override {
    const size_t levels = sids.columns.size();
    const uint32_t *before = prefixes + call.batch.node_lo[winner.beam] * levels;
    if (call.depth + 1 == levels) return is_sid(before, winner.code);
    if (next == slots) next = fixed;
    to.lo = next++;
    uint32_t *prefix = prefixes + to.lo * levels;
    std::copy(before, before + call.depth, prefix);
    prefix[call.depth] = winner.code;
    return true;
  }

 private:
  bool is_sid(const uint32_t *prefix, uint32_t last) const {
    const uint32_t levels = static_cast<uint32_t>(sids.columns.size());
    Node range = {0, sids.count};
    for (uint32_t level = 0; level < levels && range.lo < range.hi; level++) {
      range = sids.narrow(level, range, level + 1 < levels ? prefix[level] : last);
    }
    return range.lo < range.hi;
  }
};

}  // namespace rivals
