// One beam's part of a step, as a block sees it.
#pragma once

#include "step_args.h"
#include "step_logits.h"
#include "step_scratch.h"

namespace espalier::cuda {

// The warp after those that sum logits finds out, while they do, what the row may reach.
constexpr uint32_t kSumWarps = 8;
constexpr uint32_t kWarps = kSumWarps + 1;
constexpr uint32_t kThreads = kWarps * kWarpSize;
constexpr uint32_t kScout = kSumWarps;

struct RequestView {
  const StepArgs &args;
  const RequestArgs &asked;
  uint32_t request;
  const Reach *reach;
  uint32_t beam_width;

  __device__ RequestView(const StepArgs &step, uint32_t index)
      : args(step), asked(step.requests[index]), request(index), reach(asked.reach), beam_width(asked.beam_width) {}

  __device__ uint32_t beam_count() const { return args.beam_counts == nullptr ? 1 : args.beam_counts[request]; }
  // Whether there can be so many: else the request's beams are no nodes.
  __device__ bool has_room(uint32_t beams) const { return beams <= (args.depth == 0 ? 1 : args.most_beams); }
  __device__ float beam_score(uint32_t beam) const { return args.scores == nullptr ? 0 : args.scores[asked.first_beam + beam]; }
  __device__ uint32_t token_of(uint32_t code) const {
    return args.token_table != nullptr ? args.token_table[code] : args.token_offset + code;
  }
  template <class Logit>
  __device__ LogitRow<Logit> row_of(uint32_t beam) const {
    const uint64_t row = uint64_t{asked.first_row} + beam;
    return {static_cast<const Logit *>(args.logits) + row * args.vocab_size, asked.temperature};
  }
};

// A candidate's score as a key; 0 where there is no such candidate. Nothing is multiplied, so that nothing is contracted:
// each operation is rounded to float32, as on every CPU.
__device__ inline uint32_t key_of_logit(float logit, float normalizer, float beam_score) {
  const float score = beam_score + (logit - normalizer);
  return logit > -INFINITY && score == score ? order_key(score) : 0;
}

}  // namespace espalier::cuda
