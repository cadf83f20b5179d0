// The shared memory of a block.
#pragma once

#include "step_view.h"

namespace espalier::cuda {

constexpr uint32_t kDigitBits = 10;
constexpr uint32_t kBins = 1u << kDigitBits;
// A bit of a level's mask for each lane of a warp.
constexpr uint32_t kGroupCodes = kWarpSize;
// Groups whose live codes are found while logits are summed: all of 8,192 codes.
constexpr uint32_t kScoutedGroups = 256;

// The node of a row's beam.
struct RowNode {
  uint32_t is_node;
  // Depth 0 and 1: the number among the nodes of level 0, and its children's on level 1, of which those from dead_from to
  // dead_to among the request's dead nodes are dead.
  uint32_t parent;
  uint32_t first;
  uint32_t end;
  uint32_t dead_from;
  uint32_t dead_to;
  // The node's child mask, or kNoMask; unused at depth 0.
  uint32_t mask;
  // Deeper: its leaves.
  uint32_t lo;
  uint32_t hi;
};

struct Shared {
  double sums[kWarps];
  uint64_t lows[kWarps];
  uint64_t highs[kWarps];
  float shifts[kWarps];
  uint32_t totals[kWarps];
  uint32_t histogram[kBins];
  uint32_t live[kScoutedGroups];
  RowNode node;
  // What the search for a bound found: a bin, and how many keys are above and in it.
  uint32_t bin;
  uint32_t above;
  uint32_t inside;
  // Where the next key of a list goes.
  uint32_t cursor;
  uint32_t first_bad;
  uint32_t is_damaged;
  uint32_t is_last;
  // Whether a child that has won is known by a leaf only.
  uint32_t must_find_ranges;
};

// Keys with their places, in shared memory.
struct List {
  uint64_t *keys;
  Place *places;
  uint32_t room;
};

// The M best so far, and what came since.
ESP_HD constexpr uint32_t best_room(uint32_t width) { return width + 512; }
// Groups that reach a bound: it may lie so much lower than it could.
ESP_HD constexpr uint32_t hot_limit(uint32_t width) { return width + width / 8; }
ESP_HD constexpr uint32_t hot_room(uint32_t width) { return hot_limit(width) + 8; }

ESP_HD constexpr uint32_t fixed_shared_bytes() { return (sizeof(Shared) + 15) / 16 * 16; }
ESP_HD constexpr uint32_t shared_bytes_of(uint32_t most_children, bool is_deep) {
  const uint32_t entries = best_room(most_children) + (is_deep ? 0 : hot_room(most_children));
  return fixed_shared_bytes() + entries * static_cast<uint32_t>(sizeof(uint64_t) + sizeof(Place));
}
// What every device gives a block without being asked for more, which a launch does not do.
constexpr uint32_t kMostSharedBytes = 49152;
static_assert(shared_bytes_of(ESP_MAX_BEAM_WIDTH, false) <= kMostSharedBytes && shared_bytes_of(ESP_MAX_BEAM_WIDTH, true) <= kMostSharedBytes);

__device__ inline Shared &shared_of_block() { return *reinterpret_cast<Shared *>(shared_bytes()); }

// @param most_children the launch's, not the request's
__device__ inline List best_list(uint32_t most_children) {
  uint64_t *keys = reinterpret_cast<uint64_t *>(shared_bytes() + fixed_shared_bytes());
  const uint32_t room = best_room(most_children);
  return {keys, reinterpret_cast<Place *>(keys + room), room};
}
__device__ inline List hot_list(uint32_t most_children) {
  const List best = best_list(most_children);
  uint64_t *keys = reinterpret_cast<uint64_t *>(best.places + best.room);
  const uint32_t room = hot_room(most_children);
  return {keys, reinterpret_cast<Place *>(keys + room), room};
}

}  // namespace espalier::cuda
