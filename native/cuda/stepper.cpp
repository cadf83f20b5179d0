// Steps from host memory: one copy to the device, one launch, one copy back.
#include <algorithm>
#include <cstring>

#include "../cpu/step_checks.h"
#include "handles.h"
#include "step_args.h"

namespace espalier::cuda {

namespace {

// Memory grows by whole multiples of this, so that steps that are a little larger each time don't each allocate.
constexpr uint64_t kGrowth = uint64_t{64} << 10;

uint64_t logit_bytes(esp_logit_type type) { return type == ESP_LOGITS_F32 ? 4 : 2; }

// The arrays of a step's one copy to the device, and of its one copy back.
struct InputPlan {
  Layout layout;
  uint64_t requests, counts, scores, node_lo, node_hi, tokens, logits;
};
struct OutputPlan {
  Layout layout;
  uint64_t counts, scores, parents, codes, node_lo, node_hi, bad_beams, normalizers, bad_tokens, bad_values;
};

// A step that passed all checks, counted.
struct CheckedStep {
  const esp_cuda_step_input &input;
  // Held to the step's end, whoever releases them meanwhile.
  std::vector<std::shared_ptr<const DeviceConstraint>> constraints;
  uint32_t beam_count = 0;
  uint32_t child_count = 0;
  uint32_t most_beams = 0;
  uint32_t most_children = 0;
  uint32_t code_count = 0;
  // Of all levels.
  uint32_t largest_codebook = 0;
};

void check_device_logits(Context &context, const void *logits) {
  cudaPointerAttributes about;
  context.check(cudaPointerGetAttributes(&about, logits), "looking at the logits' pointer");
  const bool is_here = about.type == cudaMemoryTypeManaged ||
                       (about.type == cudaMemoryTypeDevice && about.device == static_cast<int>(context.device()));
  if (!is_here) fail(ESP_STATUS_SHAPE, "logits must lie on device %u, found %p", context.device(), logits);
}

void check_arrays(Context &context, const CheckedStep &step, const esp_step_output &output) {
  const esp_cuda_step_input &input = step.input;
  const uint64_t beams = step.beam_count;
  const size_t element = logit_bytes(input.logit_type);
  check_array("logits", input.logits, input.on_device ? 16 : element, beams);
  if (input.on_device && beams > 0) check_device_logits(context, input.logits);
  check_array("scores", input.scores, 4, beams);
  check_array("the output's counts", output.counts, 4, input.request_count);
  check_array("the output's scores", output.scores, 4, step.child_count);
  check_array("the output's parentBeams", output.parent_beams, 4, step.child_count);
  check_array("the output's codes", output.codes, 4, step.child_count);
  check_array("the output's nodeLo", output.node_lo, 4, step.child_count);
  check_array("the output's nodeHi", output.node_hi, 4, step.child_count);
  check_array("the output's normalizers", output.normalizers, 4, beams);
  check_array("the output's badBeams", output.bad_beams, 4, input.request_count);
  check_array("the output's badTokens", output.bad_tokens, 4, input.request_count);
  check_array("the output's badValues", output.bad_values, 4, input.request_count);
}

// Which requests there are, before anything of them is read.
void count_requests(const Context &context, CheckedStep &step) {
  const esp_cuda_step_input &input = step.input;
  check_array("the token table", input.token_table, 4, input.token_table == nullptr ? 0 : 1);
  check_array("requests", input.requests, alignof(esp_cuda_step_request), input.request_count);
  uint64_t beams = 0;
  uint64_t children = 0;
  for (uint32_t index = 0; index < input.request_count; index++) {
    const esp_cuda_step_request &request = input.requests[index];
    if (request.constraint == nullptr) fail(ESP_STATUS_SHAPE, "request %u: its constraint must not be null", index);
    step.constraints.push_back(request.constraint->on_device);
    if (step.constraints.back()->trie->context.get() != &context) {
      fail(ESP_STATUS_SHAPE, "request %u: its constraint is of another context", index);
    }
    beams += request.beam_count;
    children += request.beam_width;
    step.most_beams = std::max(step.most_beams, request.beam_count);
    step.most_children = std::max(step.most_children, request.beam_width);
  }
  // Rows and children are numbered in 32 bits, and blocks of a launch in 31.
  if (beams > INT32_MAX || children > UINT32_MAX || uint64_t{input.request_count} * step.most_beams > INT32_MAX) {
    fail(ESP_STATUS_SHAPE, "%u requests have too many beams for one step", input.request_count);
  }
  step.beam_count = static_cast<uint32_t>(beams);
  step.child_count = static_cast<uint32_t>(children);
}

void check_requests(CheckedStep &step) {
  const esp_cuda_step_input &input = step.input;
  check_array("nodeLo", input.node_lo, 4, step.beam_count);
  check_array("nodeHi", input.node_hi, 4, step.beam_count);
  const AskedStep asked = {input.depth, input.row_count, input.vocab_size, input.token_offset, input.token_table,
                           input.token_table_length};
  uint64_t beam = 0;
  for (uint32_t index = 0; index < input.request_count; index++) {
    const esp_cuda_step_request &request = input.requests[index];
    const esp_trie_arrays &trie = step.constraints[index]->trie->host;
    check_request(asked, {&trie, request.beam_count, request.beam_width, request.first_row, request.normalize,
                          request.temperature, input.node_lo + beam, input.node_hi + beam}, index);
    const uint32_t codes = trie.codebook_sizes[input.depth];
    if (index > 0 && codes != step.code_count) {
      fail(ESP_STATUS_SHAPE, "request %u: the codebook of depth %u has %u codes, that of the first request %u", index,
           input.depth, codes, step.code_count);
    }
    step.code_count = codes;
    step.largest_codebook =
        std::max(step.largest_codebook, *std::max_element(trie.codebook_sizes, trie.codebook_sizes + trie.level_count));
    beam += request.beam_count;
  }
  check_tokens(asked);
}

InputPlan plan_input(const CheckedStep &step) {
  const esp_cuda_step_input &input = step.input;
  InputPlan plan = {};
  plan.requests = plan.layout.add_array<RequestArgs>(input.request_count);
  plan.counts = plan.layout.add_array<uint32_t>(input.request_count);
  plan.scores = plan.layout.add_array<float>(step.beam_count);
  plan.node_lo = plan.layout.add_array<uint32_t>(step.beam_count);
  plan.node_hi = plan.layout.add_array<uint32_t>(step.beam_count);
  plan.tokens = plan.layout.add_array<uint32_t>(input.token_table == nullptr ? 0 : input.token_table_length);
  const uint64_t copied_rows = input.on_device ? 0 : step.beam_count;
  plan.logits = plan.layout.add(copied_rows * input.vocab_size * logit_bytes(input.logit_type));
  return plan;
}

OutputPlan plan_output(const CheckedStep &step) {
  OutputPlan plan = {};
  plan.counts = plan.layout.add_array<uint32_t>(step.input.request_count);
  plan.scores = plan.layout.add_array<float>(step.child_count);
  plan.parents = plan.layout.add_array<uint32_t>(step.child_count);
  plan.codes = plan.layout.add_array<uint32_t>(step.child_count);
  plan.node_lo = plan.layout.add_array<uint32_t>(step.child_count);
  plan.node_hi = plan.layout.add_array<uint32_t>(step.child_count);
  plan.bad_beams = plan.layout.add_array<int32_t>(step.input.request_count);
  plan.normalizers = plan.layout.add_array<float>(step.beam_count);
  plan.bad_tokens = plan.layout.add_array<uint32_t>(step.input.request_count);
  plan.bad_values = plan.layout.add_array<float>(step.input.request_count);
  return plan;
}

// Fills pinned memory with what goes to the device; host logits are packed, a row a beam.
void fill_input(const CheckedStep &step, const InputPlan &plan, char *to) {
  const esp_cuda_step_input &input = step.input;
  auto *requests = reinterpret_cast<RequestArgs *>(to + plan.requests);
  auto *counts = reinterpret_cast<uint32_t *>(to + plan.counts);
  const uint64_t row_bytes = input.vocab_size * logit_bytes(input.logit_type);
  uint32_t beam = 0;
  uint32_t child = 0;
  for (uint32_t index = 0; index < input.request_count; index++) {
    const esp_cuda_step_request &request = input.requests[index];
    const uint32_t first_row = input.on_device ? request.first_row : beam;
    requests[index] = {step.constraints[index]->reach, request.beam_width, request.normalize, request.temperature,
                       first_row, beam, child};
    counts[index] = request.beam_count;
    if (!input.on_device) {
      memcpy(to + plan.logits + beam * row_bytes, static_cast<const char *>(input.logits) + request.first_row * row_bytes,
             request.beam_count * row_bytes);
    }
    beam += request.beam_count;
    child += request.beam_width;
  }
  memcpy(to + plan.scores, input.scores, beam * sizeof(float));
  memcpy(to + plan.node_lo, input.node_lo, beam * sizeof(uint32_t));
  memcpy(to + plan.node_hi, input.node_hi, beam * sizeof(uint32_t));
  if (input.token_table != nullptr) memcpy(to + plan.tokens, input.token_table, input.token_table_length * sizeof(uint32_t));
}

StepArgs launch_arguments(const CheckedStep &step, const InputPlan &in, const Piece &input_memory, const OutputPlan &out,
                          const Piece &output_memory, const Piece &scratch) {
  const esp_cuda_step_input &input = step.input;
  StepArgs args = {};
  args.depth = input.depth;
  args.request_count = input.request_count;
  args.most_beams = step.most_beams;
  args.most_children = step.most_children;
  args.requests = input_memory.at<RequestArgs>(in.requests);
  args.beam_counts = input_memory.at<uint32_t>(in.counts);
  args.scores = input_memory.at<float>(in.scores);
  args.node_lo = input_memory.at<uint32_t>(in.node_lo);
  args.node_hi = input_memory.at<uint32_t>(in.node_hi);
  args.logits = input.on_device ? input.logits : input_memory.at(in.logits);
  args.logit_type = input.logit_type;
  args.vocab_size = input.vocab_size;
  args.code_count = step.code_count;
  args.token_offset = input.token_offset;
  args.token_table = input.token_table == nullptr ? nullptr : input_memory.at<uint32_t>(in.tokens);
  args.out_counts = output_memory.at<uint32_t>(out.counts);
  args.out_scores = output_memory.at<float>(out.scores);
  args.out_parents = output_memory.at<uint32_t>(out.parents);
  args.out_codes = output_memory.at<uint32_t>(out.codes);
  args.out_lo = output_memory.at<uint32_t>(out.node_lo);
  args.out_hi = output_memory.at<uint32_t>(out.node_hi);
  args.out_bad_beams = output_memory.at<int32_t>(out.bad_beams);
  args.out_normalizers = output_memory.at<float>(out.normalizers);
  args.out_bad_tokens = output_memory.at<uint32_t>(out.bad_tokens);
  args.out_bad_values = output_memory.at<float>(out.bad_values);
  args.scratch = scratch.at();
  return args;
}

void read_output(const CheckedStep &step, const OutputPlan &plan, const Piece &from, const esp_step_output &output) {
  const esp_cuda_step_input &input = step.input;
  const int32_t *bad_beams = from.at<int32_t>(plan.bad_beams);
  for (uint32_t index = 0; index < input.request_count; index++) {
    if (bad_beams[index] == kNoNodes) {
      fail(ESP_STATUS_SHAPE, "request %u: its beams are no nodes of the trie, or the trie's rows are damaged", index);
    }
  }
  uint64_t child = 0;
  for (uint32_t index = 0; index < input.request_count; index++) {
    const bool is_bad = bad_beams[index] != kFineBeams;
    const uint32_t count = is_bad ? 0 : from.at<uint32_t>(plan.counts)[index];
    output.counts[index] = count;
    output.bad_beams[index] = bad_beams[index];
    output.bad_tokens[index] = is_bad ? from.at<uint32_t>(plan.bad_tokens)[index] : 0;
    output.bad_values[index] = is_bad ? from.at<float>(plan.bad_values)[index] : 0;
    const auto copy = [&](auto *to, uint64_t offset) {
      memcpy(to + child, from.at(offset) + child * sizeof *to, count * sizeof *to);
    };
    copy(output.scores, plan.scores);
    copy(output.parent_beams, plan.parents);
    copy(output.codes, plan.codes);
    copy(output.node_lo, plan.node_lo);
    copy(output.node_hi, plan.node_hi);
    child += input.requests[index].beam_width;
  }
  memcpy(output.normalizers, from.at(plan.normalizers), step.beam_count * sizeof(float));
}

// Nothing was asked: every request has left the batch.
void write_empty(const CheckedStep &step, const esp_step_output &output) {
  for (uint32_t index = 0; index < step.input.request_count; index++) {
    output.counts[index] = 0;
    output.bad_beams[index] = kFineBeams;
    output.bad_tokens[index] = 0;
    output.bad_values[index] = 0;
  }
}

}  // namespace

class Stepper {
 public:
  explicit Stepper(ContextPointer context) : context_(std::move(context)) {
    context_->check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream for steps");
  }
  ~Stepper() {
    const DeviceScope scope(context_->device());
    cudaStreamDestroy(stream_);
  }
  Stepper(const Stepper &) = delete;

  const ContextPointer &context() const { return context_; }
  // Held by the call that steps; who releases the stepper waits for it.
  std::mutex &mutex() { return mutex_; }

  void step(const esp_cuda_step_input &input, const esp_step_output &output) {
    if (input.request_count == 0) return;
    if (input.logit_type < ESP_LOGITS_F32 || input.logit_type > ESP_LOGITS_BF16) {
      fail(ESP_STATUS_SHAPE, "logits must be float32, float16 or bfloat16, found type %d", static_cast<int>(input.logit_type));
    }
    CheckedStep checked = {input, {}};
    count_requests(*context_, checked);
    check_requests(checked);
    check_arrays(*context_, checked, output);
    if (checked.beam_count == 0) return write_empty(checked, output);
    run(checked, output);
  }

 private:
  void reserve(const CheckedStep &step, uint64_t input_bytes, uint64_t output_bytes) {
    grow_device(device_input_, input_bytes, "a step's input");
    grow_device(device_output_, output_bytes, "a step's output");
    grow_pinned(host_input_, input_bytes);
    grow_pinned(host_output_, output_bytes);
    const StepShape shape = {step.input.request_count, step.most_beams, step.most_children, step.largest_codebook};
    if (grow_device(scratch_, step_scratch_bytes(shape), "a step's scratch")) is_scratch_clear_ = false;
    if (is_scratch_clear_) return;
    context_->check(cudaMemsetAsync(scratch_.at(), 0, scratch_.size(), stream_), "clearing scratch");
    is_scratch_clear_ = true;
  }

  bool grow_device(Piece &piece, uint64_t bytes, const char *what) {
    if (bytes <= piece.size()) return false;
    piece = Piece::on_device(*context_, Purpose::kScratch, (bytes + kGrowth - 1) / kGrowth * kGrowth, what);
    return true;
  }

  void grow_pinned(Piece &piece, uint64_t bytes) {
    if (bytes > piece.size()) piece = Piece::pinned(*context_, (bytes + kGrowth - 1) / kGrowth * kGrowth);
  }

  void run(const CheckedStep &step, const esp_step_output &output) {
    const InputPlan in = plan_input(step);
    const OutputPlan out = plan_output(step);
    reserve(step, in.layout.size(), out.layout.size());
    fill_input(step, in, host_input_.at());
    try {
      Context &context = *context_;
      context.check(cudaMemcpyAsync(device_input_.at(), host_input_.at(), in.layout.size(), cudaMemcpyHostToDevice, stream_),
                    "copying a step's input");
      const StepArgs args = launch_arguments(step, in, device_input_, out, device_output_, scratch_);
      context.check(static_cast<cudaError_t>(launch_step(args, stream_)), "launching a step");
      context.check(cudaMemcpyAsync(host_output_.at(), device_output_.at(), out.layout.size(), cudaMemcpyDeviceToHost, stream_),
                    "copying a step's output");
      context.check(cudaStreamSynchronize(stream_), "running a step");
    } catch (const Failure &) {
      // What was put on the stream still reads what is held here; and scratch may be in disorder.
      cudaStreamSynchronize(stream_);
      cudaGetLastError();
      is_scratch_clear_ = false;
      throw;
    }
    read_output(step, out, host_output_, output);
  }

  ContextPointer context_;
  std::mutex mutex_;
  cudaStream_t stream_ = nullptr;
  Piece device_input_;
  Piece device_output_;
  Piece host_input_;
  Piece host_output_;
  Piece scratch_;
  // As the first step finds it, and each step leaves it for the next of any shape.
  bool is_scratch_clear_ = false;
};

}  // namespace espalier::cuda

struct esp_cuda_stepper {
  espalier::cuda::Stepper state;
};

esp_status esp_cuda_stepper_create(esp_cuda_context *context, esp_cuda_stepper **out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    const ContextPointer &state = required(context, "context").state;
    required(out, "out") = nullptr;
    state->check_usable();
    const DeviceScope scope(state->device());
    *out = new esp_cuda_stepper{Stepper(state)};
  });
}

void esp_cuda_stepper_release(esp_cuda_stepper *stepper) {
  if (stepper == nullptr) return;
  { std::lock_guard<std::mutex> lock(stepper->state.mutex()); }
  delete stepper;
}

esp_status esp_cuda_step(esp_cuda_stepper *stepper, const esp_cuda_step_input *input, const esp_step_output *output) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    Stepper &state = required(stepper, "stepper").state;
    required(input, "input");
    required(output, "output");
    std::lock_guard<std::mutex> lock(state.mutex());
    const Context::Running running(*state.context());
    state.context()->check_usable();
    const DeviceScope scope(state.context()->device());
    state.step(*input, *output);
  });
}
