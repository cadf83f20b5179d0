// What the library refuses, and that it is what it was afterwards.
#include <cmath>
#include <functional>

#include "cuda_checks.h"

using namespace testing;

namespace {

template <class T>
T *misaligned(T *pointer) {
  return reinterpret_cast<T *>(reinterpret_cast<uintptr_t>(pointer) + 1);
}

void check_trie_refusals(Random &random, esp_cuda_context *context) {
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = nullptr;
  expect(esp_cuda_open(0, nullptr), ESP_STATUS_SHAPE, "out must not be null", "open");
  expect(esp_cuda_probe(0, nullptr), ESP_STATUS_SHAPE, "out must not be null", "probe");
  expect(esp_cuda_memory_of(nullptr, nullptr), ESP_STATUS_SHAPE, "context must not be null", "memory");
  expect(esp_cuda_trie_upload(nullptr, catalog.arrays, &trie), ESP_STATUS_SHAPE, "context must not be null", "trie");
  expect(esp_cuda_trie_upload(context, nullptr, &trie), ESP_STATUS_SHAPE, "arrays must not be null", "trie");
  expect(esp_cuda_trie_upload(context, catalog.arrays, nullptr), ESP_STATUS_SHAPE, "out must not be null", "trie");
  const auto refuse = [&](const char *words, const std::function<void(esp_trie_arrays &)> &spoil) {
    esp_trie_arrays arrays = *catalog.arrays;
    spoil(arrays);
    expect(esp_cuda_trie_upload(context, &arrays, &trie), ESP_STATUS_SHAPE, words, "trie");
  };
  refuse("rows must not be null", [](esp_trie_arrays &arrays) { arrays.rows = nullptr; });
  refuse("rows must begin at a multiple of 2", [](esp_trie_arrays &arrays) { arrays.rows = misaligned(static_cast<const char *>(arrays.rows)); });
  refuse("newPrefix must not be null", [](esp_trie_arrays &arrays) { arrays.new_prefix[2] = nullptr; });
  refuse("newPrefix must begin at a multiple of 8", [](esp_trie_arrays &arrays) { arrays.new_prefix[0] = misaligned(arrays.new_prefix[0]); });
  refuse("firstChild must not be null", [](esp_trie_arrays &arrays) { arrays.top_levels[0].first_child = nullptr; });
  refuse("leafStart must begin", [](esp_trie_arrays &arrays) { arrays.top_levels[1].leaf_start = misaligned(arrays.top_levels[1].leaf_start); });
  refuse("levels must be 1 to 32", [](esp_trie_arrays &arrays) { arrays.level_count = 33; });
  refuse("leaves must be 1 to", [](esp_trie_arrays &arrays) { arrays.leaf_count = 0; });
  refuse("leafStart of level 0 must ascend", [](esp_trie_arrays &arrays) { arrays.leaf_count--; });
  refuse("codes must be of 2 bytes", [](esp_trie_arrays &arrays) { arrays.is_wide = 1; });
  refuse("maskBits must not be null", [](esp_trie_arrays &arrays) { arrays.mask_count = 1; arrays.mask_nodes = &arrays.leaf_count; arrays.mask_bits = nullptr; });
  esp_cuda_trie_release(nullptr);
  esp_cuda_set_release(nullptr);
  esp_cuda_constraint_release(nullptr);
  esp_cuda_stepper_release(nullptr);
  esp_cuda_batch_release(nullptr);
  esp_cuda_close(nullptr);
}

void check_constraint_refusals(Random &random, esp_cuda_context *context) {
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_trie *other = uploaded(context, catalog);
  const HostSet host = catalog.random_set(random, 0.5);
  esp_cuda_set *set = nullptr;
  esp_cuda_constraint *constraint = nullptr;
  const auto refuse_set = [&](const uint64_t *leaves, const uint64_t *roots, const uint64_t *nodes, const char *words) {
    expect(esp_cuda_set_upload(trie, leaves, roots, nodes, &set), ESP_STATUS_SHAPE, words, "set");
  };
  expect(esp_cuda_set_upload(nullptr, host.leaf_bits.data(), host.root_mask.data(), host.node_bits.data(), &set), ESP_STATUS_SHAPE, "trie must not be null", "set");
  refuse_set(nullptr, host.root_mask.data(), host.node_bits.data(), "leafBits must not be null");
  refuse_set(misaligned(host.leaf_bits.data()), host.root_mask.data(), host.node_bits.data(), "leafBits must begin at a multiple of 8");
  refuse_set(host.leaf_bits.data(), nullptr, host.node_bits.data(), "rootMask must not be null");
  refuse_set(host.leaf_bits.data(), host.root_mask.data(), nullptr, "nodeBits must not be null");
  must(esp_cuda_set_upload(other, host.leaf_bits.data(), host.root_mask.data(), host.node_bits.data(), &set), "set");
  expect(esp_cuda_constraint_create(trie, set, nullptr, 0, &constraint), ESP_STATUS_SHAPE, "of another trie", "constraint");
  expect(esp_cuda_constraint_create(nullptr, set, nullptr, 0, &constraint), ESP_STATUS_SHAPE, "trie must not be null", "constraint");
  expect(esp_cuda_constraint_create(trie, nullptr, nullptr, 1, &constraint), ESP_STATUS_SHAPE, "deadLeaves must not be null", "constraint");
  const std::vector<uint32_t> unsorted = {7, 5};
  const uint32_t beyond = catalog.arrays->leaf_count;
  expect(esp_cuda_constraint_create(trie, nullptr, unsorted.data(), 2, &constraint), ESP_STATUS_SHAPE, "must ascend", "constraint");
  expect(esp_cuda_constraint_create(trie, nullptr, &beyond, 1, &constraint), ESP_STATUS_SHAPE, "must ascend", "constraint");
  expect(esp_cuda_constraint_create(trie, nullptr, misaligned(unsorted.data()), 1, &constraint), ESP_STATUS_SHAPE, "multiple of 4", "constraint");
  esp_cuda_set_release(set);
  esp_cuda_trie_release(trie);
  esp_cuda_trie_release(other);
}

void check_step_refusals(Random &random, esp_cuda_context *context) {
  const Catalog catalog(random, {50, 60, 7}, 3000);
  const Catalog other(random, {51, 60, 7}, 300);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_trie *other_trie = uploaded(context, other);
  esp_cuda_context *second = opened();
  esp_cuda_trie *foreign = uploaded(second, catalog);
  esp_cuda_stepper *stepper = nullptr;
  must(esp_cuda_stepper_create(context, &stepper), "stepper");
  {
    const Constraint constraint(random, catalog, trie, 0.5, 0);
    const Constraint elsewhere(random, catalog, foreign, 1, 0);
    const Constraint of_other(random, other, other_trie, 1, 0);
    SmallStep step(random, catalog, constraint.on_device);
    const auto refuse = [&](const char *words, const std::function<void(esp_cuda_step_input &, esp_cuda_step_request &, esp_step_output &)> &spoil) {
      esp_cuda_step_request request = step.request;
      esp_cuda_step_input input = step.input;
      esp_step_output output = step.output;
      input.requests = &request;
      spoil(input, request, output);
      expect(esp_cuda_step(stepper, &input, &output), ESP_STATUS_SHAPE, words, "step");
    };
    using In = esp_cuda_step_input;
    using Ask = esp_cuda_step_request;
    using Out = esp_step_output;
    expect(esp_cuda_step(nullptr, &step.input, &step.output), ESP_STATUS_SHAPE, "stepper must not be null", "step");
    expect(esp_cuda_step(stepper, nullptr, &step.output), ESP_STATUS_SHAPE, "input must not be null", "step");
    expect(esp_cuda_step(stepper, &step.input, nullptr), ESP_STATUS_SHAPE, "output must not be null", "step");
    refuse("requests must not be null", [](In &in, Ask &, Out &) { in.requests = nullptr; });
    refuse("constraint must not be null", [](In &, Ask &ask, Out &) { ask.constraint = nullptr; });
    refuse("of another context", [&](In &, Ask &ask, Out &) { ask.constraint = elsewhere.on_device; });
    refuse("beams must be at most 1024", [](In &, Ask &ask, Out &) { ask.beam_width = 1025; });
    refuse("beams must be at most 1024", [](In &, Ask &ask, Out &) { ask.beam_width = 0; });
    refuse("the rows of logits", [](In &, Ask &ask, Out &) { ask.first_row = 1; });
    refuse("temperature must be above 0", [](In &, Ask &ask, Out &) { ask.temperature = 0; });
    refuse("temperature must be above 0", [](In &, Ask &ask, Out &) { ask.temperature = NAN; });
    refuse("normalization known", [](In &, Ask &ask, Out &) { ask.normalize = static_cast<esp_normalize>(3); });
    refuse("depth must be < 3, found 3", [](In &in, Ask &, Out &) { in.depth = 3; });
    refuse("tokens 1 to 50 must be < 50", [](In &in, Ask &, Out &) { in.token_offset = 1; });
    std::vector<uint32_t> table(50);
    refuse("must have 50 entries", [&](In &in, Ask &, Out &) { in.token_table = table.data(); in.token_table_length = 49; });
    refuse("the token table must begin", [&](In &in, Ask &, Out &) { in.token_table = misaligned(table.data()); in.token_table_length = 50; });
    table[7] = 50;
    refuse("token 50 must be < 50", [&](In &in, Ask &, Out &) { in.token_table = table.data(); in.token_table_length = 50; });
    refuse("must be a range of the", [](In &in, Ask &, Out &) { in.node_hi = in.node_lo; });
    refuse("nodeLo must not be null", [](In &in, Ask &, Out &) { in.node_lo = nullptr; });
    refuse("nodeHi must begin", [](In &in, Ask &, Out &) { in.node_hi = misaligned(in.node_hi); });
    refuse("scores must not be null", [](In &in, Ask &, Out &) { in.scores = nullptr; });
    refuse("logits must not be null", [](In &in, Ask &, Out &) { in.logits = nullptr; });
    refuse("logits must begin at a multiple of 4", [](In &in, Ask &, Out &) { in.logits = misaligned(static_cast<const char *>(in.logits)); });
    refuse("logits must lie on device 0", [](In &in, Ask &, Out &) { in.on_device = 1; in.logits = reinterpret_cast<const void *>((reinterpret_cast<uintptr_t>(in.logits) + 15) / 16 * 16); });
    refuse("found type 3", [](In &in, Ask &, Out &) { in.logit_type = static_cast<esp_logit_type>(3); });
    refuse("output's counts must not be null", [](In &, Ask &, Out &out) { out.counts = nullptr; });
    refuse("output's scores must begin", [](In &, Ask &, Out &out) { out.scores = misaligned(out.scores); });
    refuse("output's parentBeams must not", [](In &, Ask &, Out &out) { out.parent_beams = nullptr; });
    refuse("output's codes must not", [](In &, Ask &, Out &out) { out.codes = nullptr; });
    refuse("output's nodeLo must not", [](In &, Ask &, Out &out) { out.node_lo = nullptr; });
    refuse("output's nodeHi must not", [](In &, Ask &, Out &out) { out.node_hi = nullptr; });
    refuse("output's normalizers must not", [](In &, Ask &, Out &out) { out.normalizers = nullptr; });
    refuse("output's badBeams must not", [](In &, Ask &, Out &out) { out.bad_beams = nullptr; });
    refuse("output's badTokens must not", [](In &, Ask &, Out &out) { out.bad_tokens = nullptr; });
    refuse("output's badValues must not", [](In &, Ask &, Out &out) { out.bad_values = nullptr; });
    const esp_cuda_step_request two[2] = {step.request, {of_other.on_device, 0, 5, 0, ESP_VOCABULARY, 1}};
    refuse("depth 0 has 51 codes, that of the first request 50", [&](In &in, Ask &, Out &) { in.requests = two; in.request_count = 2; in.vocab_size = 51; });
    // The leaves of the second node and half of the first are a range, but no node.
    const uint32_t lo = 1;
    const uint32_t hi = catalog.arrays->top_levels[0].leaf_start[2];
    refuse("request 0: its beams are no nodes of the trie", [&](In &in, Ask &, Out &) { in.depth = 1; in.node_lo = &lo; in.node_hi = &hi; in.vocab_size = 60; in.row_count = 1; static const float row[60] = {}; in.logits = row; });
    // After all of that, a step is what it was.
    must(step.run(stepper), "step");
    check_equal(step.children, step.expected(constraint), {0}, "after refusals");
    // No request, and none that is left.
    esp_cuda_step_input empty = {};
    must(esp_cuda_step(stepper, &empty, &step.output), "no requests");
    step.request.beam_count = 0;
    must(step.run(stepper), "no beams");
    CHECK(step.children.counts[0] == 0 && step.children.bad_beams[0] == -1, "a request that left has no children");
  }
  esp_cuda_stepper_release(stepper);
  esp_cuda_trie_release(trie);
  esp_cuda_trie_release(other_trie);
  esp_cuda_trie_release(foreign);
  esp_cuda_close(second);
}

void check_batch_refusals(Random &random, esp_cuda_context *context) {
  const Catalog catalog(random, {50, 60, 7}, 3000);
  const Catalog other(random, {50, 60}, 300);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_trie *other_trie = uploaded(context, other);
  {
    const Constraint constraint(random, catalog, trie, 0.5, 0);
    const Constraint of_other(random, other, other_trie, 1, 0);
    esp_cuda_batch *batch = nullptr;
    const esp_cuda_batch_options good = {2, 20, ESP_LOGITS_F32, 60, ESP_VOCABULARY, 1};
    esp_cuda_constraint *const both[] = {constraint.on_device, constraint.on_device};
    const auto refuse = [&](const char *words, const std::function<void(esp_cuda_batch_options &)> &spoil) {
      esp_cuda_batch_options options = good;
      spoil(options);
      expect(esp_cuda_batch_create(context, &options, both, &batch), ESP_STATUS_SHAPE, words, "batch");
    };
    refuse("must have requests", [](esp_cuda_batch_options &options) { options.request_count = 0; });
    refuse("1 to 1024 beams", [](esp_cuda_batch_options &options) { options.beam_width = 1025; });
    refuse("at most 2147483647 beams", [](esp_cuda_batch_options &options) { options.request_count = UINT32_MAX; });
    refuse("found type 3", [](esp_cuda_batch_options &options) { options.logit_type = static_cast<esp_logit_type>(3); });
    refuse("vocabulary must have tokens", [](esp_cuda_batch_options &options) { options.vocab_size = 0; });
    refuse("temperature must be above 0", [](esp_cuda_batch_options &options) { options.temperature = -1; });
    expect(esp_cuda_batch_create(context, &good, nullptr, &batch), ESP_STATUS_SHAPE, "constraints must not be null", "batch");
    expect(esp_cuda_batch_create(context, nullptr, both, &batch), ESP_STATUS_SHAPE, "options must not be null", "batch");
    expect(esp_cuda_batch_create(nullptr, &good, both, &batch), ESP_STATUS_SHAPE, "context must not be null", "batch");
    esp_cuda_constraint *const missing[] = {constraint.on_device, nullptr};
    expect(esp_cuda_batch_create(context, &good, missing, &batch), ESP_STATUS_SHAPE, "request 1: its constraint must not be null", "batch");
    esp_cuda_constraint *const mixed[] = {constraint.on_device, of_other.on_device};
    expect(esp_cuda_batch_create(context, &good, mixed, &batch), ESP_STATUS_SHAPE, "request 1: its trie's levels and codebooks", "batch");
    must(esp_cuda_batch_create(context, &good, both, &batch), "batch");
    expect(esp_cuda_batch_set_constraint(batch, 2, constraint.on_device, nullptr), ESP_STATUS_SHAPE, "request must be < 2", "set_constraint");
    expect(esp_cuda_batch_set_constraint(batch, 1, nullptr, nullptr), ESP_STATUS_SHAPE, "constraint must not be null", "set_constraint");
    expect(esp_cuda_batch_set_constraint(batch, 1, of_other.on_device, nullptr), ESP_STATUS_SHAPE, "levels and codebooks", "set_constraint");
    expect(esp_cuda_batch_set_constraint(nullptr, 1, constraint.on_device, nullptr), ESP_STATUS_SHAPE, "batch must not be null", "set_constraint");
    const OnDevice<char> memory(1 << 16);
    const DeviceBeams from(2, 40);
    const DeviceBeams to(2, 40);
    const esp_cuda_batch_step step = {1, memory.get(), 0, nullptr, from.counts.get(), from.scores.get(), from.lo.get(), from.hi.get(), to.counts.get(), to.scores.get(),
                                      to.parents.get(), to.codes.get(), to.lo.get(), to.hi.get(), to.bad_beams.get()};
    const auto refuse_step = [&](const char *words, const std::function<void(esp_cuda_batch_step &)> &spoil) {
      esp_cuda_batch_step spoilt = step;
      spoil(spoilt);
      expect(esp_cuda_batch_run(batch, &spoilt, nullptr), ESP_STATUS_SHAPE, words, "batch_run");
    };
    using Step = esp_cuda_batch_step;
    expect(esp_cuda_batch_run(nullptr, &step, nullptr), ESP_STATUS_SHAPE, "batch must not be null", "batch_run");
    expect(esp_cuda_batch_run(batch, nullptr, nullptr), ESP_STATUS_SHAPE, "step must not be null", "batch_run");
    refuse_step("depth must be < 3, found 3", [](Step &bad) { bad.depth = 3; });
    refuse_step("tokens 1 to 60", [](Step &bad) { bad.token_offset = 1; });
    refuse_step("logits must not be null", [](Step &bad) { bad.logits = nullptr; });
    refuse_step("logits must begin at a multiple of 16", [](Step &bad) { bad.logits = static_cast<const char *>(bad.logits) + 4; });
    refuse_step("token table must begin", [](Step &bad) { bad.token_table = misaligned(bad.counts); });
    refuse_step("counts must not be null", [](Step &bad) { bad.counts = nullptr; });
    refuse_step("scores must not be null", [](Step &bad) { bad.scores = nullptr; });
    refuse_step("nodeLo must begin", [](Step &bad) { bad.node_lo = misaligned(bad.node_lo); });
    refuse_step("nodeHi must not be null", [](Step &bad) { bad.node_hi = nullptr; });
    refuse_step("output's counts must not be null", [](Step &bad) { bad.out_counts = nullptr; });
    refuse_step("output's scores must begin", [](Step &bad) { bad.out_scores = misaligned(bad.out_scores); });
    refuse_step("output's parentBeams must not be null", [](Step &bad) { bad.out_parent_beams = nullptr; });
    refuse_step("output's codes must not be null", [](Step &bad) { bad.out_codes = nullptr; });
    refuse_step("output's nodeHi must not be null", [](Step &bad) { bad.out_node_hi = nullptr; });
    refuse_step("output's badBeams must not be null", [](Step &bad) { bad.out_bad_beams = nullptr; });
    refuse_step("output's nodeLo must not be an array that the step reads", [](Step &bad) { bad.out_node_lo = const_cast<uint32_t *>(bad.node_lo); });
    cudaStream_t gone = nullptr;
    CHECK(cudaStreamCreateWithFlags(&gone, cudaStreamNonBlocking) == cudaSuccess && cudaStreamDestroy(gone) == cudaSuccess, "stream");
    expect(esp_cuda_batch_run(batch, &step, gone), ESP_STATUS_SYSTEM, "invalid resource handle", "batch_run");
    esp_cuda_memory memory_now;
    must(esp_cuda_memory_of(context, &memory_now), "a wrong stream breaks nothing");
    esp_cuda_batch_release(batch);
  }
  esp_cuda_trie_release(trie);
  esp_cuda_trie_release(other_trie);
}

}  // namespace

void check_refusals(Random &random) {
  esp_cuda_context *context = opened();
  check_trie_refusals(random, context);
  check_constraint_refusals(random, context);
  check_step_refusals(random, context);
  check_batch_refusals(random, context);
  esp_cuda_close(context);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}
