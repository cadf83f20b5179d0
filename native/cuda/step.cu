// One decode step of a batch in one launch: a block for each row of logits, of which the last one of a request to end
// selects its best children.
#include "step_select.h"

namespace espalier::cuda {

namespace {

// The first logit that is NaN or +infinity, in the order in which the normalization reads them.
template <class Logit, class Row>
__device__ void find_bad_logit(const RequestView &view, Shared &shared, Row &row, RowResult &result) {
  const StepArgs &args = view.args;
  const bool is_vocabulary = view.asked.normalize == ESP_VOCABULARY;
  const auto look_at = [&](uint32_t index) {
    const float logit = row.row.at(is_vocabulary ? index : view.token_of(index));
    if (!(logit < INFINITY)) atomicMin(&shared.first_bad, index);
  };
  if (view.asked.normalize == ESP_LIVE) {
    row.visit_live(look_at);
  } else {
    const uint32_t count = is_vocabulary ? args.vocab_size : args.code_count;
    for (uint32_t index = threadIdx.x; index < count; index += kThreads) look_at(index);
  }
  __syncthreads();
  if (shared.first_bad == UINT32_MAX) return;
  result.bad_token = is_vocabulary ? shared.first_bad : view.token_of(shared.first_bad);
  result.bad_value = row.row.at(result.bad_token);
}

// One row: its normalizer, and the keys of those of its children that may be among the best.
template <class Logit, class Row>
__device__ void run_row(const RequestView &view, Shared &shared, const StepScratch &scratch, uint32_t beam) {
  const StepArgs &args = view.args;
  Row row(view, shared, beam);
  LogSum sum;
  if (warp_index() == kScout) {
    if (lane_index() == 0) {
      shared.cursor = 0;
      shared.first_bad = UINT32_MAX;
      shared.is_damaged = 0;
    }
    __syncwarp();
    const bool is_root = args.beam_counts == nullptr;
    const uint64_t at = uint64_t{view.asked.first_beam} + beam;
    row.scout(is_root ? 0 : args.node_lo[at], is_root ? view.reach->trie->leaf_count : args.node_hi[at]);
  } else if (view.asked.normalize != ESP_LIVE) {
    add_normalized(sum, view, row.row, threadIdx.x, kSumWarps * kWarpSize);
  }
  if (view.asked.normalize == ESP_LIVE) {
    __syncthreads();
    if (shared.node.is_node != 0) row.visit_live([&](uint32_t code) { sum.add(row.row.at(view.token_of(code))); });
  }
  RowResult result = {};
  result.normalizer = log_of_block(shared, sum);
  result.parent = shared.node.parent;
  if (shared.node.is_node == 0) {
    result.state = kRowNoNode;
  } else if (result.normalizer != result.normalizer) {
    result.state = kRowBadLogit;
    find_bad_logit<Logit>(view, shared, row, result);
  } else {
    const uint64_t slots = (uint64_t{view.request} * args.most_beams + beam) * scratch.room;
    result.count = row.leave(result.normalizer, scratch.keys + slots, scratch.places + slots, scratch.room);
    __syncthreads();
    if (shared.is_damaged != 0) result.state = kRowNoNode;
  }
  if (threadIdx.x != kScout * kWarpSize) return;
  scratch.rows[uint64_t{view.request} * args.most_beams + beam] = result;
  if (args.out_normalizers != nullptr) args.out_normalizers[uint64_t{view.asked.first_beam} + beam] = result.normalizer;
}

// Whether all other blocks of the request have ended; what they have written can then be read. Tickets wrap around to 0.
__device__ bool is_last_block(Shared &shared, uint32_t *ticket, uint32_t blocks) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    shared.is_last = atomicInc(ticket, blocks - 1) == blocks - 1;
    __threadfence();
  }
  __syncthreads();
  return shared.is_last != 0;
}

template <class Logit, bool kDeep>
struct RowOf {
  using Type = DenseRow<Logit>;
};
template <class Logit>
struct RowOf<Logit, true> {
  using Type = DeepRow<Logit>;
};

template <class Logit, bool kDeep>
__global__ void __launch_bounds__(kThreads) step_kernel(const __grid_constant__ StepArgs args) {
  Shared &shared = shared_of_block();
  const uint32_t request = blockIdx.x / args.most_beams;
  const uint32_t beam = blockIdx.x % args.most_beams;
  const StepScratch scratch = scratch_of(args.scratch, args.request_count, args.most_beams, args.most_children);
  const RequestView view(args, request);
  const uint32_t beam_count = view.beam_count();
  if (view.has_room(beam_count) && beam < beam_count) {
    run_row<Logit, typename RowOf<Logit, kDeep>::Type>(view, shared, scratch, beam);
  }
  if (!is_last_block(shared, scratch.tickets + request, args.most_beams)) return;
  Selection<Logit, kDeep>(view, shared, scratch, beam_count).run();
}

using Kernel = void (*)(StepArgs);

template <bool kDeep>
Kernel kernel_of(esp_logit_type type) {
  switch (type) {
    case ESP_LOGITS_F16:
      return step_kernel<Half, kDeep>;
    case ESP_LOGITS_BF16:
      return step_kernel<BFloat, kDeep>;
    default:
      return step_kernel<float, kDeep>;
  }
}

int launch(const StepArgs &args, void *stream) {
  const bool is_deep = args.depth > 1;
  const Kernel kernel = is_deep ? kernel_of<true>(args.logit_type) : kernel_of<false>(args.logit_type);
  const uint32_t blocks = args.request_count * args.most_beams;
  const uint32_t shared = shared_bytes_of(args.most_children, is_deep);
#if defined(__CUDACC__)
  kernel<<<blocks, kThreads, shared, static_cast<cudaStream_t>(stream)>>>(args);
  return cudaGetLastError();
#else
  return simt::launch(stream, blocks, kThreads, shared, [kernel, args] { kernel(args); });
#endif
}

}  // namespace

uint64_t step_scratch_bytes(const StepShape &shape) {
  const uint64_t rows = uint64_t{shape.request_count < kMostRequests ? shape.request_count : kMostRequests} * shape.most_beams;
  const uint64_t room = row_room(shape.most_children);
  return kTicketBytes + rows * (sizeof(RowResult) + room * (sizeof(uint64_t) + sizeof(Place)));
}

int launch_step(const StepArgs &args, void *stream) {
  // More requests than there are tickets take turns.
  for (uint32_t first = 0; first < args.request_count; first += kMostRequests) {
    StepArgs part = args;
    const uint32_t left = args.request_count - first;
    part.request_count = left < kMostRequests ? left : kMostRequests;
    part.requests += first;
    part.out_counts += first;
    part.out_bad_beams += first;
    if (part.beam_counts != nullptr) part.beam_counts += first;
    if (part.out_bad_tokens != nullptr) part.out_bad_tokens += first;
    if (part.out_bad_values != nullptr) part.out_bad_values += first;
    const int failed = launch(part, stream);
    if (failed != 0) return failed;
  }
  return 0;
}

}  // namespace espalier::cuda
