// What the last block of a request does: finds the best children among what its rows have left.
#pragma once

#include "step_deep.h"
#include "step_dense.h"

namespace espalier::cuda {

template <class Logit, bool kDeep>
struct Selection {
  const RequestView &view;
  Shared &shared;
  StepScratch scratch;
  uint32_t beam_count;
  // Of the request's rows of results, keys and places.
  uint64_t first_row;

  __device__ Selection(const RequestView &request, Shared &memory, const StepScratch &left, uint32_t beams)
      : view(request), shared(memory), scratch(left), beam_count(beams), first_row(uint64_t{request.request} * request.args.most_beams) {}

  __device__ void run() {
    if (threadIdx.x == 0) {
      shared.cursor = 0;
      shared.first_bad = UINT32_MAX;
      shared.is_damaged = 0;
      shared.must_find_ranges = 0;
    }
    __syncthreads();
    if (!view.has_room(beam_count)) return finish(0, kNoNodes);
    const uint32_t key_count = gather_states();
    __syncthreads();
    if (shared.is_damaged != 0) return finish(0, kNoNodes);
    if (shared.first_bad != UINT32_MAX) return finish(0, static_cast<int32_t>(shared.first_bad));
    Best best(shared, best_list(view.args.most_children), view.beam_width);
    if (kDeep) {
      uint64_t bound;
      best.adopt(gather(best_list(view.args.most_children), key_count, bound));
    } else {
      const List hot = hot_list(view.args.most_children);
      uint64_t bound;
      const uint32_t groups = gather(hot, key_count, bound);
      expand(hot, groups, bound, best);
    }
    const uint32_t count = best.rank([&](uint32_t rank, uint64_t key, Place place) { write(rank, key, place); });
    if (kDeep) find_ranges(count);
    finish(count, kFineBeams);
  }

 private:
  __device__ RowResult &result_of(uint32_t beam) const { return scratch.rows[first_row + beam]; }
  __device__ uint64_t slots_of(uint32_t beam) const { return (first_row + beam) * scratch.room; }
  // [rows] the keys of rows before, as long as no bound is searched for.
  __device__ uint32_t *key_starts() { return shared.histogram; }

  __device__ void finish(uint32_t count, int32_t bad_beam) {
    if (threadIdx.x != 0) return;
    const StepArgs &args = view.args;
    args.out_counts[view.request] = count;
    args.out_bad_beams[view.request] = bad_beam;
    const bool is_bad = bad_beam >= 0;
    if (args.out_bad_tokens != nullptr) args.out_bad_tokens[view.request] = is_bad ? result_of(static_cast<uint32_t>(bad_beam)).bad_token : 0;
    if (args.out_bad_values != nullptr) args.out_bad_values[view.request] = is_bad ? result_of(static_cast<uint32_t>(bad_beam)).bad_value : 0;
  }

  // What became of the rows. @return how many keys they have left
  __device__ uint32_t gather_states() {
    constexpr uint32_t kEach = kBins / (kSumWarps * kWarpSize);
    static_assert(kBins >= ESP_MAX_BEAM_WIDTH, "each row has a place");
    uint32_t counts[kEach];
    uint32_t own = 0;
#pragma unroll
    for (uint32_t at = 0; at < kEach; at++) {
      const uint32_t beam = threadIdx.x * kEach + at;
      counts[at] = 0;
      if (beam >= beam_count) continue;
      const RowResult &result = result_of(beam);
      counts[at] = result.count;
      own += counts[at];
      if (result.state == kRowBadLogit) atomicMin(&shared.first_bad, beam);
      if (result.state == kRowNoNode) atomicOr(&shared.is_damaged, 1u);
    }
    uint32_t all;
    uint32_t before = sum_before(shared, own, all);
#pragma unroll
    for (uint32_t at = 0; at < kEach; at++) {
      const uint32_t beam = threadIdx.x * kEach + at;
      if (beam < beam_count) key_starts()[beam] = before;
      before += counts[at];
    }
    return all;
  }

  // Lists all keys, or where they are too many those that reach a bound: at least as many as can win. @return how many
  __device__ uint32_t gather(const List &list, uint32_t key_count, uint64_t &bound) {
    bound = 1;
    if (key_count <= list.room) {
      for (uint32_t at = threadIdx.x; at < key_count; at += kThreads) {
        const uint32_t beam = row_of_key(at);
        take(list, slots_of(beam) + (at - key_starts()[beam]), bound);
      }
    } else {
      bound = bound_of(
          shared, [&](auto &&visit) { visit_slots([&](uint64_t slot) { visit(scratch.keys[slot]); }); }, view.beam_width,
          hot_limit(view.beam_width));
      visit_slots([&](uint64_t slot) { take(list, slot, bound); });
    }
    __syncthreads();
    const uint32_t count = shared.cursor < list.room ? shared.cursor : list.room;
    __syncthreads();
    if (threadIdx.x == 0) shared.cursor = kDeep ? count : 0;
    __syncthreads();
    return count;
  }

  __device__ void take(const List &list, uint64_t slot, uint64_t bound) {
    const uint64_t key = scratch.keys[slot];
    const Place place = scratch.places[slot];
    if (key < bound) return;
    const uint32_t to = atomicAdd(&shared.cursor, 1u);
    // Only damaged tries have so many: equal keys.
    if (to >= list.room) return;
    list.keys[to] = key;
    list.places[to] = place;
  }

  __device__ uint32_t row_of_key(uint32_t at) {
    uint32_t row = 0;
    for (uint32_t left = beam_count; left > 1;) {
      const uint32_t half = left / 2;
      row += key_starts()[row + half] <= at ? half : 0;
      left -= half;
    }
    return row;
  }

  // A row a warp.
  template <class Visit>
  __device__ void visit_slots(Visit &&visit) {
    for (uint32_t beam = warp_index(); beam < beam_count; beam += kWarps) {
      const uint32_t count = result_of(beam).count;
      for (uint32_t at = lane_index(); at < count; at += kWarpSize) visit(slots_of(beam) + at);
    }
  }

  // Groups that a warp looks at together, so that their logits come together.
  static constexpr uint32_t kAtOnce = 4;

  // The children of groups that reach the bound: often few more than can win, and then one pass is enough.
  __device__ void expand(const List &hot, uint32_t group_count, uint64_t bound, Best &best) {
    const List list = best_list(view.args.most_children);
    for (uint32_t from = warp_index() * kAtOnce; from < group_count; from += kWarps * kAtOnce) {
      uint64_t keys[kAtOnce];
#pragma unroll
      for (uint32_t at = 0; at < kAtOnce; at++) keys[at] = child_key(hot, from + at, group_count);
#pragma unroll
      for (uint32_t at = 0; at < kAtOnce; at++) {
        if (keys[at] < bound) continue;
        const uint32_t to = atomicAdd(&shared.cursor, 1u);
        if (to >= list.room) continue;
        list.keys[to] = keys[at];
        list.places[to] = child_place(hot, from + at);
      }
    }
    __syncthreads();
    const uint32_t found = shared.cursor;
    if (found <= list.room) return best.adopt(found);
    __syncthreads();
    if (threadIdx.x == 0) shared.cursor = 0;
    __syncthreads();
    best.raise_bound(bound);
    for (uint32_t from = 0; from < group_count; from += kWarps) {
      const uint32_t at = from + warp_index();
      const uint64_t key = child_key(hot, at, group_count);
      best.offer(key, key == 0 ? Place{0, 0} : child_place(hot, at));
    }
  }

  // The child that this thread's lane has in a group, or 0.
  __device__ uint64_t child_key(const List &hot, uint32_t at, uint32_t group_count) {
    if (at >= group_count) return 0;
    const uint64_t key = hot.keys[at];
    const Place place = hot.places[at];
    if (place.hi != 0) return lane_index() == 0 ? key : 0;
    if ((place.lo >> lane_index() & 1) == 0) return 0;
    const uint32_t beam = beam_of(key);
    const uint32_t code = code_of(key) / kGroupCodes * kGroupCodes + lane_index();
    const float logit = view.row_of<Logit>(beam).at(view.token_of(code));
    const uint32_t score = key_of_logit(logit, result_of(beam).normalizer, view.beam_score(beam));
    return score == 0 ? 0 : candidate_key(score, beam, code);
  }

  __device__ Place child_place(const List &hot, uint32_t at) {
    const Place place = hot.places[at];
    return place.hi != 0 ? place : Place{0, 0};
  }

  __device__ void write(uint32_t rank, uint64_t key, Place place) {
    const StepArgs &args = view.args;
    const uint32_t to = view.asked.first_child + rank;
    const uint32_t beam = beam_of(key);
    const uint32_t code = code_of(key);
    args.out_scores[to] = score_of(espalier::score_key_of(key));
    args.out_parents[to] = beam;
    args.out_codes[to] = code;
    if (kDeep) {
      args.out_lo[to] = place.lo;
      args.out_hi[to] = place.hi;
      if (place.hi == 0) shared.must_find_ranges = 1;
      return;
    }
    const DenseTrie dense(view);
    const uint32_t node = place.hi != 0 ? place.lo : dense.child_of(result_of(beam).parent, code);
    const uint32_t *starts = dense.trie->top_levels[args.depth].leaf_start + node;
    args.out_lo[to] = starts[0];
    args.out_hi[to] = starts[1];
  }

  // Where the children begin and end of which only a leaf is known, a warp each.
  __device__ void find_ranges(uint32_t count) {
    __syncthreads();
    if (shared.must_find_ranges == 0) return;
    const StepArgs &args = view.args;
    for (uint32_t rank = warp_index(); rank < count; rank += kWarps) {
      const uint32_t at = view.asked.first_child + rank;
      if (args.out_hi[at] != 0) continue;
      const uint32_t beam = view.asked.first_beam + args.out_parents[at];
      const uint64_t *starts = view.reach->trie->new_prefix[args.depth];
      const uint32_t leaf = args.out_lo[at];
      const uint32_t lo = previous_start(starts, args.node_lo[beam], leaf);
      const uint32_t hi = next_start(starts, leaf + 1, args.node_hi[beam]);
      __syncwarp();
      if (lane_index() == 0) {
        args.out_lo[at] = lo;
        args.out_hi[at] = hi;
      }
    }
  }

  // previous_bit and next_bit by a whole warp, 32 words at a time.
  __device__ static uint32_t previous_start(const uint64_t *bits, uint32_t from, uint32_t at) {
    const uint64_t last = at / 64;
    for (uint64_t back = 0;; back += kWarpSize) {
      const uint64_t steps = back + lane_index();
      uint64_t word = 0;
      if (steps <= last && last - steps >= from / 64) {
        word = bits[last - steps];
        if (steps == 0) word &= low_bits(at % 64 + 1);
      }
      const uint32_t lanes = __ballot_sync(kWholeWarp, word != 0);
      if (lanes == 0) {
        if (back + kWarpSize > last || last - back - kWarpSize < from / 64) return from;
        continue;
      }
      const uint32_t lane = lowest_lane(lanes);
      const uint64_t found_word = __shfl_sync(kWholeWarp, word, static_cast<int>(lane));
      const uint64_t found = (last - back - lane) * 64 + 63 - static_cast<uint64_t>(ESP_HIGH_ZEROS(found_word));
      return found > from ? static_cast<uint32_t>(found) : from;
    }
  }

  __device__ static uint32_t next_start(const uint64_t *bits, uint32_t from, uint32_t to) {
    if (from >= to) return to;
    const uint64_t last = (to - 1) / 64;
    for (uint64_t first = from / 64; first <= last; first += kWarpSize) {
      const uint64_t at = first + lane_index();
      uint64_t word = at <= last ? bits[at] : 0;
      if (at == from / 64) word &= ~low_bits(from % 64);
      const uint32_t lanes = __ballot_sync(kWholeWarp, word != 0);
      if (lanes == 0) continue;
      const uint32_t lane = lowest_lane(lanes);
      const uint64_t found_word = __shfl_sync(kWholeWarp, word, static_cast<int>(lane));
      const uint64_t found = (first + lane) * 64 + static_cast<uint64_t>(ESP_LOW_ZEROS(found_word));
      return found < to ? static_cast<uint32_t>(found) : to;
    }
    return to;
  }
};

}  // namespace espalier::cuda
