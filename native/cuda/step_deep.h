// Rows at depth 2 and below, where a node is a range of leaves. One warp looks at a node of few leaves at once, a leaf a
// lane: most have one, and then one chain of loads is all there is. Larger nodes are walked by the words of their bits.
#pragma once

#include "step_best.h"
#include "step_sum.h"

namespace espalier::cuda {

// The live children of a node of many leaves. A child is reported by its first live leaf, without a set by its first one.
struct DeepWalk {
  const Reach *reach;
  const esp_trie_arrays *trie;
  const uint64_t *starts;
  uint32_t depth;
  uint32_t lo;
  uint32_t hi;

  __device__ DeepWalk(const RequestView &view, uint32_t from, uint32_t to)
      : reach(view.reach), trie(view.reach->trie), starts(trie->new_prefix[view.args.depth]), depth(view.args.depth), lo(from), hi(to) {}

  // A warp takes so many words at a time, one a lane.
  __device__ uint32_t tile_count() const { return ((hi - 1) / 64 - lo / 64) / kWarpSize + 1; }

  __device__ uint32_t code_at(uint32_t leaf) const {
    return code_of(trie->rows, trie->is_wide, uint64_t{leaf} * trie->level_count + depth);
  }

  // The leaves of a word of a tile that report live children. By a whole warp.
  __device__ uint64_t reporters(uint32_t tile) const {
    const Word word = word_of(tile);
    const uint32_t starting = __ballot_sync(kWholeWarp, word.starts != 0);
    const uint32_t living = __ballot_sync(kWholeWarp, word.lives_on());
    // Live leaves of a child that began in a word before.
    const uint64_t carried = word.live & (word.starts == 0 ? ~uint64_t{0} : low_bits(static_cast<uint32_t>(ESP_LOW_ZEROS(word.starts))));
    const uint32_t begun = starting & lanes_before();
    const uint32_t since = begun == 0 ? lanes_before() : lanes_before() & ~((1u << highest_lane(begun)) - 1);
    bool is_reported = (living & since) != 0;
    const bool must_look_back = carried != 0 && begun == 0 && !is_reported;
    if (__ballot_sync(kWholeWarp, must_look_back) != 0) {
      const bool has_lived = has_lived_before(tile);
      is_reported |= begun == 0 && has_lived;
    }
    uint64_t found = carried != 0 && !is_reported ? carried & -carried : 0;
    for (uint64_t left = word.live & ~carried; left != 0;) {
      const uint64_t first = left & -left;
      found |= first;
      const uint64_t next = word.starts & ~(first | (first - 1));
      left = next == 0 ? 0 : left & ~((next & -next) - 1);
    }
    return found;
  }

  // Whether the child of a live leaf, its first, keeps a leaf after the request's exclusions.
  __device__ bool survives_from(uint32_t leaf) const {
    if (reach->dead_count == 0) return true;
    for (;;) {
      if (survives(*reach, leaf, leaf + 1)) return true;
      const uint32_t next = reach->leaf_bits == nullptr ? leaf + 1 : next_bit(reach->leaf_bits, leaf + 1, hi);
      if (next >= hi || next_bit(starts, leaf + 1, next + 1) <= next) return false;
      leaf = next;
    }
  }

 private:
  struct Word {
    uint64_t starts;
    uint64_t live;
    // Whether the last child that the word knows of has a live leaf in it.
    __device__ bool lives_on() const {
      return (starts == 0 ? live : live & ~low_bits(63 - static_cast<uint32_t>(ESP_HIGH_ZEROS(starts)))) != 0;
    }
  };

  __device__ Word word_of(uint32_t tile) const {
    const uint64_t at = uint64_t{lo} / 64 + uint64_t{tile} * kWarpSize + lane_index();
    if (at > (hi - 1) / 64) return {0, 0};
    uint64_t range = ~uint64_t{0};
    if (at == lo / 64) range &= ~low_bits(lo % 64);
    if (at == (hi - 1) / 64) range &= low_bits((hi - 1) % 64 + 1);
    Word word;
    word.starts = starts[at] & range;
    if (at == lo / 64) word.starts |= uint64_t{1} << (lo % 64);
    word.live = reach->leaf_bits == nullptr ? word.starts : reach->leaf_bits[at] & range;
    return word;
  }

  // Whether the child that goes on into a tile has a live leaf before it. By a whole warp.
  __device__ bool has_lived_before(uint32_t tile) const {
    while (tile-- > 0) {
      const Word word = word_of(tile);
      const uint32_t starting = __ballot_sync(kWholeWarp, word.starts != 0);
      const uint32_t living = __ballot_sync(kWholeWarp, word.lives_on());
      const uint32_t since = starting == 0 ? kWholeWarp : ~((1u << highest_lane(starting)) - 1);
      if ((living & since) != 0) return true;
      if (starting != 0) return false;
    }
    return false;
  }
};

template <class Logit>
struct DeepRow {
  const RequestView &view;
  Shared &shared;
  LogitRow<Logit> row;
  uint32_t beam;
  // The scout's: of a node of few leaves, the child that begins at its lane's.
  bool is_child = false;
  uint32_t code = 0;
  float logit = -INFINITY;
  Place leaves = {0, 0};

  __device__ DeepRow(const RequestView &request, Shared &memory, uint32_t index)
      : view(request), shared(memory), row(request.row_of<Logit>(index)), beam(index) {}

  __device__ bool is_few(const RowNode &node) const { return node.hi - node.lo <= kFewLeaves; }

  // By the scout: looks at a node of few leaves, so that what its children need from memory comes while logits are summed.
  __device__ void scout(uint32_t lo, uint32_t hi) {
    const esp_trie_arrays &trie = *view.reach->trie;
    const bool is_inside = lo < hi && hi <= trie.leaf_count;
    // Looked at last: until then all loads are on their way.
    const bool is_whole = is_inside && is_node_as_far(trie.new_prefix[view.args.depth - 1], lo, hi);
    RowNode node = {};
    node.lo = lo;
    node.hi = hi;
    const uint32_t count = hi - lo;
    const bool has_few = is_inside && is_few(node);
    const bool is_leaf = has_few && lane_index() < count;
    const uint32_t leaf = lo + lane_index();
    bool is_live = false;
    if (is_leaf) {
      const uint64_t *leaf_bits = view.reach->leaf_bits;
      code = code_of(trie.rows, trie.is_wide, uint64_t{leaf} * trie.level_count + view.args.depth);
      is_live = leaf_bits == nullptr || (leaf_bits[leaf / 64] >> (leaf % 64) & 1) != 0;
    }
    node.is_node = __ballot_sync(kWholeWarp, is_whole) == kWholeWarp;
    if (lane_index() == 0) shared.node = node;
    if (node.is_node == 0 || !has_few) return;
    // A child begins where the code changes.
    const uint32_t code_before = __shfl_up_sync(kWholeWarp, code, 1u);
    const bool begins = is_leaf && (lane_index() == 0 || code != code_before);
    const uint32_t beginning = __ballot_sync(kWholeWarp, begins);
    const uint32_t living = __ballot_sync(kWholeWarp, is_live);
    if (!begins) return;
    const uint32_t after = beginning & ~(lanes_before() << 1 | 1);
    const uint32_t end = after == 0 ? count : lowest_lane(after);
    leaves = {leaf, lo + end};
    const uint32_t own = static_cast<uint32_t>(low_bits(end)) & ~lanes_before();
    if ((living & own) == 0 || !survives(*view.reach, leaves.lo, leaves.hi)) return;
    if (code >= view.args.code_count) {
      atomicOr(&shared.is_damaged, 1u);
      return;
    }
    is_child = true;
    logit = row.at(view.token_of(code));
  }

  // Calls visit(code) for each live child that is this thread's.
  template <class Visit>
  __device__ void visit_live(Visit &&visit) {
    if (is_few(shared.node)) {
      if (is_child) visit(code);
      return;
    }
    const DeepWalk walk(view, shared.node.lo, shared.node.hi);
    const uint32_t tiles = walk.tile_count();
    for (uint32_t tile = warp_index(); tile < tiles; tile += kWarps) {
      for (uint64_t left = walk.reporters(tile); left != 0; left &= left - 1) {
        const uint32_t found = code_of_reporter(walk, leaf_of(walk, tile, left));
        if (found != kNone) visit(found);
      }
    }
  }

  // @return how many keys the row leaves, in `keys`
  __device__ uint32_t leave(float normalizer, uint64_t *keys, Place *places, uint32_t) {
    const float beam_score = view.beam_score(beam);
    if (!is_few(shared.node)) return leave_best(normalizer, beam_score, keys, places);
    if (warp_index() != kScout) return 0;
    const uint32_t score = is_child ? key_of_logit(logit, normalizer, beam_score) : 0;
    const uint32_t lanes = __ballot_sync(kWholeWarp, score != 0);
    if (score != 0) {
      const uint32_t at = count_lanes(lanes & lanes_before());
      keys[at] = candidate_key(score, beam, code);
      places[at] = leaves;
    }
    return count_lanes(lanes);
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  // Whether leaves [lo, hi) are those of one node, as far as a lane's words of its level's bits say: it begins at the first
  // and no other does, but for the next one, at `hi`.
  __device__ static bool is_node_as_far(const uint64_t *starts, uint32_t lo, uint32_t hi) {
    const uint64_t first = lo / 64;
    const uint64_t last = hi / 64;
    bool is_so = true;
    for (uint64_t at = first + lane_index(); at <= last; at += kWarpSize) {
      uint64_t range = ~uint64_t{0};
      uint64_t expected = 0;
      if (at == first) {
        range &= ~low_bits(lo % 64);
        expected |= uint64_t{1} << (lo % 64);
      }
      if (at == last) {
        range &= low_bits(hi % 64 + 1);
        expected |= uint64_t{1} << (hi % 64);
      }
      is_so &= (starts[at] & range) == expected;
    }
    return is_so;
  }

  __device__ static uint32_t leaf_of(const DeepWalk &walk, uint32_t tile, uint64_t reporters) {
    const uint64_t word = uint64_t{walk.lo} / 64 + uint64_t{tile} * kWarpSize + lane_index();
    return static_cast<uint32_t>(word * 64 + static_cast<uint64_t>(ESP_LOW_ZEROS(reporters)));
  }

  // The code of a child that exclusions leave, or kNone.
  __device__ uint32_t code_of_reporter(const DeepWalk &walk, uint32_t leaf) {
    if (!walk.survives_from(leaf)) return kNone;
    const uint32_t found = walk.code_at(leaf);
    if (found < view.args.code_count) return found;
    atomicOr(&shared.is_damaged, 1u);
    return kNone;
  }

  __device__ uint32_t leave_best(float normalizer, float beam_score, uint64_t *keys, Place *places) {
    const DeepWalk walk(view, shared.node.lo, shared.node.hi);
    const uint32_t tiles = walk.tile_count();
    Best best(shared, best_list(view.args.most_children), view.beam_width);
    for (uint32_t from = 0; from < tiles; from += kWarps) {
      const uint32_t tile = from + warp_index();
      uint64_t left = tile < tiles ? walk.reporters(tile) : 0;
      while (__syncthreads_or(left != 0)) {
        uint64_t key = 0;
        uint32_t leaf = 0;
        if (left != 0) {
          leaf = leaf_of(walk, tile, left);
          left &= left - 1;
          const uint32_t found = code_of_reporter(walk, leaf);
          const uint32_t score = found == kNone ? 0 : key_of_logit(row.at(view.token_of(found)), normalizer, beam_score);
          if (score != 0) key = candidate_key(score, beam, found);
        }
        best.offer(key, {leaf, 0});
      }
    }
    best.keep_best();
    const List list = best_list(view.args.most_children);
    for (uint32_t at = threadIdx.x; at < best.count(); at += kThreads) {
      keys[at] = list.keys[at];
      places[at] = list.places[at];
    }
    return best.count();
  }
};

}  // namespace espalier::cuda
