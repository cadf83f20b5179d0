// The scratch memory of a step, which is what rows leave for the block that selects.
#pragma once

#include "device.h"
#include "step_args.h"

namespace espalier::cuda {

// Requests of a launch. Their tickets lie in front of all else, always at the same place, and are 0 between steps.
constexpr uint32_t kMostRequests = 16384;
constexpr uint64_t kTicketBytes = uint64_t{kMostRequests} * sizeof(uint32_t);

// A node of so few leaves is looked at by one warp at once, and may have as many children, whatever the beam width.
constexpr uint32_t kFewLeaves = kWarpSize;

enum RowState : uint32_t { kRowFine = 0, kRowBadLogit = 1, kRowNoNode = 2 };

struct RowResult {
  // Keys that the row has left; some may be 0.
  uint32_t count;
  RowState state;
  float normalizer;
  // At depth 1 the beam's node of level 0.
  uint32_t parent;
  uint32_t bad_token;
  float bad_value;
  uint32_t unused[2];
};

// What belongs to a key. At depth 2 and below a child's leaves, where `hi` is 0 of the child that has leaf `lo` somewhere.
// Above, `lo` is a child's number among the nodes of its level, or, where `hi` is 0, the live codes of the group of which
// the key is the best.
struct Place {
  uint32_t lo;
  uint32_t hi;
};

struct StepScratch {
  uint32_t *tickets;
  RowResult *rows;
  // [rows, room]
  uint64_t *keys;
  Place *places;
  // A row leaves so many keys at most.
  uint32_t room;
};

ESP_HD inline uint32_t row_room(uint32_t most_children) { return most_children < kFewLeaves ? kFewLeaves : most_children; }

ESP_HD inline StepScratch scratch_of(void *memory, uint32_t request_count, uint32_t most_beams, uint32_t most_children) {
  unsigned char *bytes = static_cast<unsigned char *>(memory);
  const uint64_t rows = uint64_t{request_count} * most_beams;
  StepScratch scratch;
  scratch.room = row_room(most_children);
  scratch.tickets = reinterpret_cast<uint32_t *>(bytes);
  bytes += kTicketBytes;
  scratch.rows = reinterpret_cast<RowResult *>(bytes);
  bytes += rows * sizeof(RowResult);
  scratch.keys = reinterpret_cast<uint64_t *>(bytes);
  bytes += rows * scratch.room * sizeof(uint64_t);
  scratch.places = reinterpret_cast<Place *>(bytes);
  return scratch;
}

}  // namespace espalier::cuda
