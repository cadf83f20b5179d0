// Rows at depth 0 and 1. Children of the root, and of nodes that have a mask of the trie's, are looked at in groups of 32
// codes, a lane each: the row leaves the best child of each group, and only groups that reach the bound of all rows are
// looked at again. Other nodes' children are few or sparse, and each is a candidate of its own.
#pragma once

#include "step_best.h"
#include "step_sum.h"

namespace espalier::cuda {

struct DenseTrie {
  const Reach *reach;
  const esp_trie_arrays *trie;
  uint32_t depth;
  uint32_t code_count;

  __device__ DenseTrie(const RequestView &view)
      : reach(view.reach), trie(view.reach->trie), depth(view.args.depth), code_count(view.args.code_count) {}

  __device__ uint32_t group_count() const { return (code_count + kGroupCodes - 1) / kGroupCodes; }
  __device__ uint64_t word_count() const { return (uint64_t{code_count} + 63) / 64; }

  // A group's codes that a mask has; what lies beyond the codebook means nothing.
  __device__ uint32_t half_of(uint64_t word, uint32_t group) const {
    const uint32_t left = code_count - group * kGroupCodes;
    return static_cast<uint32_t>(word >> (group % 2 * kGroupCodes) & low_bits(left < kGroupCodes ? left : kGroupCodes));
  }

  // The level-0 node of leaves [lo, hi), or UINT32_MAX; by a whole warp, which probes 32 starts at a time.
  __device__ uint32_t find_parent(uint32_t lo, uint32_t hi) const {
    const esp_top_level &level = trie->top_levels[0];
    const uint32_t *starts = level.leaf_start;
    uint32_t first = 0;
    for (uint32_t count = level.node_count; count > 1;) {
      const uint32_t part = (count + kWarpSize - 1) / kWarpSize;
      const uint32_t at = lane_index() * part;
      const bool is_before = at < count && starts[first + at] <= lo;
      const uint32_t lanes = __ballot_sync(kWholeWarp, is_before);
      if (lanes == 0) return UINT32_MAX;
      const uint32_t from = highest_lane(lanes) * part;
      first += from;
      count = count - from < part ? count - from : part;
    }
    return starts[first] == lo && starts[first + 1] == hi ? first : UINT32_MAX;
  }

  // By a whole warp. @return the same in all lanes
  __device__ RowNode find(uint32_t lo, uint32_t hi) const {
    RowNode node = {};
    if (depth == 0) {
      node.is_node = lo == 0 && hi == trie->leaf_count;
      return node;
    }
    node.parent = find_parent(lo, hi);
    if (node.parent == UINT32_MAX) return node;
    node.is_node = 1;
    node.first = trie->top_levels[0].first_child[node.parent];
    node.end = trie->top_levels[0].first_child[node.parent + 1];
    node.mask = reach->roots.mask_of_node[node.parent];
    if (reach->dead_node_count > 0) {
      node.dead_from = lower_bound(reach->dead_nodes, reach->dead_node_count, node.first);
      node.dead_to = lower_bound(reach->dead_nodes, reach->dead_node_count, node.end);
    }
    return node;
  }

  __device__ bool is_grouped(const RowNode &node) const { return depth == 0 || node.mask != kNoMask; }

  // The live codes of a group, a bit each.
  __device__ uint32_t live_codes(const RowNode &node, uint32_t group, uint32_t &is_damaged) const {
    if (depth == 0) return half_of(reach->root_mask[group / 2], group);
    const uint64_t at = node.mask * word_count() + group / 2;
    const uint64_t word = trie->mask_bits[at];
    uint32_t live = half_of(word, group);
    if (live == 0) return 0;
    const uint32_t before = static_cast<uint32_t>(ESP_POPCOUNT(word & low_bits(group % 2 * kGroupCodes)));
    const uint64_t child = uint64_t{node.first} + trie->mask_ranks[at] + before;
    const uint64_t end = child + count_lanes(live);
    if (end > node.end) {
      atomicOr(&is_damaged, 1u);
      return 0;
    }
    if (reach->node_bits != nullptr) {
      const uint64_t words = (uint64_t{trie->top_levels[1].node_count} + 63) / 64;
      live = static_cast<uint32_t>(scatter_bits(bits_at(reach->node_bits, words, child), live));
    }
    if (node.dead_from < node.dead_to) live &= ~dead_codes(node, group, static_cast<uint32_t>(child), static_cast<uint32_t>(end));
    return live;
  }

  // Those of a group's children [child, end) that exclusions have killed.
  __device__ uint32_t dead_codes(const RowNode &node, uint32_t group, uint32_t child, uint32_t end) const {
    uint32_t codes = 0;
    uint32_t dead = node.dead_from + lower_bound(reach->dead_nodes + node.dead_from, node.dead_to - node.dead_from, child);
    for (; dead < node.dead_to && reach->dead_nodes[dead] < end; dead++) {
      const uint32_t code = code_of(trie->top_levels[1].codes, trie->is_wide, reach->dead_nodes[dead]);
      if (code / kGroupCodes == group) codes |= 1u << (code % kGroupCodes);
    }
    return codes;
  }

  // Whether a level-1 node is a live child of `node`.
  __device__ bool is_live(const RowNode &node, uint32_t child) const {
    if (reach->node_bits != nullptr && (reach->node_bits[child / 64] >> (child % 64) & 1) == 0) return false;
    if (node.dead_from >= node.dead_to) return true;
    const uint32_t dead = node.dead_from + lower_bound(reach->dead_nodes + node.dead_from, node.dead_to - node.dead_from, child);
    return dead >= node.dead_to || reach->dead_nodes[dead] != child;
  }

  __device__ uint32_t code_of_child(uint32_t child) const { return code_of(trie->top_levels[1].codes, trie->is_wide, child); }

  // The node of a grouped child: its number among those of its level.
  __device__ uint32_t child_of(uint32_t parent, uint32_t code) const {
    if (depth == 0) return root_node(reach->roots, code);
    const uint64_t at = reach->roots.mask_of_node[parent] * word_count() + code / 64;
    return trie->top_levels[0].first_child[parent] + trie->mask_ranks[at] +
           static_cast<uint32_t>(ESP_POPCOUNT(trie->mask_bits[at] & low_bits(code % 64)));
  }
};

template <class Logit>
struct DenseRow {
  const RequestView &view;
  Shared &shared;
  LogitRow<Logit> row;
  uint32_t beam;
  DenseTrie dense;

  __device__ DenseRow(const RequestView &request, Shared &memory, uint32_t index)
      : view(request), shared(memory), row(request.row_of<Logit>(index)), beam(index), dense(request) {}

  // By the scout: finds the node, and which codes the first groups keep.
  __device__ void scout(uint32_t lo, uint32_t hi) {
    const RowNode node = dense.find(lo, hi);
    if (lane_index() == 0) shared.node = node;
    if (node.is_node == 0 || !dense.is_grouped(node)) return;
    const uint32_t groups = dense.group_count() < kScoutedGroups ? dense.group_count() : kScoutedGroups;
    for (uint32_t group = lane_index(); group < groups; group += kWarpSize) {
      shared.live[group] = dense.live_codes(node, group, shared.is_damaged);
    }
  }

  __device__ uint32_t live_codes(const RowNode &node, uint32_t group) {
    return group < kScoutedGroups ? shared.live[group] : dense.live_codes(node, group, shared.is_damaged);
  }

  // Calls visit(code) for each live child that is this thread's.
  template <class Visit>
  __device__ void visit_live(Visit &&visit) {
    const RowNode &node = shared.node;
    if (dense.is_grouped(node)) {
      for (uint32_t group = warp_index(); group < dense.group_count(); group += kWarps) {
        if ((live_codes(node, group) >> lane_index() & 1) != 0) visit(group * kGroupCodes + lane_index());
      }
      return;
    }
    for (uint32_t child = node.first + threadIdx.x; child < node.end; child += kThreads) {
      if (!dense.is_live(node, child)) continue;
      const uint32_t code = dense.code_of_child(child);
      if (code < dense.code_count) visit(code);
      else atomicOr(&shared.is_damaged, 1u);
    }
  }

  // @return how many keys the row leaves, in `keys`
  __device__ uint32_t leave(float normalizer, uint64_t *keys, Place *places, uint32_t room) {
    const float beam_score = view.beam_score(beam);
    if (!dense.is_grouped(shared.node)) return leave_children(normalizer, beam_score, keys, places);
    const uint32_t groups = dense.group_count();
    if (groups > room) return leave_best_groups(normalizer, beam_score, keys, places);
    for (uint32_t first = warp_index() * kAtOnce; first < groups; first += kWarps * kAtOnce) {
      Place place;
      const uint64_t key = best_of_groups(first, normalizer, beam_score, place);
      if (lane_index() >= kAtOnce || first + lane_index() >= groups) continue;
      keys[first + lane_index()] = key;
      places[first + lane_index()] = place;
    }
    return groups;
  }

 private:
  // Groups that a warp looks at together, so that their logits come together.
  static constexpr uint32_t kAtOnce = 4;

  // The best children of groups [first, first + kAtOnce), that of the nth in lane n.
  __device__ uint64_t best_of_groups(uint32_t first, float normalizer, float beam_score, Place &place) {
    const RowNode &node = shared.node;
    uint32_t live[kAtOnce];
    float logits[kAtOnce];
#pragma unroll
    for (uint32_t at = 0; at < kAtOnce; at++) {
      const uint32_t group = first + at;
      live[at] = group < dense.group_count() ? live_codes(node, group) : 0;
      const bool is_live = (live[at] >> lane_index() & 1) != 0;
      logits[at] = is_live ? row.at(view.token_of(group * kGroupCodes + lane_index())) : -INFINITY;
    }
    uint64_t own = 0;
    place = {0, 0};
#pragma unroll
    for (uint32_t at = 0; at < kAtOnce; at++) {
      const uint32_t key = key_of_logit(logits[at], normalizer, beam_score);
      const uint32_t top = __reduce_max_sync(kWholeWarp, key);
      const uint32_t lanes = __ballot_sync(kWholeWarp, key == top);
      if (lane_index() != at || top == 0) continue;
      own = candidate_key(top, beam, (first + at) * kGroupCodes + lowest_lane(lanes));
      place.lo = live[at];
    }
    return own;
  }

  // As many groups as children can win are enough: one of them is in none but those whose best child is among the best.
  __device__ uint32_t leave_best_groups(float normalizer, float beam_score, uint64_t *keys, Place *places) {
    Best best(shared, best_list(view.args.most_children), view.beam_width);
    const uint32_t groups = dense.group_count();
    for (uint32_t from = 0; from < groups; from += kWarps * kAtOnce) {
      Place place;
      const uint64_t key = best_of_groups(from + warp_index() * kAtOnce, normalizer, beam_score, place);
      best.offer(key, place);
    }
    return write(best, keys, places);
  }

  __device__ uint32_t leave_children(float normalizer, float beam_score, uint64_t *keys, Place *places) {
    const RowNode &node = shared.node;
    Best best(shared, best_list(view.args.most_children), view.beam_width);
    const uint32_t count = node.end - node.first;
    for (uint32_t from = 0; from < count; from += kThreads) {
      const uint32_t child = node.first + from + threadIdx.x;
      uint64_t key = 0;
      if (from + threadIdx.x < count && dense.is_live(node, child)) {
        const uint32_t code = dense.code_of_child(child);
        if (code < dense.code_count) {
          const uint32_t score = key_of_logit(row.at(view.token_of(code)), normalizer, beam_score);
          if (score != 0) key = candidate_key(score, beam, code);
        } else {
          atomicOr(&shared.is_damaged, 1u);
        }
      }
      best.offer(key, {child, 1});
    }
    return write(best, keys, places);
  }

  __device__ uint32_t write(Best &best, uint64_t *keys, Place *places) {
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
