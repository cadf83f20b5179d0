// What batches and contexts do to captures, and how long a graph keeps what its steps read.
#include "cuda_checks.h"

using namespace testing;

namespace {

constexpr uint32_t kWidth = 4;

// A trie and what a step at its root reads and writes.
struct Decoding {
  Random &random;
  esp_cuda_context *context = opened();
  Catalog catalog;
  esp_cuda_trie *trie;
  esp_cuda_constraint *constraint = nullptr;
  OnDevice<float> logits;
  DeviceBeams beams;
  cudaStream_t stream = nullptr;

  explicit Decoding(Random &source)
      : random(source), catalog(source, {50, 60, 7}, 300), trie(uploaded(context, catalog)), logits(50), beams(1, kWidth) {
    must(esp_cuda_constraint_create(trie, nullptr, nullptr, 0, &constraint), "constraint");
    std::vector<float> values;
    for (uint32_t code = 0; code < 50; code++) values.push_back(static_cast<float>(source.below(9)));
    logits.write(values.data(), values.size() * sizeof(float));
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "stream");
  }
  Decoding(const Decoding &) = delete;
  ~Decoding() {
    release_handles();
    esp_cuda_close(context);
    cudaStreamDestroy(stream);
  }

  void release_handles() {
    esp_cuda_constraint_release(constraint);
    esp_cuda_trie_release(trie);
    constraint = nullptr;
    trie = nullptr;
  }

  esp_cuda_batch *batch() {
    const esp_cuda_batch_options options = {1, kWidth, ESP_LOGITS_F32, 50, ESP_VOCABULARY, 1};
    esp_cuda_batch *made = nullptr;
    must(esp_cuda_batch_create(context, &options, &constraint, &made), "batch");
    return made;
  }

  esp_status run(esp_cuda_batch *batch, cudaStream_t on) {
    const esp_cuda_batch_step step = {0, logits.get(), 0, nullptr, nullptr, nullptr, nullptr, nullptr, beams.counts.get(), beams.scores.get(),
                                      beams.parents.get(), beams.codes.get(), beams.lo.get(), beams.hi.get(), beams.bad_beams.get()};
    return esp_cuda_batch_run(batch, &step, on);
  }

  // Ends the capture, which nothing has spoiled.
  cudaGraphExec_t ended() {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph != nullptr, "the capture is whole");
    if (graph == nullptr) return nullptr;
    CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess, "instantiate");
    cudaGraphDestroy(graph);
    return executable;
  }
};

void check_releases_in_captures(Random &random, cudaStreamCaptureMode mode) {
  Decoding decoding(random);
  esp_cuda_batch *captured = decoding.batch();
  const uint64_t scratch = memory_of(decoding.context).scratch_bytes;
  cudaStream_t side = nullptr;
  CHECK(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking) == cudaSuccess, "stream");
  esp_cuda_batch *released = decoding.batch();
  must(decoding.run(released, side), "a run outside of captures");
  CHECK(cudaStreamBeginCapture(decoding.stream, mode) == cudaSuccess, "begin");
  must(decoding.run(captured, decoding.stream), "a captured step");
  esp_cuda_batch_release(released);
  CHECK(memory_of(decoding.context).scratch_bytes == scratch, "what a batch holds is freed with it, captures or not");
  esp_cuda_context *other = opened();
  esp_cuda_close(other);
  must(decoding.run(captured, decoding.stream), "a captured step after that");
  cudaGraphExec_t replay = decoding.ended();
  CHECK(decoding.beams.counts.read()[0] == kWidth, "the released batch's run has ended before its memory went");
  if (replay != nullptr) cudaGraphExecDestroy(replay);
  esp_cuda_batch_release(captured);
  CHECK(memory_of(decoding.context).scratch_bytes == 0, "and the other with its handle");
  cudaStreamDestroy(side);
}

void check_kept_by_graphs(Random &random) {
  Decoding decoding(random);
  const uint64_t live = esp_cuda_emulated_live();
  esp_cuda_batch *batch = decoding.batch();
  CHECK(cudaStreamBeginCapture(decoding.stream, cudaStreamCaptureModeGlobal) == cudaSuccess, "begin");
  for (uint32_t step = 0; step < 2; step++) must(decoding.run(batch, decoding.stream), "a captured step");
  cudaGraphExec_t replay = decoding.ended();
  esp_cuda_batch_release(batch);
  decoding.release_handles();
  esp_cuda_memory now = memory_of(decoding.context);
  CHECK(now.scratch_bytes > 0 && now.trie_bytes > 0 && now.exclusion_bytes > 0, "a graph keeps what its steps read");
  CHECK(cudaGraphLaunch(replay, decoding.stream) == cudaSuccess, "replay");
  cudaGraphExecDestroy(replay);
  now = memory_of(decoding.context);
  CHECK(now.scratch_bytes > 0 && now.trie_bytes > 0 && now.exclusion_bytes > 0, "a replay does, too");
  CHECK(cudaStreamSynchronize(decoding.stream) == cudaSuccess, "synchronize");
  CHECK(decoding.beams.counts.read()[0] == kWidth, "the replay has run");
  now = memory_of(decoding.context);
  CHECK(now.scratch_bytes == 0 && now.trie_bytes == 0 && now.exclusion_bytes == 0, "all of it goes with the last of them");
  // The handles' own pieces, the trie and the constraint, are gone as well.
  CHECK(esp_cuda_emulated_live() + 2 == live, "%llu pieces left of %llu", static_cast<unsigned long long>(esp_cuda_emulated_live()),
        static_cast<unsigned long long>(live));
}

void check_spoilt_capture(Random &random) {
  Decoding decoding(random);
  esp_cuda_batch *batch = decoding.batch();
  CHECK(cudaStreamBeginCapture(decoding.stream, cudaStreamCaptureModeRelaxed) == cudaSuccess, "begin");
  must(decoding.run(batch, decoding.stream), "a captured step");
  CHECK(cudaDeviceSynchronize() != cudaSuccess, "what the program itself does spoils its capture");
  expect(decoding.run(batch, decoding.stream), ESP_STATUS_SYSTEM, "", "a step in a spoilt capture");
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamEndCapture(decoding.stream, &graph) == cudaErrorStreamCaptureInvalidated && graph == nullptr, "end");
  must(decoding.run(batch, decoding.stream), "a step after it");
  CHECK(cudaStreamSynchronize(decoding.stream) == cudaSuccess && decoding.beams.counts.read()[0] == kWidth, "runs");
  esp_cuda_batch_release(batch);
  CHECK(memory_of(decoding.context).scratch_bytes == 0, "no graph keeps it");
}

// What a run makes besides its launch.
void check_failing_runs(Random &random) {
  Decoding decoding(random);
  for (const bool is_captured : {false, true}) {
    esp_cuda_batch *batch = decoding.batch();
    if (is_captured) CHECK(cudaStreamBeginCapture(decoding.stream, cudaStreamCaptureModeGlobal) == cudaSuccess, "begin");
    const uint64_t live = esp_cuda_emulated_live();
    esp_cuda_emulated_configure("fail-allocation=1");
    expect(decoding.run(batch, decoding.stream), ESP_STATUS_MEMORY, "memory", "a run that cannot be kept track of");
    esp_cuda_emulated_configure("");
    CHECK(esp_cuda_emulated_live() == live, "something was left behind");
    must(decoding.run(batch, decoding.stream), "the run after it");
    if (is_captured) {
      cudaGraphExec_t replay = decoding.ended();
      if (replay != nullptr) cudaGraphExecDestroy(replay);
    }
    esp_cuda_batch_release(batch);
    CHECK(memory_of(decoding.context).scratch_bytes == 0, "everything comes back");
  }
}

}  // namespace

void check_captures(Random &random) {
  for (const auto mode : {cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed}) {
    check_releases_in_captures(random, mode);
  }
  check_kept_by_graphs(random);
  check_spoilt_capture(random);
  check_failing_runs(random);
  CHECK(esp_cuda_emulated_live() == 0, "%llu pieces left", static_cast<unsigned long long>(esp_cuda_emulated_live()));
}
