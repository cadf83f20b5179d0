// The library behind espalier_cuda.h over the stand-in for the CUDA runtime: what lies on the device and for how long,
// everything that can be wrong, and decodes against esp_step.
//   cuda_library_test [--seed N] [--cases N]
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "../cuda/emulated/testing.h"
#include "cuda_testing.h"

using namespace testing;

namespace {

esp_cuda_context *opened() {
  esp_cuda_context *context = nullptr;
  must(esp_cuda_open(0, &context), "esp_cuda_open");
  return context;
}

esp_cuda_memory memory_of(esp_cuda_context *context) {
  esp_cuda_memory memory = {};
  must(esp_cuda_memory_of(context, &memory), "esp_cuda_memory_of");
  return memory;
}

bool same(const esp_cuda_memory &a, const esp_cuda_memory &b) {
  return a.trie_bytes == b.trie_bytes && a.set_bytes == b.set_bytes && a.exclusion_bytes == b.exclusion_bytes &&
         a.scratch_bytes == b.scratch_bytes && a.staging_bytes == b.staging_bytes && a.free_bytes == b.free_bytes;
}

esp_cuda_trie *uploaded(esp_cuda_context *context, const Catalog &catalog) {
  esp_cuda_trie *trie = nullptr;
  must(esp_cuda_trie_upload(context, catalog.arrays, &trie), "esp_cuda_trie_upload");
  return trie;
}

// ---- the device --------------------------------------------------------------------------------------

void check_probe() {
  esp_cuda_device device = {};
  esp_cuda_emulated_configure("memory=1000000000");
  must(esp_cuda_probe(0, &device), "probe");
  CHECK(device.compute_major == 9 && device.compute_minor == 0 && device.total_bytes == 1000000000 && device.driver_version == 13000 &&
            device.runtime_version == 13000 && device.multiprocessor_count > 0 && strlen(device.name) > 0,
        "what the probe says of the device");
  struct Case {
    const char *settings;
    uint32_t device;
    esp_status status;
    const char *words;
  };
  const Case cases[] = {
      {"driver=0", 0, ESP_STATUS_UNSUPPORTED, "no CUDA driver"},
      {"driver=11040", 0, ESP_STATUS_UNSUPPORTED, "driver is of CUDA 11.4, this build needs one of CUDA 13.0"},
      {"devices=0", 0, ESP_STATUS_UNSUPPORTED, "no device"},
      {"devices=2", 2, ESP_STATUS_UNSUPPORTED, "there is no device 2; the last of 2 is 1"},
      {"compute=75", 0, ESP_STATUS_UNSUPPORTED, "compute capability 7.5"},
      {"fail-allocation=1", 0, ESP_STATUS_MEMORY, "no memory left"},
      {"fail-launch=1", 0, ESP_STATUS_SYSTEM, "illegal memory access"},
  };
  for (const Case &one : cases) {
    esp_cuda_emulated_configure(one.settings);
    expect(esp_cuda_probe(one.device, &device), one.status, one.words, one.settings);
    esp_cuda_emulated_configure(one.settings);
    esp_cuda_context *context = nullptr;
    expect(esp_cuda_open(one.device, &context), one.status, one.words, one.settings);
    CHECK(context == nullptr && esp_cuda_emulated_live() == 0, "%s: something was left behind", one.settings);
  }
  esp_cuda_emulated_configure("driver=11040");
  esp_cuda_probe(0, &device);
  CHECK(device.driver_version == 11040 && device.runtime_version == 13000, "versions are told of an old driver, too");
  esp_cuda_emulated_configure("");
  CHECK(esp_cuda_abi() == ESP_CUDA_ABI, "the library's number is the header's");
}


// ---- memory ------------------------------------------------------------------------------------------

// A step of one request at the root, with logits of its own.
struct SmallStep {
  LogitRows logits;
  std::vector<char> bytes;
  Children children;
  esp_cuda_step_request request;
  float score = 0;
  uint32_t lo = 0;
  uint32_t hi;
  esp_cuda_step_input input;
  esp_step_output output;

  SmallStep(Random &random, const Catalog &catalog, const esp_cuda_constraint *constraint)
      : logits(random, 1, catalog.arrays->codebook_sizes[0], false), children(1, kWidth, 1), hi(catalog.arrays->leaf_count) {
    logits.dominate(0, 0);
    bytes = logits.as(ESP_LOGITS_F32);
    request = {constraint, 1, kWidth, 0, ESP_VOCABULARY, 1};
    input = {0, 1, &request, &score, &lo, &hi, bytes.data(), 0, ESP_LOGITS_F32, 1, catalog.arrays->codebook_sizes[0], 0, nullptr, 0};
    output = children.output();
  }
  SmallStep(const SmallStep &) = delete;
  esp_status run(esp_cuda_stepper *stepper) { return esp_cuda_step(stepper, &input, &output); }
  // What esp_step finds.
  Children expected(const Constraint &constraint) {
    Children found(1, kWidth, 1);
    esp_stepper *stepper = nullptr;
    must(esp_stepper_create(ESP_LEVEL_SCALAR, 1, &stepper), "esp_stepper_create");
    const esp_step_request asked = {constraint.on_cpu, 1, kWidth, 0, ESP_VOCABULARY, 1};
    const esp_step_input in = {0, 1, &asked, &score, &lo, &hi, bytes.data(), ESP_LOGITS_F32, 1, input.vocab_size, 0, nullptr, 0};
    const esp_step_output out = found.output();
    must(esp_step(stepper, &in, &out), "esp_step");
    esp_stepper_release(stepper);
    return found;
  }

  static constexpr uint32_t kWidth = 20;
};

void check_sizes(Random &random) {
  esp_cuda_context *context = opened();
  const esp_cuda_memory before = memory_of(context);
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_trie *again = uploaded(context, catalog);
  CHECK(esp_cuda_trie_bytes(trie) > uint64_t{catalog.arrays->leaf_count} * 6, "a trie is larger than its rows");
  CHECK(memory_of(context).trie_bytes == esp_cuda_trie_bytes(trie) + esp_cuda_trie_bytes(again), "each upload is a copy");
  CHECK(before.free_bytes - memory_of(context).free_bytes == memory_of(context).trie_bytes, "what is counted is what is taken");
  esp_cuda_trie_release(again);
  CHECK(memory_of(context).trie_bytes == esp_cuda_trie_bytes(trie), "a released copy is gone at once");
  {
    const Constraint constraint(random, catalog, trie, 0.5, 0.2);
    const esp_cuda_memory now = memory_of(context);
    CHECK(now.set_bytes == esp_cuda_set_bytes(constraint.device_set) && now.set_bytes > 0 && now.exclusion_bytes > 0,
          "sets and exclusions are counted");
    esp_cuda_stepper *stepper = nullptr;
    must(esp_cuda_stepper_create(context, &stepper), "stepper");
    SmallStep step(random, catalog, constraint.on_device);
    must(step.run(stepper), "step");
    const esp_cuda_memory stepped = memory_of(context);
    CHECK(stepped.scratch_bytes > 0 && stepped.staging_bytes > before.staging_bytes, "scratch and staging are counted");
    must(step.run(stepper), "step");
    CHECK(same(memory_of(context), stepped), "a second step takes nothing more");
    esp_cuda_stepper_release(stepper);
  }
  esp_cuda_trie_release(trie);
  CHECK(same(memory_of(context), before), "everything comes back");
  esp_cuda_close(context);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}

// Lets the first allocation of `make` fail, then the second, and so on, until it succeeds.
// @param context null while there is none
void check_failing(const char *what, esp_cuda_context *context, const std::function<esp_status()> &make) {
  for (uint32_t nth = 1;; nth++) {
    const uint64_t live = esp_cuda_emulated_live();
    const esp_cuda_memory before = context == nullptr ? esp_cuda_memory{} : memory_of(context);
    esp_cuda_emulated_configure(("fail-allocation=" + std::to_string(nth)).c_str());
    const esp_status status = make();
    esp_cuda_emulated_configure("");
    if (status == ESP_OK) {
      CHECK(nth > 1, "%s: nothing was allocated", what);
      return;
    }
    expect(status, ESP_STATUS_MEMORY, "memory", what);
    CHECK(esp_cuda_emulated_live() == live, "%s, allocation %u: something was left behind", what, nth);
    CHECK(context == nullptr || same(memory_of(context), before), "%s, allocation %u: bytes are still counted", what, nth);
    CHECK(nth < 100, "%s never succeeds", what);
    if (nth == 100) return;
  }
}

void check_out_of_memory(Random &random) {
  esp_cuda_context *context = nullptr;
  check_failing("open", nullptr, [&] { return esp_cuda_open(0, &context); });
  const Catalog catalog(random, {50, 60, 7}, 3000);
  const HostSet host_set = catalog.random_set(random, 0.5);
  esp_cuda_trie *trie = nullptr;
  esp_cuda_set *set = nullptr;
  esp_cuda_constraint *constraint = nullptr;
  esp_cuda_stepper *stepper = nullptr;
  esp_cuda_batch *batch = nullptr;
  const uint32_t dead = 5;
  check_failing("trie", context, [&] { return esp_cuda_trie_upload(context, catalog.arrays, &trie); });
  check_failing("set", context, [&] {
    return esp_cuda_set_upload(trie, host_set.leaf_bits.data(), host_set.root_mask.data(), host_set.node_bits.data(), &set);
  });
  check_failing("constraint", context, [&] { return esp_cuda_constraint_create(trie, nullptr, &dead, 1, &constraint); });
  check_failing("stepper", context, [&] { return esp_cuda_stepper_create(context, &stepper); });
  // A step keeps what it got so far; the next one goes on from there.
  SmallStep step(random, catalog, constraint);
  uint32_t nth = 1;
  for (esp_status status = ESP_STATUS_MEMORY; status != ESP_OK && nth < 100; nth++) {
    esp_cuda_stepper_release(stepper);
    must(esp_cuda_stepper_create(context, &stepper), "stepper");
    esp_cuda_emulated_configure(("fail-allocation=" + std::to_string(nth)).c_str());
    status = step.run(stepper);
    esp_cuda_emulated_configure("");
    if (status == ESP_OK) break;
    expect(status, ESP_STATUS_MEMORY, "memory", "step");
    must(step.run(stepper), "the step after one that got no memory");
  }
  CHECK(nth == 6, "a first step allocates input, output, both as staging, and scratch, found %u", nth - 1);
  const esp_cuda_batch_options options = {1, 20, ESP_LOGITS_F32, 50, ESP_VOCABULARY, 1};
  check_failing("batch", context, [&] { return esp_cuda_batch_create(context, &options, &constraint, &batch); });
  check_failing("set_constraint", context, [&] { return esp_cuda_batch_set_constraint(batch, 0, constraint, nullptr); });
  esp_cuda_batch_release(batch);
  esp_cuda_stepper_release(stepper);
  esp_cuda_constraint_release(constraint);
  esp_cuda_set_release(set);
  esp_cuda_trie_release(trie);
  esp_cuda_close(context);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}

void check_no_room(Random &random) {
  esp_cuda_emulated_configure("memory=100000");
  esp_cuda_context *context = opened();
  const Catalog catalog(random, {50, 60, 7, 7, 7}, 40000);
  esp_cuda_trie *trie = nullptr;
  const uint64_t live = esp_cuda_emulated_live();
  expect(esp_cuda_trie_upload(context, catalog.arrays, &trie), ESP_STATUS_MEMORY, "of 100000 bytes are free", "a trie larger than the device");
  CHECK(trie == nullptr && esp_cuda_emulated_live() == live, "nothing was allocated");
  const Catalog small(random, {50, 60, 7}, 300);
  trie = uploaded(context, small);
  esp_cuda_trie_release(trie);
  esp_cuda_close(context);
  esp_cuda_emulated_configure("");
}

// ---- how long things live ----------------------------------------------------------------------------

void check_release_in_step(Random &random) {
  esp_cuda_context *context = opened();
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_stepper *stepper = nullptr;
  must(esp_cuda_stepper_create(context, &stepper), "stepper");
  struct Held {
    esp_cuda_trie *trie;
    Constraint constraint;
  } held = {trie, {random, catalog, trie, 0.5, 0.2}};
  SmallStep step(random, catalog, held.constraint.on_device);
  const Children expected = step.expected(held.constraint);
  const auto release = [](void *user) {
    Held *all = static_cast<Held *>(user);
    all->constraint.release_on_device();
    esp_cuda_trie_release(std::exchange(all->trie, nullptr));
  };
  esp_cuda_emulated_before_kernel(release, &held);
  must(step.run(stepper), "a step whose constraint, set and trie are released meanwhile");
  esp_cuda_emulated_before_kernel(nullptr, nullptr);
  check_equal(step.children, expected, {0}, "released in a step");
  const esp_cuda_memory after = memory_of(context);
  CHECK(held.trie == nullptr && after.trie_bytes == 0 && after.set_bytes == 0 && after.exclusion_bytes == 0, "they went with the step");
  esp_cuda_stepper_release(stepper);
  esp_cuda_close(context);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}

void check_close(Random &random) {
  esp_cuda_context *context = opened();
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_stepper *stepper = nullptr;
  must(esp_cuda_stepper_create(context, &stepper), "stepper");
  esp_cuda_batch *batch = nullptr;
  {
    Constraint constraint(random, catalog, trie, 0.5, 0.2);
    const esp_cuda_batch_options options = {1, 20, ESP_LOGITS_F32, 50, ESP_VOCABULARY, 1};
    must(esp_cuda_batch_create(context, &options, &constraint.on_device, &batch), "batch");
    SmallStep step(random, catalog, constraint.on_device);
    esp_cuda_close(context);
    expect(step.run(stepper), ESP_STATUS_SHAPE, "closed", "a step of a closed context");
    esp_cuda_constraint *another = nullptr;
    expect(esp_cuda_constraint_create(trie, nullptr, nullptr, 0, &another), ESP_STATUS_SHAPE, "closed", "a constraint of a closed context");
  }
  CHECK(esp_cuda_emulated_live() > 0, "handles keep their memory");
  esp_cuda_trie_release(trie);
  esp_cuda_stepper_release(stepper);
  esp_cuda_batch_release(batch);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}

void check_broken_device(Random &random) {
  esp_cuda_context *context = opened();
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_stepper *stepper = nullptr;
  must(esp_cuda_stepper_create(context, &stepper), "stepper");
  {
    Constraint constraint(random, catalog, trie, 0.5, 0.2);
    SmallStep step(random, catalog, constraint.on_device);
    must(step.run(stepper), "step");
    esp_cuda_emulated_configure("fail-launch=1");
    expect(step.run(stepper), ESP_STATUS_SYSTEM, "an illegal memory access", "a step that breaks the device");
    expect(step.run(stepper), ESP_STATUS_SYSTEM, "failed before: running a step: an illegal memory access", "the step after");
    esp_cuda_memory memory;
    expect(esp_cuda_memory_of(context, &memory), ESP_STATUS_SYSTEM, "failed before", "everything after");
    esp_cuda_trie *another = nullptr;
    expect(esp_cuda_trie_upload(context, catalog.arrays, &another), ESP_STATUS_SYSTEM, "failed before", "everything after");
  }
  esp_cuda_stepper_release(stepper);
  esp_cuda_trie_release(trie);
  esp_cuda_close(context);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
  esp_cuda_emulated_configure("");
}

// ---- what is refused ---------------------------------------------------------------------------------

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

// ---- decodes -----------------------------------------------------------------------------------------

// An array in device memory.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(size_t count) : count_(count) { CHECK(cudaMalloc(&data_, count * sizeof(T)) == cudaSuccess, "cudaMalloc"); }
  OnDevice(const OnDevice &) = delete;
  ~OnDevice() { cudaFree(data_); }
  T *get() const { return data_; }
  void write(const void *from, size_t bytes) { CHECK(cudaMemcpy(data_, from, bytes, cudaMemcpyHostToDevice) == cudaSuccess, "cudaMemcpy"); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    CHECK(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess, "cudaMemcpy");
    return values;
  }

 private:
  T *data_ = nullptr;
  size_t count_;
};

std::vector<uint32_t> random_codebooks(Random &random) {
  std::vector<uint32_t> sizes;
  const uint64_t levels = 1 + random.below(5);
  for (uint64_t level = 0; level < levels; level++) sizes.push_back(random.pick<uint32_t>({1, 2, 50, 130, 770}));
  if (random.chance(0.1)) sizes.back() = 70000;
  return sizes;
}

struct Asked {
  const Constraint *constraint;
  uint32_t width;
  esp_normalize normalize;
  float temperature;
};

// The beams of several requests, one after the other.
struct Beams {
  std::vector<uint32_t> counts;
  std::vector<float> scores;
  std::vector<uint32_t> lo, hi;
};

// One step of `asked` on both; returns the beams that follow.
Beams check_step(Random &random, const Catalog &catalog, const std::vector<Asked> &asked, const Beams &beams, uint32_t depth,
                 esp_stepper *cpu, esp_cuda_stepper *gpu) {
  const Tokens tokens(random, catalog.arrays->codebook_sizes[depth]);
  // Rows lie in another order than requests, with a gap.
  const size_t rows = beams.scores.size() + 1;
  LogitRows logits(random, rows, tokens.vocab_size, random.chance(0.3));
  std::vector<esp_step_request> cpu_requests;
  std::vector<esp_cuda_step_request> gpu_requests;
  std::vector<size_t> first;
  size_t beam = 0;
  size_t children = 0;
  size_t row = rows;
  for (size_t request = 0; request < asked.size(); request++) {
    const Asked &one = asked[request];
    row -= beams.counts[request];
    for (uint32_t at = 0; at < beams.counts[request]; at++, beam++) {
      dominate_live(random, logits, row + at, tokens, catalog, *one.constraint, depth, beams.lo[beam], beams.hi[beam]);
    }
    const uint32_t first_row = static_cast<uint32_t>(row);
    cpu_requests.push_back({one.constraint->on_cpu, beams.counts[request], one.width, first_row, one.normalize, one.temperature});
    gpu_requests.push_back({one.constraint->on_device, beams.counts[request], one.width, first_row, one.normalize, one.temperature});
    first.push_back(children);
    children += one.width;
  }
  if (beam > 0 && random.chance(0.05)) logits.spoil(row, random.chance(0.5) ? 0 : tokens.of(0), random.chance(0.5) ? NAN : HUGE_VALF);
  const std::vector<char> plain = logits.as(ESP_LOGITS_F32);
  const esp_logit_type type = random.pick<esp_logit_type>({ESP_LOGITS_F32, ESP_LOGITS_F16, ESP_LOGITS_BF16});
  const std::vector<char> typed = logits.as(type);
  const OnDevice<char> device_logits(typed.size());
  const bool on_device = random.chance(0.3);
  if (on_device) const_cast<OnDevice<char> &>(device_logits).write(typed.data(), typed.size());
  const uint32_t count = static_cast<uint32_t>(asked.size());
  const uint32_t *table = tokens.table.empty() ? nullptr : tokens.table.data();
  const uint32_t table_length = static_cast<uint32_t>(tokens.table.size());
  const esp_step_input cpu_input = {depth, count, cpu_requests.data(), beams.scores.data(), beams.lo.data(), beams.hi.data(), plain.data(),
                                    ESP_LOGITS_F32, rows, tokens.vocab_size, tokens.offset, table, table_length};
  const void *gpu_logits = on_device ? device_logits.get() : typed.data();
  const esp_cuda_step_input gpu_input = {depth, count, gpu_requests.data(), beams.scores.data(), beams.lo.data(), beams.hi.data(), gpu_logits,
                                         on_device, type, rows, tokens.vocab_size, tokens.offset, table, table_length};
  Children expected(count, children, beam);
  Children found(count, children, beam);
  const esp_step_output cpu_output = expected.output();
  const esp_step_output gpu_output = found.output();
  must(esp_step(cpu, &cpu_input, &cpu_output), "esp_step");
  must(esp_cuda_step(gpu, &gpu_input, &gpu_output), "esp_cuda_step");
  check_equal(found, expected, first, "esp_cuda_step");
  Beams next;
  for (size_t request = 0; request < count; request++) {
    if (expected.bad_beams[request] >= 0) {
      const bool same_value = found.bad_values[request] == expected.bad_values[request] ||
                              (std::isnan(found.bad_values[request]) && std::isnan(expected.bad_values[request]));
      CHECK(found.bad_tokens[request] == expected.bad_tokens[request] && same_value, "bad token %u of %g, expected %u of %g",
            found.bad_tokens[request], static_cast<double>(found.bad_values[request]), expected.bad_tokens[request],
            static_cast<double>(expected.bad_values[request]));
    }
    next.counts.push_back(expected.counts[request]);
    for (size_t at = first[request]; at < first[request] + expected.counts[request]; at++) {
      next.scores.push_back(expected.scores[at]);
      next.lo.push_back(expected.lo[at]);
      next.hi.push_back(expected.hi[at]);
    }
  }
  return next;
}

void check_stepper_decode(Random &random, esp_cuda_context *context, esp_stepper *cpu, esp_cuda_stepper *gpu) {
  const Catalog catalog(random, random_codebooks(random), 1 + random.below(1500));
  esp_cuda_trie *trie = uploaded(context, catalog);
  {
    std::vector<std::unique_ptr<Constraint>> constraints;
    std::vector<Asked> asked;
    Beams beams;
    for (uint64_t count = 1 + random.below(3); count > 0; count--) {
      constraints.push_back(std::make_unique<Constraint>(random, catalog, trie, random.pick<double>({0.1, 0.6, 1}), random.pick<double>({0, 0.1, 0.9})));
      asked.push_back({constraints.back().get(), random.pick<uint32_t>({1, 3, 17}), static_cast<esp_normalize>(random.below(3)), random.pick<float>({1, 0.5f})});
      beams.counts.push_back(1);
      beams.scores.push_back(0);
      beams.lo.push_back(0);
      beams.hi.push_back(catalog.arrays->leaf_count);
    }
    for (uint32_t depth = 0; depth < catalog.arrays->level_count && !beams.scores.empty(); depth++) {
      beams = check_step(random, catalog, asked, beams, depth, cpu, gpu);
    }
  }
  esp_cuda_trie_release(trie);
}

// What a batch keeps on the device from one step to the next; two of them take turns.
struct DeviceBeams {
  OnDevice<uint32_t> counts, parents, codes, lo, hi;
  OnDevice<float> scores;
  OnDevice<int32_t> bad_beams;
  DeviceBeams(size_t requests, size_t beams) : counts(requests), parents(beams), codes(beams), lo(beams), hi(beams), scores(beams), bad_beams(requests) {}
};

// A decode that stays on the device, step by step or captured and replayed, against esp_step; then once more with another
// constraint in the first request's place.
void check_batch_decode(Random &random, esp_cuda_context *context, esp_stepper *cpu) {
  const Catalog catalog(random, random_codebooks(random), 1 + random.below(1500));
  const uint32_t levels = catalog.arrays->level_count;
  esp_cuda_trie *trie = uploaded(context, catalog);
  const uint32_t requests = 1 + static_cast<uint32_t>(random.below(3));
  const uint32_t width = random.pick<uint32_t>({1, 3, 17});
  std::vector<std::unique_ptr<Constraint>> constraints;
  std::vector<esp_cuda_constraint *> handles;
  for (uint32_t request = 0; request <= requests; request++) {
    constraints.push_back(std::make_unique<Constraint>(random, catalog, trie, random.pick<double>({0.1, 0.6, 1}), random.pick<double>({0, 0.1, 0.9})));
    handles.push_back(constraints.back()->on_device);
  }
  const esp_logit_type type = random.pick<esp_logit_type>({ESP_LOGITS_F32, ESP_LOGITS_F16, ESP_LOGITS_BF16});
  std::vector<Tokens> tokens;
  uint32_t vocab_size = 0;
  for (uint32_t depth = 0; depth < levels; depth++) {
    tokens.emplace_back(random, catalog.arrays->codebook_sizes[depth]);
    vocab_size = std::max(vocab_size, tokens.back().vocab_size);
  }
  if (random.chance(0.5)) vocab_size = (vocab_size + 7) / 8 * 8;
  const esp_cuda_batch_options options = {requests, width, type, vocab_size, ESP_VOCABULARY, random.pick<float>({1, 0.5f})};
  esp_cuda_batch *batch = nullptr;
  must(esp_cuda_batch_create(context, &options, handles.data(), &batch), "esp_cuda_batch_create");
  // One token stands for every row's mass.
  const uint32_t rows = requests * width;
  std::vector<LogitRows> logits;
  std::vector<std::unique_ptr<OnDevice<char>>> device_logits;
  std::vector<std::unique_ptr<OnDevice<uint32_t>>> device_tables;
  std::vector<std::unique_ptr<DeviceBeams>> steps;
  for (uint32_t depth = 0; depth < levels; depth++) {
    logits.emplace_back(random, rows, vocab_size, random.chance(0.3));
    for (uint32_t row = 0; row < rows; row++) logits.back().dominate(row, static_cast<uint32_t>(random.below(vocab_size)));
    const std::vector<char> typed = logits.back().as(type);
    device_logits.push_back(std::make_unique<OnDevice<char>>(typed.size()));
    device_logits.back()->write(typed.data(), typed.size());
    const std::vector<uint32_t> &table = tokens[depth].table;
    device_tables.push_back(std::make_unique<OnDevice<uint32_t>>(table.empty() ? 1 : table.size()));
    if (!table.empty()) device_tables.back()->write(table.data(), table.size() * sizeof(uint32_t));
    steps.push_back(std::make_unique<DeviceBeams>(requests, rows));
  }
  cudaStream_t stream = nullptr;
  const bool is_captured = random.chance(0.5);
  if (is_captured || random.chance(0.5)) CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "stream");
  if (is_captured) CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess, "begin");
  const auto launch = [&] {
    for (uint32_t depth = 0; depth < levels; depth++) {
      const DeviceBeams *from = depth == 0 ? nullptr : steps[depth - 1].get();
      const DeviceBeams &to = *steps[depth];
      const esp_cuda_batch_step step = {depth, device_logits[depth]->get(), tokens[depth].offset,
                                        tokens[depth].table.empty() ? nullptr : device_tables[depth]->get(),
                                        from ? from->counts.get() : nullptr, from ? from->scores.get() : nullptr,
                                        from ? from->lo.get() : nullptr, from ? from->hi.get() : nullptr,
                                        to.counts.get(), to.scores.get(), to.parents.get(), to.codes.get(), to.lo.get(), to.hi.get(),
                                        to.bad_beams.get()};
      must(esp_cuda_batch_run(batch, &step, stream), "esp_cuda_batch_run");
    }
  };
  launch();
  cudaGraphExec_t replay = nullptr;
  if (is_captured) {
    // Neither what allocates nor what frees spoils a capture.
    Constraint(random, catalog, trie, 0.5, 0.1).release_on_device();
    expect(esp_cuda_batch_set_constraint(batch, 0, handles[0], stream), ESP_STATUS_SHAPE, "outside of captures", "set_constraint");
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess, "end");
    CHECK(cudaGraphInstantiate(&replay, graph, 0) == cudaSuccess, "instantiate");
    cudaGraphDestroy(graph);
    CHECK(cudaGraphLaunch(replay, stream) == cudaSuccess, "replay");
  }
  const auto check = [&](const std::vector<const Constraint *> &live, const char *what) {
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess, "synchronize");
    Beams beams;
    for (uint32_t request = 0; request < requests; request++) {
      beams.counts.push_back(1);
      beams.scores.push_back(0);
      beams.lo.push_back(0);
      beams.hi.push_back(catalog.arrays->leaf_count);
    }
    for (uint32_t depth = 0; depth < levels; depth++) {
      std::vector<esp_step_request> asked;
      std::vector<size_t> first;
      size_t total = 0;
      for (uint32_t request = 0; request < requests; request++) {
        asked.push_back({live[request]->on_cpu, beams.counts[request], width, depth == 0 ? request : request * width, options.normalize, options.temperature});
        first.push_back(size_t{request} * width);
        total += beams.counts[request];
      }
      const std::vector<char> plain = logits[depth].as(ESP_LOGITS_F32);
      const esp_step_input input = {depth, requests, asked.data(), beams.scores.data(), beams.lo.data(), beams.hi.data(), plain.data(), ESP_LOGITS_F32, rows, vocab_size,
                                    tokens[depth].offset, tokens[depth].table.empty() ? nullptr : tokens[depth].table.data(), static_cast<uint32_t>(tokens[depth].table.size())};
      Children expected(requests, rows, total);
      const esp_step_output output = expected.output();
      must(esp_step(cpu, &input, &output), "esp_step");
      const DeviceBeams &at = *steps[depth];
      Children found(requests, rows, total);
      found.counts = at.counts.read();
      found.scores = at.scores.read();
      found.parents = at.parents.read();
      found.codes = at.codes.read();
      found.lo = at.lo.read();
      found.hi = at.hi.read();
      found.bad_beams = at.bad_beams.read();
      check_equal(found, expected, first, what);
      beams = {};
      for (uint32_t request = 0; request < requests; request++) {
        beams.counts.push_back(expected.counts[request]);
        for (size_t child = first[request]; child < first[request] + expected.counts[request]; child++) {
          beams.scores.push_back(expected.scores[child]);
          beams.lo.push_back(expected.lo[child]);
          beams.hi.push_back(expected.hi[child]);
        }
      }
    }
  };
  std::vector<const Constraint *> live;
  for (uint32_t request = 0; request < requests; request++) live.push_back(constraints[request].get());
  check(live, "esp_cuda_batch_run");
  // The handles go while the next decode waits on the stream; the batch holds what they stood for.
  must(esp_cuda_batch_set_constraint(batch, 0, handles[requests], stream), "esp_cuda_batch_set_constraint");
  if (is_captured) CHECK(cudaGraphLaunch(replay, stream) == cudaSuccess, "replay");
  else launch();
  for (const auto &constraint : constraints) constraint->release_on_device();
  esp_cuda_trie_release(trie);
  live[0] = constraints[requests].get();
  if (random.chance(0.5)) {
    check(live, "another constraint");
    esp_cuda_batch_release(batch);
  } else {
    // Releasing it waits for what it runs.
    esp_cuda_batch_release(batch);
    check(live, "released in a decode");
  }
  const esp_cuda_memory left = memory_of(context);
  CHECK(left.trie_bytes == 0 && left.set_bytes == 0 && left.exclusion_bytes == 0, "what the batch held is gone with it");
  if (replay != nullptr) cudaGraphExecDestroy(replay);
  if (stream != nullptr) cudaStreamDestroy(stream);
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
    refuse("found type 7", [](esp_cuda_batch_options &options) { options.logit_type = static_cast<esp_logit_type>(7); });
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

// New sets and constraints arrive on other threads while steps run.
void check_threads(Random &random, esp_cuda_context *context) {
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  {
    const Constraint constraint(random, catalog, trie, 0.5, 0.1);
    SmallStep first(random, catalog, constraint.on_device);
    const Children expected = first.expected(constraint);
    const HostSet set = catalog.random_set(random, 0.3);
    std::vector<std::thread> threads;
    std::atomic<uint32_t> failed{0};
    for (uint32_t thread = 0; thread < 2; thread++) {
      threads.emplace_back([&] {
        for (uint32_t round = 0; round < 30; round++) {
          esp_cuda_set *uploaded_set = nullptr;
          esp_cuda_constraint *made = nullptr;
          if (esp_cuda_set_upload(trie, set.leaf_bits.data(), set.root_mask.data(), set.node_bits.data(), &uploaded_set) != ESP_OK ||
              esp_cuda_constraint_create(trie, uploaded_set, &round, 1, &made) != ESP_OK) {
            failed++;
          }
          esp_cuda_set_release(uploaded_set);
          esp_cuda_constraint_release(made);
        }
      });
    }
    esp_cuda_stepper *stepper = nullptr;
    must(esp_cuda_stepper_create(context, &stepper), "stepper");
    for (uint32_t round = 0; round < 30; round++) {
      must(first.run(stepper), "step");
      check_equal(first.children, expected, {0}, "beside uploads");
    }
    for (std::thread &thread : threads) thread.join();
    CHECK(failed == 0, "%u uploads failed", failed.load());
    esp_cuda_stepper_release(stepper);
  }
  esp_cuda_trie_release(trie);
}

void check_decodes(Random &random, uint64_t cases) {
  esp_cuda_context *context = opened();
  const esp_cuda_memory before = memory_of(context);
  esp_stepper *cpu = nullptr;
  esp_cuda_stepper *gpu = nullptr;
  must(esp_stepper_create(ESP_LEVEL_SCALAR, 1, &cpu), "esp_stepper_create");
  must(esp_cuda_stepper_create(context, &gpu), "esp_cuda_stepper_create");
  for (uint64_t at = 0; at < cases; at++) {
    check_stepper_decode(random, context, cpu, gpu);
    check_batch_decode(random, context, cpu);
  }
  esp_stepper_release(cpu);
  esp_cuda_stepper_release(gpu);
  CHECK(same(memory_of(context), before), "everything comes back");
  esp_cuda_close(context);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}

}  // namespace

int main(int count, char **values) {
  const uint64_t seed = argument(count, values, "--seed", static_cast<uint64_t>(time(nullptr)));
  const uint64_t cases = argument(count, values, "--cases", 50);
  printf("cuda_library_test: seed %llu (--seed repeats it), %llu cases\n", static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cases));
  Random random(seed);
  check_probe();
  check_sizes(random);
  check_out_of_memory(random);
  check_no_room(random);
  check_release_in_step(random);
  check_close(random);
  check_broken_device(random);
  esp_cuda_context *context = opened();
  check_trie_refusals(random, context);
  check_constraint_refusals(random, context);
  check_step_refusals(random, context);
  check_batch_refusals(random, context);
  check_threads(random, context);
  esp_cuda_close(context);
  check_decodes(random, cases);
  return finish("cuda_library_test");
}
