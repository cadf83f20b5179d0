// Prefix verification by binary search over the sorted SIDs, level by level.
#pragma once

#include "step.h"

namespace rivals {

// [levels] of [SIDs] codes: a level's codes lie side by side, so that the end of a search stays within a cache line.
struct SortedSids {
  std::vector<const uint32_t *> columns;
  uint32_t count;

  // The rows in [lo, hi) with this code at this level.
  Node narrow(uint32_t depth, Node range, uint32_t code) const {
    const uint32_t *column = columns[depth];
    const uint32_t *first = std::lower_bound(column + range.lo, column + range.hi, code);
    const uint32_t *last = std::upper_bound(first, column + range.hi, code);
    return {static_cast<uint32_t>(first - column), static_cast<uint32_t>(last - column)};
  }
};

// Every code of every beam that can still win is searched among the rows of the beam's prefix.
class PpvExact : public Rival {
 public:
  SortedSids sids;

  void look_ahead(const Call &call) override {
    for (uint32_t beam = 0; beam < call.beam_count; beam++) {
      __builtin_prefetch(sids.columns[call.depth] + call.batch.node_lo[beam]);
    }
  }

  void offer(const Call &call, uint32_t beam, Best &best) override {
    const Node range = {call.batch.node_lo[beam], call.batch.node_hi[beam]};
    if (range.lo == range.hi) return;
    for_each_block(call, beam, best, [&](uint32_t first, uint64_t bits) {
      offer_bits(call, beam, first, bits & search(call.depth, range, first), best, [](uint32_t) { return 0u; });
    });
  }

  bool lead(const Call &call, const Candidate &winner, Node &to) override {
    const Node range = {call.batch.node_lo[winner.beam], call.batch.node_hi[winner.beam]};
    to = sids.narrow(call.depth, range, winner.code);
    return true;
  }

 private:
  // 64 searches in step, in the vector lanes that the machine has: which of first ... first + 63 are there.
  uint64_t search(uint32_t depth, Node range, uint32_t first) const {
    const uint32_t *column = sids.columns[depth];
    int32_t at[kBlock];
    for (uint32_t lane = 0; lane < kBlock; lane++) at[lane] = static_cast<int32_t>(range.lo);
    for (uint32_t length = range.hi - range.lo; length > 1;) {
      const uint32_t half = length / 2;
      for (uint32_t lane = 0; lane < kBlock; lane++) {
        const int32_t middle = at[lane] + static_cast<int32_t>(half);
        at[lane] = column[middle] <= first + lane ? middle : at[lane];
      }
      length -= half;
    }
    uint64_t there = 0;
    for (uint32_t lane = 0; lane < kBlock; lane++) {
      there |= static_cast<uint64_t>(column[at[lane]] == first + lane) << lane;
    }
    return there;
  }
};

// Only the tokens with each beam's highest logits are searched; the others are lost, whether they are items or not.
class PpvApproximate : public Rival {
 public:
  SortedSids sids;
  uint32_t verified;

  void look_ahead(const Call &call) override {
    for (uint32_t beam = 0; beam < call.beam_count; beam++) {
      __builtin_prefetch(sids.columns[call.depth] + call.batch.node_lo[beam]);
    }
  }

  void offer(const Call &call, uint32_t beam, Best &best) override {
    const Node range = {call.batch.node_lo[beam], call.batch.node_hi[beam]};
    if (range.lo == range.hi) return;
    top_.clear();
    for_each_block(call, beam, top_, [&](uint32_t first, uint64_t bits) {
      offer_bits(call, beam, first, bits, top_, [](uint32_t) { return 0u; });
    });
    const uint32_t *column = sids.columns[call.depth];
    for (const Candidate &candidate : top_.finish()) {
      if (candidate.score < best.bound()) break;
      const bool is_there = std::binary_search(column + range.lo, column + range.hi, candidate.code);
      if (is_there) best.offer(candidate);
    }
  }

  bool lead(const Call &call, const Candidate &winner, Node &to) override {
    const Node range = {call.batch.node_lo[winner.beam], call.batch.node_hi[winner.beam]};
    to = sids.narrow(call.depth, range, winner.code);
    return true;
  }

  explicit PpvApproximate(uint32_t count) : verified(count), top_(count) {}

 private:
  Best top_;
};

}  // namespace rivals
