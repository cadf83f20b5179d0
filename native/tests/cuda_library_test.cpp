// The library behind espalier_cuda.h over the stand-in for the CUDA runtime: the device, what lies on it and for how long;
// and what cuda_refusals.cpp, cuda_captures.cpp and cuda_decodes.cpp check.
//   cuda_library_test [--seed N] [--cases N]
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include "cuda_checks.h"

using namespace testing;

namespace {

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
  expect(esp_cuda_trie_upload(context, catalog.arrays, &trie), ESP_STATUS_MEMORY, "stay in reserve; ", "a trie larger than the device");
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

// What another thread does while a step runs. It must wait until that has ended, although it gets a while for itself.
struct Meanwhile {
  std::function<void()> act;
  std::thread thread;
  std::atomic<bool> has_begun{false};
  std::atomic<bool> has_ended{false};
  bool has_waited = false;

  explicit Meanwhile(std::function<void()> what) : act(std::move(what)) {}
  static void begin(void *user) {
    Meanwhile &self = *static_cast<Meanwhile *>(user);
    self.thread = std::thread([&self] {
      self.has_begun = true;
      self.act();
      self.has_ended = true;
    });
    while (!self.has_begun) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    self.has_waited = !self.has_ended;
  }
};

void check_close_in_step(Random &random) {
  esp_cuda_context *context = opened();
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  esp_cuda_stepper *stepper = nullptr;
  must(esp_cuda_stepper_create(context, &stepper), "stepper");
  {
    const Constraint constraint(random, catalog, trie, 0.5, 0.2);
    SmallStep step(random, catalog, constraint.on_device);
    const Children expected = step.expected(constraint);
    Meanwhile close([&] { esp_cuda_close(std::exchange(context, nullptr)); });
    esp_cuda_emulated_before_kernel(Meanwhile::begin, &close);
    must(step.run(stepper), "a step whose context is closed meanwhile");
    esp_cuda_emulated_before_kernel(nullptr, nullptr);
    close.thread.join();
    CHECK(close.has_waited && close.has_ended, "closing waits for the step");
    check_equal(step.children, expected, {0}, "closed in a step");
    expect(step.run(stepper), ESP_STATUS_SHAPE, "closed", "the step after");
  }
  esp_cuda_stepper_release(stepper);
  esp_cuda_trie_release(trie);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}

void check_stepper_release_in_step(Random &random) {
  esp_cuda_context *context = opened();
  const Catalog catalog(random, {50, 60, 7}, 3000);
  esp_cuda_trie *trie = uploaded(context, catalog);
  const uint64_t live = esp_cuda_emulated_live();
  {
    const Constraint constraint(random, catalog, trie, 0.5, 0.2);
    SmallStep step(random, catalog, constraint.on_device);
    const Children expected = step.expected(constraint);
    esp_cuda_stepper *stepper = nullptr;
    must(esp_cuda_stepper_create(context, &stepper), "stepper");
    Meanwhile release([&] { esp_cuda_stepper_release(stepper); });
    esp_cuda_emulated_before_kernel(Meanwhile::begin, &release);
    must(step.run(stepper), "a step whose stepper is released meanwhile");
    esp_cuda_emulated_before_kernel(nullptr, nullptr);
    release.thread.join();
    CHECK(release.has_waited && release.has_ended, "the release waits for the step");
    check_equal(step.children, expected, {0}, "its stepper released in a step");
  }
  CHECK(esp_cuda_emulated_live() == live && memory_of(context).scratch_bytes == 0, "it went with the step");
  esp_cuda_trie_release(trie);
  esp_cuda_close(context);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}

// ---- launches ----------------------------------------------------------------------------------------

// Kernels that start while it lives.
class LaunchCount {
 public:
  LaunchCount() {
    esp_cuda_emulated_before_kernel([](void *user) { ++*static_cast<uint32_t *>(user); }, &count_);
  }
  LaunchCount(const LaunchCount &) = delete;
  ~LaunchCount() { esp_cuda_emulated_before_kernel(nullptr, nullptr); }
  uint32_t get() const { return count_; }

 private:
  uint32_t count_ = 0;
};

// A step is one launch, however many requests there are, and whatever they ask.
void check_launches(Random &random) {
  constexpr uint32_t kRequests = 200;
  constexpr uint32_t kWidth = SmallStep::kWidth;
  esp_cuda_context *context = opened();
  const Catalog catalog(random, {50, 60, 7}, 3000);
  const uint32_t codes = catalog.arrays->codebook_sizes[0];
  esp_cuda_trie *trie = uploaded(context, catalog);
  {
    const Constraint all(random, catalog, trie, 1, 0);
    const Constraint some(random, catalog, trie, 0.5, 0.2);
    const std::vector<char> logits = LogitRows(random, kRequests, codes, false).as(ESP_LOGITS_F32);
    const std::vector<float> scores(kRequests);
    const std::vector<uint32_t> lo(kRequests), hi(kRequests, catalog.arrays->leaf_count);
    std::vector<esp_cuda_step_request> requests;
    std::vector<esp_cuda_constraint *> constraints;
    for (uint32_t row = 0; row < kRequests; row++) {
      constraints.push_back(row % 2 == 0 ? all.on_device : some.on_device);
      requests.push_back({constraints.back(), 1, 1 + row % kWidth, row, static_cast<esp_normalize>(row % 3), 1});
    }
    Children children(kRequests, size_t{kRequests} * kWidth, kRequests);
    const esp_cuda_step_input input = {0, kRequests, requests.data(), scores.data(), lo.data(), hi.data(), logits.data(), 0,
                                       ESP_LOGITS_F32, kRequests, codes, 0, nullptr, 0};
    const esp_step_output output = children.output();
    esp_cuda_stepper *stepper = nullptr;
    must(esp_cuda_stepper_create(context, &stepper), "stepper");
    {
      const LaunchCount launches;
      must(esp_cuda_step(stepper, &input, &output), "step");
      CHECK(launches.get() == 1, "a step of %u requests is %u launches", kRequests, launches.get());
    }
    esp_cuda_stepper_release(stepper);

    const esp_cuda_batch_options options = {kRequests, kWidth, ESP_LOGITS_F32, codes, ESP_VOCABULARY, 1};
    esp_cuda_batch *batch = nullptr;
    must(esp_cuda_batch_create(context, &options, constraints.data(), &batch), "batch");
    OnDevice<char> device_logits(logits.size());
    device_logits.write(logits.data(), logits.size());
    const DeviceBeams out(kRequests, size_t{kRequests} * kWidth);
    const esp_cuda_batch_step step = {0, device_logits.get(), 0, nullptr, nullptr, nullptr, nullptr, nullptr, out.counts.get(),
                                      out.scores.get(), out.parents.get(), out.codes.get(), out.lo.get(), out.hi.get(),
                                      out.bad_beams.get()};
    {
      const LaunchCount launches;
      must(esp_cuda_batch_run(batch, &step, nullptr), "esp_cuda_batch_run");
      CHECK(esp_cuda_emulated_synchronize() == cudaSuccess, "synchronize");
      CHECK(launches.get() == 1, "a batch's step of %u requests is %u launches", kRequests, launches.get());
    }
    esp_cuda_batch_release(batch);
  }
  esp_cuda_trie_release(trie);
  esp_cuda_close(context);
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

// New sets and constraints arrive on other threads while steps run.
void check_threads(Random &random) {
  esp_cuda_context *context = opened();
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
  esp_cuda_close(context);
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
  check_close_in_step(random);
  check_stepper_release_in_step(random);
  check_launches(random);
  check_broken_device(random);
  check_threads(random);
  check_refusals(random);
  check_captures(random);
  check_decodes(random, cases);
  return finish("cuda_library_test");
}
