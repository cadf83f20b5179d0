// Decode steps of batches: checks, shares the work among threads, and gathers what they found.
#include <algorithm>
#include <cstring>

#include "constraint.h"
#include "levels/level.h"
#include "step_checks.h"
#include "thread_pool.h"

namespace espalier {

namespace {

// Beams of one request that a thread takes at a time, where requests are too few to go round.
constexpr uint32_t kBeamsAtATime = 8;

// Scratch memory of one request; grows to what the largest needed.
class Scratch {
 public:
  const StepScratch &get() const { return scratch_; }

  void reserve(const StepTask &task) {
    const uint64_t codes = task.reach->trie->codebook_sizes[task.depth];
    const uint64_t chunks = (codes + kChunkCodes - 1) / kChunkCodes;
    // Rows have masks at the top levels only, and one beam stands at the root.
    const uint64_t masked = task.depth == 0 ? 1 : task.depth == 1 ? task.beam_count : 0;
    const uint64_t listed = task.normalize == ESP_LIVE ? codes : 0;
    // What Best asks for.
    const uint64_t candidates = std::max<uint64_t>(128, (uint64_t{task.beam_width} * 2 + kLanes - 1) / kLanes * kLanes);
    grow(scratch_.values, chunks * kChunkCodes, 0);
    grow(scratch_.group_maxima, masked * chunks * kLanes, 1);
    grow(scratch_.group_keys, kBoundBeams * chunks * kLanes, 2);
    grow(scratch_.live, masked, 3);
    grow(scratch_.masks, masked * chunks, 4);
    grow(scratch_.parents, task.beam_count, 5);
    grow(scratch_.child_codes, listed, 6);
    grow(scratch_.child_lo, listed, 7);
    grow(scratch_.child_hi, listed, 8);
    grow(scratch_.child_logits, listed, 9);
    grow(scratch_.candidates.keys, candidates, 10);
    grow(scratch_.candidates.children, candidates, 11);
    grow(scratch_.candidates.lo, candidates, 12);
    grow(scratch_.candidates.hi, candidates, 13);
    grow(scratch_.listed, masked * kListed, 14);
    scratch_.candidates.capacity = static_cast<uint32_t>(counts_[10]);
  }

 private:
  template <class T>
  void grow(T *&array, uint64_t count, size_t part) {
    if (count <= counts_[part]) return;
    parts_[part] = Memory::allocate(count * sizeof(T));
    array = parts_[part].as<T>();
    counts_[part] = count;
  }

  Memory parts_[15];
  uint64_t counts_[15] = {};
  StepScratch scratch_ = {};
};

// What became of one request.
struct Result {
  StepOutcome outcome;
  uint32_t count;
  BadLogit bad;
};

}  // namespace
}  // namespace espalier

struct esp_stepper {
  const espalier::LevelKernels &kernels;
  espalier::ThreadPool pool;
  // One a worker, or one a request where several threads share a request's beams.
  std::vector<espalier::Scratch> scratches;
  std::vector<espalier::StepTask> tasks;
  std::vector<espalier::Result> results;

  esp_stepper(const espalier::LevelKernels &level, uint32_t threads) : kernels(level), pool(threads) {}
};

namespace espalier {

namespace {

AskedStep asked_of(const esp_step_input &input) {
  return {input.depth, input.row_count, input.vocab_size, input.token_offset, input.token_table, input.token_table_length};
}

void make_tasks(esp_stepper &stepper, const esp_step_input &input, const esp_step_output &output) {
  stepper.tasks.clear();
  const AskedStep asked = asked_of(input);
  size_t beam = 0;
  size_t child = 0;
  const size_t row_bytes = size_t{input.vocab_size} * (input.logit_type == ESP_LOGITS_F16 ? 2 : 4);
  for (uint32_t index = 0; index < input.request_count; index++) {
    const esp_step_request &request = input.requests[index];
    const Reach &reach = request.constraint->tables.reach();
    check_request(asked, {reach.trie, request.beam_count, request.beam_width, request.first_row, request.normalize,
                          request.temperature, input.node_lo + beam, input.node_hi + beam}, index);
    StepTask task = {};
    task.reach = &reach;
    task.depth = input.depth;
    task.beam_count = request.beam_count;
    task.beam_width = request.beam_width;
    task.normalize = request.normalize;
    task.temperature = request.temperature;
    task.logits = static_cast<const char *>(input.logits) + request.first_row * row_bytes;
    task.logit_type = input.logit_type;
    task.vocab_size = input.vocab_size;
    task.token_offset = input.token_offset;
    task.token_table = input.token_table;
    task.scores = input.scores + beam;
    task.node_lo = input.node_lo + beam;
    task.node_hi = input.node_hi + beam;
    task.out_scores = output.scores + child;
    task.out_parents = output.parent_beams + child;
    task.out_codes = output.codes + child;
    task.out_lo = output.node_lo + child;
    task.out_hi = output.node_hi + child;
    task.normalizers = output.normalizers + beam;
    stepper.tasks.push_back(task);
    beam += request.beam_count;
    child += request.beam_width;
  }
}

// Each thread takes whole requests: what it has just read is still in its cache.
void run_by_request(esp_stepper &stepper) {
  // Memory first: nothing may fail on the threads.
  if (stepper.scratches.size() < stepper.pool.size()) stepper.scratches.resize(stepper.pool.size());
  for (uint32_t worker = 0; worker < stepper.pool.size(); worker++) {
    for (const StepTask &task : stepper.tasks) stepper.scratches[worker].reserve(task);
  }
  const auto run = [&](uint32_t index, uint32_t worker) {
    const StepTask &task = stepper.tasks[index];
    Result &result = stepper.results[index];
    result.outcome = stepper.kernels.step_request(task, stepper.scratches[worker].get(), result.count, result.bad);
  };
  stepper.pool.run(static_cast<uint32_t>(stepper.tasks.size()), run);
}

// Threads share the beams of a request, then take a request each.
void run_by_beams(esp_stepper &stepper) {
  if (stepper.scratches.size() < stepper.tasks.size()) stepper.scratches.resize(stepper.tasks.size());
  uint32_t most = 0;
  for (size_t index = 0; index < stepper.tasks.size(); index++) {
    stepper.scratches[index].reserve(stepper.tasks[index]);
    most = std::max(most, stepper.tasks[index].beam_count);
  }
  const uint32_t parts = (most + kBeamsAtATime - 1) / kBeamsAtATime;
  std::atomic<uint32_t> misfits{0};
  const auto prepare = [&](uint32_t item, uint32_t) {
    const StepTask &task = stepper.tasks[item / parts];
    const uint32_t from = item % parts * kBeamsAtATime;
    const uint32_t to = std::min(from + kBeamsAtATime, task.beam_count);
    if (from < to && !stepper.kernels.prepare_beams(task, stepper.scratches[item / parts].get(), from, to)) misfits++;
  };
  stepper.pool.run(static_cast<uint32_t>(stepper.tasks.size()) * parts, prepare);
  const auto select = [&](uint32_t index, uint32_t) {
    Result &result = stepper.results[index];
    result.outcome = misfits > 0 ? StepOutcome::kBadTrie
                                 : stepper.kernels.select_children(stepper.tasks[index], stepper.scratches[index].get(),
                                                                   result.count, result.bad);
  };
  stepper.pool.run(static_cast<uint32_t>(stepper.tasks.size()), select);
}

void step(esp_stepper &stepper, const esp_step_input &input, const esp_step_output &output) {
  if (input.request_count == 0) return;
  if (input.logit_type != ESP_LOGITS_F32 && input.logit_type != ESP_LOGITS_F16) {
    fail(ESP_STATUS_UNSUPPORTED, "logits must be float32 or float16, found type %d", static_cast<int>(input.logit_type));
  }
  check_tokens(asked_of(input));
  make_tasks(stepper, input, output);
  stepper.results.assign(input.request_count, {StepOutcome::kDone, 0, {}});
  // Two values share the scratch of a request only where a row is read as it lies.
  const bool is_plain = input.logit_type == ESP_LOGITS_F32 && input.token_table == nullptr &&
                        std::all_of(input.requests, input.requests + input.request_count,
                                    [](const esp_step_request &request) { return request.temperature == 1.0f; });
  if (stepper.pool.size() == 1 || input.request_count >= stepper.pool.size() || !is_plain) run_by_request(stepper);
  else run_by_beams(stepper);
  for (uint32_t index = 0; index < input.request_count; index++) {
    const Result &result = stepper.results[index];
    if (result.outcome == StepOutcome::kBadTrie) {
      fail(ESP_STATUS_SHAPE, "request %u: its beams are no nodes of the trie, or the trie's rows are damaged", index);
    }
    const bool is_bad = result.outcome == StepOutcome::kBadLogit;
    output.counts[index] = is_bad ? 0 : result.count;
    output.bad_beams[index] = is_bad ? static_cast<int32_t>(result.bad.beam) : -1;
    output.bad_tokens[index] = result.bad.token;
    output.bad_values[index] = result.bad.value;
  }
}

}  // namespace
}  // namespace espalier

esp_status esp_stepper_create(esp_level level, uint32_t threads, esp_stepper **out) {
  return espalier::guarded([&] {
    if (threads < 1) espalier::fail(ESP_STATUS_SHAPE, "threads must be at least 1, found 0");
    *out = new esp_stepper(espalier::kernels_of(level), threads);
  });
}

void esp_stepper_release(esp_stepper *stepper) { delete stepper; }

esp_status esp_step(esp_stepper *stepper, const esp_step_input *input, const esp_step_output *output) {
  return espalier::guarded([&] { espalier::step(*stepper, *input, *output); });
}

esp_status esp_log_sum_exp(esp_stepper *stepper, const float *logits, uint64_t row_count, uint32_t vocab_size, float *out) {
  return espalier::guarded([&] {
    constexpr uint64_t kRows = espalier::kBeamsAtATime;
    const auto run = [&](uint32_t item, uint32_t) {
      const uint64_t from = item * kRows;
      stepper->kernels.log_sum_exp(logits + from * vocab_size, vocab_size, std::min(kRows, row_count - from), out + from);
    };
    stepper->pool.run(static_cast<uint32_t>((row_count + kRows - 1) / kRows), run);
  });
}
