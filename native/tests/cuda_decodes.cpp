// Decodes through steppers and batches against esp_step.
#include <memory>

#include "cuda_checks.h"

using namespace testing;

namespace {

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
  // The handles go while the next decode waits on the stream, and its first request's constraint is no longer the batch's;
  // the batch holds what they stood for.
  must(esp_cuda_batch_set_constraint(batch, 0, handles[requests], stream), "esp_cuda_batch_set_constraint");
  if (is_captured) CHECK(cudaGraphLaunch(replay, stream) == cudaSuccess, "replay");
  else launch();
  must(esp_cuda_batch_set_constraint(batch, 0, handles[0], stream), "esp_cuda_batch_set_constraint");
  for (const auto &constraint : constraints) constraint->release_on_device();
  esp_cuda_trie_release(trie);
  live[0] = constraints[requests].get();
  if (random.chance(0.5)) {
    check(live, "another constraint");
    esp_cuda_batch_release(batch);
  } else {
    // Releasing it waits for what it runs; a replay keeps what it reads.
    esp_cuda_batch_release(batch);
    check(live, "released in a decode");
  }
  if (replay != nullptr) cudaGraphExecDestroy(replay);
  const esp_cuda_memory left = memory_of(context);
  CHECK(left.trie_bytes == 0 && left.set_bytes == 0 && left.exclusion_bytes == 0, "what the batch held is gone with it");
  if (stream != nullptr) cudaStreamDestroy(stream);
}

}  // namespace

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
