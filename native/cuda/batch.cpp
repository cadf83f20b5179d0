// Requests whose beams stay on the device: their arguments lie there, and a step is one launch.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "captures.h"
#include "handles.h"
#include "runs.h"
#include "step_args.h"

namespace espalier::cuda {

namespace {

void check_options(const esp_cuda_batch_options &options) {
  if (options.request_count < 1 || options.beam_width < 1 || options.beam_width > ESP_MAX_BEAM_WIDTH) {
    fail(ESP_STATUS_SHAPE, "a batch must have requests, and 1 to %u beams each, found %u requests of %u", ESP_MAX_BEAM_WIDTH,
         options.request_count, options.beam_width);
  }
  // Blocks of a launch are numbered in 31 bits.
  if (uint64_t{options.request_count} * options.beam_width > INT32_MAX) {
    fail(ESP_STATUS_SHAPE, "a batch must have at most %d beams, found %u requests of %u", INT32_MAX, options.request_count,
         options.beam_width);
  }
  if (options.logit_type < ESP_LOGITS_F32 || options.logit_type > ESP_LOGITS_BF16) {
    fail(ESP_STATUS_SHAPE, "logits must be float32, float16 or bfloat16, found type %d", static_cast<int>(options.logit_type));
  }
  if (options.vocab_size < 1) fail(ESP_STATUS_SHAPE, "the vocabulary must have tokens, found 0");
  if (!(options.temperature > 0) || options.normalize < ESP_VOCABULARY || options.normalize > ESP_LIVE) {
    fail(ESP_STATUS_SHAPE, "the temperature must be above 0 and the normalization known");
  }
}

void check_same_codebooks(const esp_trie_arrays &first, const esp_trie_arrays &other, uint32_t request) {
  if (other.level_count == first.level_count &&
      std::equal(first.codebook_sizes, first.codebook_sizes + first.level_count, other.codebook_sizes)) {
    return;
  }
  fail(ESP_STATUS_SHAPE, "request %u: its trie's levels and codebooks must be those of the batch's other tries", request);
}

}  // namespace

class Batch : public std::enable_shared_from_this<Batch> {
 public:
  Batch(ContextPointer context, const esp_cuda_batch_options &options, esp_cuda_constraint *const *constraints)
      : context_(std::move(context)), options_(options) {
    check_options(options);
    check_array("constraints", constraints, alignof(void *), options.request_count);
    for (uint32_t request = 0; request < options.request_count; request++) {
      constraints_.push_back(checked(constraints[request], request));
    }
    place();
  }

  ~Batch() {
    const DeviceScope scope(context_->device());
    runs_.finish();
    replaced_.clear();
  }
  Batch(const Batch &) = delete;

  const ContextPointer &context() const { return context_; }

  void set_constraint(uint32_t request, esp_cuda_constraint *constraint, cudaStream_t stream) {
    if (request >= options_.request_count) {
      fail(ESP_STATUS_SHAPE, "request must be < %u, found %u", options_.request_count, request);
    }
    const std::shared_ptr<const DeviceConstraint> next = checked(constraint, request);
    if (capture_of(*context_, stream).graph != nullptr) fail(ESP_STATUS_SHAPE, "a constraint is set outside of captures");
    forget_replaced();
    Event copied(*context_);
    const Runs::Run run(*context_, runs_, stream);
    replaced_.push_back({nullptr, std::move(copied), false});
    Replaced &replaced = replaced_.back();
    // Held from here on, whatever fails below: the device may read the one or the other.
    replaced.constraint = std::exchange(constraints_[request], next);
    for (const uint64_t requests_at : {root_requests_at_, requests_at_}) {
      // Pageable memory has been read when the call returns.
      const Reach *reach = next->reach;
      char *to = memory_.at(requests_at + request * sizeof(RequestArgs) + offsetof(RequestArgs, reach));
      context_->check(cudaMemcpyAsync(to, &reach, sizeof reach, cudaMemcpyHostToDevice, stream), "setting a constraint");
    }
    context_->check(cudaEventRecord(replaced.copied.get(), stream), "setting a constraint");
    replaced.is_recorded = true;
  }

  void run(const esp_cuda_batch_step &step, cudaStream_t stream) {
    const esp_trie_arrays &trie = constraints_[0]->trie->host;
    if (step.depth >= trie.level_count) fail(ESP_STATUS_SHAPE, "depth must be < %u, found %u", trie.level_count, step.depth);
    const uint32_t codes = trie.codebook_sizes[step.depth];
    if (step.token_table == nullptr && uint64_t{step.token_offset} + codes > options_.vocab_size) {
      fail(ESP_STATUS_SHAPE, "tokens %u to %llu must be < %u, the vocabulary", step.token_offset,
           static_cast<unsigned long long>(uint64_t{step.token_offset} + codes - 1), options_.vocab_size);
    }
    check_pointers(step);
    const Capture capture = capture_of(*context_, stream);
    if (capture.graph != nullptr) {
      keep_in(capture);
      launch(step, codes, stream);
    } else {
      const Runs::Run run(*context_, runs_, stream);
      launch(step, codes, stream);
    }
  }

 private:
  struct Replaced {
    std::shared_ptr<const DeviceConstraint> constraint;
    // On its stream, what read the constraint has ended once this has come.
    Event copied;
    // False where setting failed half-way: it is held as long as the batch.
    bool is_recorded;
  };

  // A decode's steps are mostly one capture's.
  void keep_in(const Capture &capture) {
    if (capture.id == last_capture_) return;
    keep_with(*context_, capture, shared_from_this());
    last_capture_ = capture.id;
  }

  void launch(const esp_cuda_batch_step &step, uint32_t codes, cudaStream_t stream) const {
    // What others left behind on this thread is not this launch's.
    cudaGetLastError();
    context_->check(static_cast<cudaError_t>(launch_step(arguments(step, codes), stream)), "launching a step");
  }

  std::shared_ptr<const DeviceConstraint> checked(const esp_cuda_constraint *constraint, uint32_t request) const {
    if (constraint == nullptr) fail(ESP_STATUS_SHAPE, "request %u: its constraint must not be null", request);
    const std::shared_ptr<const DeviceConstraint> &found = constraint->on_device;
    if (found->trie->context != context_) fail(ESP_STATUS_SHAPE, "request %u: its constraint is of another context", request);
    check_same_codebooks(constraints_.empty() ? found->trie->host : constraints_[0]->trie->host, found->trie->host, request);
    return found;
  }

  // Arguments for the root, where a request has one row of logits, then for the other depths; then scratch.
  void place() {
    const uint32_t count = options_.request_count;
    const uint32_t width = options_.beam_width;
    const esp_trie_arrays &trie = constraints_[0]->trie->host;
    const uint32_t largest = *std::max_element(trie.codebook_sizes, trie.codebook_sizes + trie.level_count);
    const uint64_t scratch_bytes = step_scratch_bytes({count, width, width, largest});
    Layout layout;
    root_requests_at_ = layout.add_array<RequestArgs>(count);
    requests_at_ = layout.add_array<RequestArgs>(count);
    scratch_at_ = layout.add(scratch_bytes);
    std::vector<RequestArgs> root_requests;
    std::vector<RequestArgs> requests;
    for (uint32_t request = 0; request < count; request++) {
      const Reach *reach = constraints_[request]->reach;
      root_requests.push_back({reach, width, options_.normalize, options_.temperature, request, request, request * width});
      requests.push_back({reach, width, options_.normalize, options_.temperature, request * width, request * width, request * width});
    }
    memory_ = Piece::on_device(*context_, Purpose::kScratch, layout.size(), "a batch");
    context_->small().upload(memory_.at(), {{root_requests_at_, root_requests.data(), count * sizeof(RequestArgs)},
                                            {requests_at_, requests.data(), count * sizeof(RequestArgs)}});
    context_->small().clear(memory_.at(scratch_at_), scratch_bytes);
  }

  void check_pointers(const esp_cuda_batch_step &step) const {
    check_array("logits", step.logits, 16, 1);
    check_array("the token table", step.token_table, 4, step.token_table == nullptr ? 0 : 1);
    const uint64_t read = step.depth > 0 ? 1 : 0;
    check_array("counts", step.counts, 4, read);
    check_array("scores", step.scores, 4, read);
    check_array("nodeLo", step.node_lo, 4, read);
    check_array("nodeHi", step.node_hi, 4, read);
    const std::pair<const char *, const void *> written[] = {
        {"the output's counts", step.out_counts},           {"the output's scores", step.out_scores},
        {"the output's parentBeams", step.out_parent_beams}, {"the output's codes", step.out_codes},
        {"the output's nodeLo", step.out_node_lo},           {"the output's nodeHi", step.out_node_hi},
        {"the output's badBeams", step.out_bad_beams}};
    for (const auto &[name, array] : written) {
      check_array(name, array, 4, 1);
      if (read > 0 && (array == step.counts || array == step.scores || array == step.node_lo || array == step.node_hi)) {
        fail(ESP_STATUS_SHAPE, "%s must not be an array that the step reads", name);
      }
    }
  }

  StepArgs arguments(const esp_cuda_batch_step &step, uint32_t codes) const {
    const bool is_root = step.depth == 0;
    StepArgs args = {};
    args.depth = step.depth;
    args.request_count = options_.request_count;
    args.most_beams = is_root ? 1 : options_.beam_width;
    args.most_children = options_.beam_width;
    args.requests = memory_.at<RequestArgs>(is_root ? root_requests_at_ : requests_at_);
    if (!is_root) {
      args.beam_counts = step.counts;
      args.scores = step.scores;
      args.node_lo = step.node_lo;
      args.node_hi = step.node_hi;
    }
    args.logits = step.logits;
    args.logit_type = options_.logit_type;
    args.vocab_size = options_.vocab_size;
    args.code_count = codes;
    args.token_offset = step.token_offset;
    args.token_table = step.token_table;
    args.out_counts = step.out_counts;
    args.out_scores = step.out_scores;
    args.out_parents = step.out_parent_beams;
    args.out_codes = step.out_codes;
    args.out_lo = step.out_node_lo;
    args.out_hi = step.out_node_hi;
    args.out_bad_beams = step.out_bad_beams;
    args.scratch = memory_.at(scratch_at_);
    return args;
  }

  // Lets go of constraints that nothing reads any more.
  void forget_replaced() {
    const auto is_unread = [](const Replaced &replaced) { return replaced.is_recorded && replaced.copied.has_passed(); };
    replaced_.erase(std::remove_if(replaced_.begin(), replaced_.end(), is_unread), replaced_.end());
    cudaGetLastError();
  }

  ContextPointer context_;
  esp_cuda_batch_options options_;
  std::vector<std::shared_ptr<const DeviceConstraint>> constraints_;
  std::vector<Replaced> replaced_;
  Runs runs_;
  std::optional<unsigned long long> last_capture_;
  Piece memory_;
  uint64_t root_requests_at_ = 0;
  uint64_t requests_at_ = 0;
  uint64_t scratch_at_ = 0;
};

}  // namespace espalier::cuda

struct esp_cuda_batch {
  std::shared_ptr<espalier::cuda::Batch> state;
};

esp_status esp_cuda_batch_create(esp_cuda_context *context, const esp_cuda_batch_options *options,
                                 esp_cuda_constraint *const *constraints, esp_cuda_batch **out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    const ContextPointer &state = required(context, "context").state;
    required(options, "options");
    required(out, "out") = nullptr;
    state->check_usable();
    const DeviceScope scope(state->device());
    drop_released();
    *out = new esp_cuda_batch{std::make_shared<Batch>(state, *options, constraints)};
  });
}

void esp_cuda_batch_release(esp_cuda_batch *batch) {
  if (batch == nullptr) return;
  delete batch;
  espalier::cuda::drop_released();
}

esp_status esp_cuda_batch_set_constraint(esp_cuda_batch *batch, uint32_t request, esp_cuda_constraint *constraint,
                                         void *stream) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    Batch &state = *required(batch, "batch").state;
    state.context()->check_usable();
    const DeviceScope scope(state.context()->device());
    state.set_constraint(request, constraint, static_cast<cudaStream_t>(stream));
  });
}

esp_status esp_cuda_batch_run(esp_cuda_batch *batch, const esp_cuda_batch_step *step, void *stream) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    Batch &state = *required(batch, "batch").state;
    required(step, "step");
    state.context()->check_usable();
    const DeviceScope scope(state.context()->device());
    state.run(*step, static_cast<cudaStream_t>(stream));
  });
}
