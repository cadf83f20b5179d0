#include "uploads.h"

#include <atomic>
#include <mutex>
#include <thread>

#include "reference.h"
#include "tries.h"

namespace checking {

namespace {

constexpr uint32_t kLevels = 2;
constexpr uint32_t kSize = 128;
constexpr uint32_t kWidth = 20;

// A constraint with the leaves that it leaves alive.
struct Uploaded {
  esp_cuda_constraint *constraint;
  std::vector<uint64_t> live;
};

// Uploads one random set after the other, and keeps the newest for whoever takes it.
class Uploader {
 public:
  Uploader(uint64_t seed, const esp_trie *trie, esp_cuda_trie *on_device)
      : random_(seed), trie_(trie), on_device_(on_device), thread_([this] { run(); }) {}
  ~Uploader() {
    stops_ = true;
    thread_.join();
    esp_cuda_constraint_release(newest_.constraint);
  }

  uint64_t uploads() const { return uploads_; }

  // @returns the newest set, which the caller releases, or one without a constraint where none has come since
  Uploaded take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(newest_, {});
  }

 private:
  void run() {
    while (!stops_) {
      Uploaded made = upload();
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::swap(newest_, made);
      }
      esp_cuda_constraint_release(made.constraint);
      uploads_++;
    }
  }

  Uploaded upload() {
    const esp_trie_arrays &arrays = *esp_trie_view(trie_);
    Uploaded made = {nullptr, testing::bitmap(arrays.leaf_count)};
    const double share = random_.pick<double>({0.001, 0.1, 0.9});
    for (uint32_t leaf = 0; leaf < arrays.leaf_count; leaf++) {
      if (random_.chance(share)) testing::set_bit(made.live, leaf);
    }
    std::vector<uint64_t> root_mask = testing::bitmap(arrays.codebook_sizes[0]);
    std::vector<uint64_t> node_bits = testing::bitmap(arrays.top_levels[1].node_count);
    esp_cuda_set *set = nullptr;
    if (esp_set_derive(ESP_LEVEL_SCALAR, trie_, made.live.data(), root_mask.data(), node_bits.data()) != ESP_OK ||
        esp_cuda_set_upload(on_device_, made.live.data(), root_mask.data(), node_bits.data(), &set) != ESP_OK ||
        esp_cuda_constraint_create(on_device_, set, nullptr, 0, &made.constraint) != ESP_OK) {
      fprintf(stderr, "an upload beside steps: %s\n", esp_last_error());
      exit(1);
    }
    esp_cuda_set_release(set);
    return made;
  }

  Random random_;
  const esp_trie *trie_;
  esp_cuda_trie *on_device_;
  std::mutex mutex_;
  Uploaded newest_ = {};
  std::atomic<bool> stops_{false};
  std::atomic<uint64_t> uploads_{0};
  // Last, so that all else is there when it starts.
  std::thread thread_;
};

}  // namespace

void check_uploads(Random &random, uint64_t rounds, Bench &bench, UploadCounts &counts) {
  const std::vector<uint32_t> sizes(kLevels, kSize);
  const Rows rows = fill("dense top", sizes, 6000, [&](uint64_t, uint32_t) { return static_cast<uint32_t>(random.below(kSize)); });
  const esp_rows input = {rows.codes.data(), ESP_U32, rows.row_count(), kLevels, sizes.data()};
  const esp_build_options options = {1, esp_level_best(), 1u << 20, nullptr, nullptr};
  esp_trie *trie = nullptr;
  esp_cuda_trie *on_device = nullptr;
  esp_cuda_constraint *all = nullptr;
  esp_cuda_batch *batch = nullptr;
  const esp_cuda_batch_options shape = {1, kWidth, ESP_LOGITS_F32, kSize, ESP_VOCABULARY, 1};
  if (esp_trie_build(&input, &options, &trie) != ESP_OK || esp_cuda_trie_upload(bench.context, esp_trie_view(trie), &on_device) != ESP_OK ||
      esp_cuda_constraint_create(on_device, nullptr, nullptr, 0, &all) != ESP_OK ||
      esp_cuda_batch_create(bench.context, &shape, &all, &batch) != ESP_OK) {
    CHECK(false, "%s", esp_last_error());
    return;
  }
  esp_cuda_constraint_release(all);

  // Two steps, captured together: the second reads what the first has written.
  Logits logits(ESP_LOGITS_F32, kWidth, kSize);
  for (uint64_t at = 0; at < logits.values.size(); at++) logits.set(at, random_logit(random, kLogitKinds));
  const DeviceArray<uint8_t> resident(logits.bytes);
  struct Arrays {
    DeviceArray<uint32_t> counts{1}, parents{kWidth}, codes{kWidth}, lo{kWidth}, hi{kWidth};
    DeviceArray<float> scores{kWidth};
    DeviceArray<int32_t> bad_beams{1};
  } level[kLevels];
  const Graph graph(bench.stream, [&] {
    for (uint32_t depth = 0; depth < kLevels; depth++) {
      const Arrays &from = level[depth == 0 ? 0 : depth - 1];
      const Arrays &to = level[depth];
      esp_cuda_batch_step step = {};
      step.depth = depth;
      step.logits = resident.data();
      if (depth > 0) {
        step.counts = from.counts.data();
        step.scores = from.scores.data();
        step.node_lo = from.lo.data();
        step.node_hi = from.hi.data();
      }
      step.out_counts = to.counts.data();
      step.out_scores = to.scores.data();
      step.out_parent_beams = to.parents.data();
      step.out_codes = to.codes.data();
      step.out_node_lo = to.lo.data();
      step.out_node_hi = to.hi.data();
      step.out_bad_beams = to.bad_beams.data();
      CHECK(esp_cuda_batch_run(batch, &step, bench.stream.get()) == ESP_OK, "%s", esp_last_error());
    }
  });

  // The bits of the set that the batch holds.
  std::vector<uint64_t> held;
  {
    Uploader uploader(random.next(), trie, on_device);
    for (uint64_t round = 0; round < rounds;) {
      Uploaded newest = uploader.take();
      if (newest.constraint == nullptr) {
        std::this_thread::yield();
        continue;
      }
      CHECK(esp_cuda_batch_set_constraint(batch, 0, newest.constraint, bench.stream.get()) == ESP_OK, "%s", esp_last_error());
      graph.replay(bench.stream);
      // The caller's hold ends while the step may still run.
      esp_cuda_constraint_release(newest.constraint);
      bench.stream.wait();
      // The decode by brute force: all live SIDs of two codes, by the scores that the device has given their prefixes.
      std::vector<Beam> beams = {{0, esp_trie_view(trie)->leaf_count, 0}};
      for (uint32_t depth = 0; depth < kLevels; depth++) {
        std::vector<Child> candidates;
        for (uint32_t beam = 0; beam < beams.size(); beam++) {
          const std::vector<Child> children = live_children(*esp_trie_view(trie), newest.live, depth, beams[beam]);
          const double normalizer = exact_normalizer({kSize, 0, {}}, kSize, children, logits.row(beam), ESP_VOCABULARY, 1);
          add_candidates(candidates, children, {kSize, 0, {}}, logits.row(beam), beam, beams[beam].score, static_cast<float>(normalizer), 1);
        }
        const std::vector<Child> expected = best_of(std::move(candidates), kWidth);
        const uint32_t count = level[depth].counts.read()[0];
        const std::vector<uint32_t> codes = level[depth].codes.read(), parents = level[depth].parents.read();
        const std::vector<uint32_t> lo = level[depth].lo.read(), hi = level[depth].hi.read();
        const std::vector<float> scores = level[depth].scores.read();
        CHECK(count == expected.size(), "round %llu, depth %u: %u children, expected %zu", static_cast<unsigned long long>(round), depth, count, expected.size());
        beams.clear();
        for (uint32_t rank = 0; rank < std::min<size_t>(count, expected.size()); rank++) {
          const bool is_live = lo[rank] < hi[rank] && hi[rank] <= esp_trie_view(trie)->leaf_count &&
                               !live_children(*esp_trie_view(trie), newest.live, depth, {lo[rank], hi[rank], 0}).empty();
          CHECK(is_live, "round %llu, depth %u, child %u: [%u, %u) is dead under the newest set", static_cast<unsigned long long>(round), depth, rank, lo[rank], hi[rank]);
          // The log-sum-exp is not known to the last bit here; the logits differ by more than its bound.
          CHECK(std::fabs(scores[rank] - expected[rank].score) <= 1e-4f, "round %llu, depth %u, child %u: beam %u code %u score %.9g, expected beam %u code %u score %.9g",
                static_cast<unsigned long long>(round), depth, rank, parents[rank], codes[rank], static_cast<double>(scores[rank]), expected[rank].beam,
                expected[rank].code, static_cast<double>(expected[rank].score));
          beams.push_back({lo[rank], hi[rank], scores[rank]});
        }
      }
      held = std::move(newest.live);
      counts.steps += kLevels;
      round++;
    }
    counts.uploads += uploader.uploads();
  }
  esp_cuda_batch_release(batch);
  esp_cuda_trie_release(on_device);
  esp_trie_release(trie);
}

}  // namespace checking
