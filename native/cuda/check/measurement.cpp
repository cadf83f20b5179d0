#include "measurement.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "../../tests/testing.h"

namespace checking {

namespace {

// A step's beams, or what became of them.
struct Beams {
  DeviceArray<uint32_t> counts, parents, codes, lo, hi;
  DeviceArray<float> scores;
  DeviceArray<int32_t> bad_beams;
  // The baseline's.
  DeviceArray<uint32_t> states;

  explicit Beams(const Axes &axes)
      : counts(axes.batch), parents(axes.batch * axes.beams), codes(parents.size()), lo(parents.size()), hi(parents.size()),
        scores(parents.size()), bad_beams(axes.batch), states(parents.size()) {}
};

// One batch of the table on one catalog, in one logit type.
class Measurement {
 public:
  Measurement(Tools &tools, const Catalog &catalog, const Axes &axes, esp_logit_type type)
      : tools_(tools), catalog_(catalog), axes_(axes), type_(type), vocab_size_(catalog.arrays().codebook_sizes[0]) {
    std::vector<esp_cuda_constraint *> constraints;
    for (uint32_t request = 0; request < axes.batch; request++) {
      constraints.push_back(axes.sets == 0 ? catalog.all() : catalog.under_set(request % axes.sets));
    }
    const esp_cuda_batch_options options = {axes.batch, axes.beams, type, vocab_size_, ESP_VOCABULARY, 1};
    if (esp_cuda_batch_create(tools.context, &options, constraints.data(), &batch_) != ESP_OK) {
      fprintf(stderr, "time: %s\n", esp_last_error());
      exit(1);
    }
    if (has_baseline()) scratch_ = DeviceArray<uint8_t>(espalier::baseline::static_scratch_bytes(axes.batch * axes.beams, axes.beams, vocab_size_));
  }
  Measurement(const Measurement &) = delete;
  ~Measurement() { esp_cuda_batch_release(batch_); }

  // Goes down the levels; calls on_row for each that is timed.
  template <class OnRow>
  void run(const std::vector<uint32_t> &depths, OnRow &&on_row) {
    std::unique_ptr<Beams> from;
    for (uint32_t depth = 0; depth <= depths.back(); depth++) {
      Beams to(axes_);
      Beams baseline(axes_);
      ours(depth, from.get(), to, depth);
      if (has_baseline()) theirs(depth, from.get(), baseline, depth);
      tools_.stream.wait();
      if (std::find(depths.begin(), depths.end(), depth) != depths.end()) {
        Row row = describe(depth, to);
        row.is_equal_to_cpu = equals_cpu(depth, from.get(), to);
        row.is_equal_to_baseline = !has_baseline() || equals_baseline(depth, to, baseline);
        if (row.is_equal_to_cpu && row.is_equal_to_baseline) time_row(row, from.get());
        on_row(row);
      }
      // The baseline goes on from our beams, so that both take the same step at every level.
      if (has_baseline()) adopt_states(depth, to);
      from = std::make_unique<Beams>(std::move(to));
    }
  }

 private:
  bool has_baseline() const { return catalog_.has_baseline() && axes_.sets == 0; }
  uint32_t rows(uint32_t depth) const { return depth == 0 ? axes_.batch : axes_.batch * axes_.beams; }
  size_t logit_bytes(uint32_t depth) const { return size_t{rows(depth)} * vocab_size_ * bytes_of(type_); }
  const uint8_t *logits(uint32_t depth, uint64_t place) const { return tools_.logits.at(type_, place, logit_bytes(depth)); }

  void ours(uint32_t depth, const Beams *from, const Beams &to, uint64_t place) const {
    esp_cuda_batch_step step = {};
    step.depth = depth;
    step.logits = logits(depth, place);
    if (depth > 0) {
      step.counts = from->counts.data();
      step.scores = from->scores.data();
      step.node_lo = from->lo.data();
      step.node_hi = from->hi.data();
    }
    step.out_counts = to.counts.data();
    step.out_scores = to.scores.data();
    step.out_parent_beams = to.parents.data();
    step.out_codes = to.codes.data();
    step.out_node_lo = to.lo.data();
    step.out_node_hi = to.hi.data();
    step.out_bad_beams = to.bad_beams.data();
    if (esp_cuda_batch_run(batch_, &step, tools_.stream.get()) == ESP_OK) return;
    fprintf(stderr, "time: %s\n", esp_last_error());
    exit(1);
  }

  void theirs(uint32_t depth, const Beams *from, const Beams &to, uint64_t place) const {
    const espalier::baseline::StaticStep step = {depth, axes_.batch, axes_.beams, logits(depth, place), type_,
                                                 depth == 0 ? nullptr : from->scores.data(), depth == 0 ? nullptr : from->states.data(),
                                                 to.counts.data(), to.scores.data(), to.parents.data(), to.codes.data(), to.states.data(), scratch_.data()};
    CUDA_MUST(static_cast<cudaError_t>(launch_static_step(catalog_.tables(), step, tools_.stream.get())));
  }

  Row describe(uint32_t depth, const Beams &to) const {
    Row row = {};
    row.axes = axes_;
    row.leaves = catalog_.arrays().leaf_count;
    row.vocab_size = vocab_size_;
    row.depth = depth;
    row.type = type_;
    row.logit_bytes = logit_bytes(depth);
    // FNV-1a over the winners.
    row.winners = 0xcbf29ce484222325ull;
    const std::vector<uint32_t> counts = to.counts.read(), parents = to.parents.read(), codes = to.codes.read();
    for (uint32_t request = 0; request < axes_.batch; request++) {
      for (uint32_t rank = 0; rank < counts[request]; rank++) {
        for (const uint32_t value : {parents[request * axes_.beams + rank], codes[request * axes_.beams + rank]}) {
          row.winners = (row.winners ^ value) * 0x100000001b3ull;
        }
      }
    }
    return row;
  }

  // Equal winners, but for neighbours whose scores the log-sum-exp's last bits may swap.
  bool are_close(const char *what, uint32_t depth, const std::vector<uint32_t> &counts, const Beams &found, const std::vector<uint32_t> &other_counts,
                 const std::vector<uint32_t> &parents, const std::vector<uint32_t> &codes, const std::vector<float> &scores) const {
    const std::vector<uint32_t> our_parents = found.parents.read(), our_codes = found.codes.read();
    const std::vector<float> our_scores = found.scores.read();
    for (uint32_t request = 0; request < axes_.batch; request++) {
      bool is_close = counts[request] == other_counts[request];
      for (uint32_t rank = 0; is_close && rank < counts[request]; rank++) {
        const size_t at = size_t{request} * axes_.beams + rank;
        const float apart = std::fabs(our_scores[at] - scores[at]);
        const float bound = 4e-6f * std::max(16.0f, std::fabs(our_scores[at]));
        is_close = apart <= bound;
        if (our_parents[at] == parents[at] && our_codes[at] == codes[at]) continue;
        // Somewhere among its neighbours within the bound, or pushed out at the end.
        bool is_found = rank + 1 == counts[request];
        for (uint32_t other = 0; other < counts[request]; other++) {
          const size_t one = size_t{request} * axes_.beams + other;
          if (std::fabs(our_scores[at] - scores[one]) <= bound) is_found |= parents[one] == our_parents[at] && codes[one] == our_codes[at];
          if (other + 1 == counts[request]) is_found |= std::fabs(our_scores[at] - scores[one]) <= bound;
        }
        is_close &= is_found;
      }
      if (is_close) continue;
      fprintf(stderr, "time: B=%u M=%u V=%u depth %u, request %u: not the winners of %s\n", axes_.batch, axes_.beams, vocab_size_, depth, request, what);
      return false;
    }
    return true;
  }

  // Its winners, and, where they are ours, the states that they lead to.
  bool equals_baseline(uint32_t depth, const Beams &to, const Beams &baseline) {
    const std::vector<uint32_t> counts = to.counts.read(), lo = to.lo.read(), parents = to.parents.read(), codes = to.codes.read();
    const std::vector<uint32_t> their_parents = baseline.parents.read(), their_codes = baseline.codes.read(), states = baseline.states.read();
    for (uint32_t request = 0; request < axes_.batch; request++) {
      for (size_t at = size_t{request} * axes_.beams; at < size_t{request} * axes_.beams + counts[request]; at++) {
        if (parents[at] != their_parents[at] || codes[at] != their_codes[at]) continue;
        const uint32_t state = state_of(depth, lo[at], codes[at]);
        if (states[at] == state) continue;
        fprintf(stderr, "time: V=%u depth %u, request %u: the baseline goes to state %u, expected %u\n", vocab_size_, depth, request, states[at], state);
        return false;
      }
    }
    return are_close("the baseline", depth, to.counts.read(), to, baseline.counts.read(), baseline.parents.read(), baseline.codes.read(), baseline.scores.read());
  }

  bool equals_cpu(uint32_t depth, const Beams *from, const Beams &to) const {
    const size_t entries = size_t{rows(depth)} * vocab_size_;
    std::vector<uint8_t> bytes(entries * bytes_of(type_));
    CUDA_MUST(cudaMemcpy(bytes.data(), logits(depth, depth), bytes.size(), cudaMemcpyDeviceToHost));
    std::vector<float> values(entries);
    for (size_t at = 0; at < entries; at++) {
      if (type_ == ESP_LOGITS_F32) {
        memcpy(&values[at], &bytes[at * 4], 4);
      } else {
        uint16_t half;
        memcpy(&half, &bytes[at * 2], 2);
        values[at] = from_bfloat16(half);
      }
    }
    std::vector<uint32_t> counts(axes_.batch, 1), lo(axes_.batch, 0), hi(axes_.batch, catalog_.arrays().leaf_count);
    std::vector<float> scores(axes_.batch, 0);
    if (depth > 0) {
      counts = from->counts.read();
      lo = from->lo.read();
      hi = from->hi.read();
      scores = from->scores.read();
    }
    std::vector<esp_step_request> requests;
    std::vector<uint32_t> beam_lo, beam_hi;
    std::vector<float> beam_scores;
    for (uint32_t request = 0; request < axes_.batch; request++) {
      const uint32_t first = request * (depth == 0 ? 1 : axes_.beams);
      const esp_constraint *constraint = axes_.sets == 0 ? catalog_.all_on_cpu() : catalog_.under_set_on_cpu(request % axes_.sets);
      requests.push_back({constraint, counts[request], axes_.beams, first, ESP_VOCABULARY, 1});
      for (uint32_t beam = first; beam < first + counts[request]; beam++) {
        beam_lo.push_back(lo[beam]);
        beam_hi.push_back(hi[beam]);
        beam_scores.push_back(scores[beam]);
      }
    }
    const size_t children = size_t{axes_.batch} * axes_.beams;
    std::vector<uint32_t> out_counts(axes_.batch), parents(children), codes(children), out_lo(children), out_hi(children), bad_tokens(axes_.batch);
    std::vector<float> out_scores(children), normalizers(beam_lo.size()), bad_values(axes_.batch);
    std::vector<int32_t> bad_beams(axes_.batch);
    const esp_step_input input = {depth, axes_.batch, requests.data(), beam_scores.data(), beam_lo.data(), beam_hi.data(), values.data(), ESP_LOGITS_F32,
                                  rows(depth), vocab_size_, 0, nullptr, 0};
    const esp_step_output output = {out_counts.data(), out_scores.data(), parents.data(), codes.data(), out_lo.data(), out_hi.data(), normalizers.data(),
                                    bad_beams.data(), bad_tokens.data(), bad_values.data()};
    if (esp_step(tools_.cpu, &input, &output) != ESP_OK) {
      fprintf(stderr, "time: %s\n", esp_last_error());
      return false;
    }
    return are_close("esp_step", depth, to.counts.read(), to, out_counts, parents, codes, out_scores);
  }

  // The states of our beams in the baseline's tables: the ranks of their nodes.
  void adopt_states(uint32_t depth, Beams &to) {
    const std::vector<uint32_t> counts = to.counts.read(), lo = to.lo.read(), codes = to.codes.read();
    std::vector<uint32_t> states(lo.size(), 0);
    std::vector<float> scores = to.scores.read();
    for (uint32_t request = 0; request < axes_.batch; request++) {
      for (uint32_t rank = 0; rank < axes_.beams; rank++) {
        const size_t at = size_t{request} * axes_.beams + rank;
        if (rank >= counts[request]) scores[at] = kGone;
        else states[at] = state_of(depth, lo[at], codes[at]);
      }
    }
    to.states.write(states.data(), states.size());
    to.scores.write(scores.data(), scores.size());
  }

  // The state of a child of this depth's step.
  uint32_t state_of(uint32_t depth, uint32_t lo, uint32_t code) { return depth == 0 ? code : rank_of(depth + 1, lo); }

  // How many nodes of a depth begin before a leaf; counted once for all words.
  uint32_t rank_of(uint32_t depth, uint32_t leaf) {
    const uint64_t *bits = catalog_.arrays().new_prefix[depth - 1];
    if (ranked_depth_ != depth) {
      ranked_depth_ = depth;
      ranks_.assign(catalog_.arrays().leaf_count / 64 + 1, 0);
      for (size_t word = 1; word < ranks_.size(); word++) ranks_[word] = ranks_[word - 1] + static_cast<uint32_t>(__builtin_popcountll(bits[word - 1]));
    }
    return ranks_[leaf / 64] + static_cast<uint32_t>(__builtin_popcountll(bits[leaf / 64] & ((uint64_t{1} << (leaf % 64)) - 1)));
  }

  void time_row(Row &row, const Beams *from) {
    const uint32_t depth = row.depth;
    const Beams out(axes_);
    const Stream &stream = tools_.stream;
    const Samples &samples = tools_.samples;
    const auto one = [&] { ours(depth, from, out, depth); };
    const auto many = [&] {
      for (uint32_t step = 0; step < kGraphSteps; step++) one();
    };
    const Graph graph(stream, many);
    row.graph = time_warm(stream, samples, kGraphSteps, [&] { graph.replay(stream); });
    row.launched = time_warm(stream, samples, kGraphSteps, many);
    const Graph single(stream, one);
    single.replay(stream);
    row.cold = time_cold(stream, samples, tools_.flush, [&] { single.replay(stream); });
    // As many steps as it takes that none finds its logits in the L2, if the pool has so many.
    const uint32_t steps = static_cast<uint32_t>(std::min<size_t>(256, std::max<size_t>(kGraphSteps, 3 * tools_.l2 / row.logit_bytes + 1)));
    if (steps * row.logit_bytes >= 2 * tools_.l2 && steps * row.logit_bytes <= tools_.logits.bytes()) {
      const size_t apart = (row.logit_bytes + 4095) / 4096;
      const Graph streamed(stream, [&] {
        for (uint32_t step = 0; step < steps; step++) ours(depth, from, out, step * apart);
      });
      row.streamed = time_warm(stream, samples, steps, [&] { streamed.replay(stream); });
    }
    if (!has_baseline()) return;
    const auto their_one = [&] { theirs(depth, from, out, depth); };
    const auto their_many = [&] {
      for (uint32_t step = 0; step < kGraphSteps; step++) their_one();
    };
    const Samples fewer = {samples.warm_up, (samples.warm + 1) / 2, (samples.cold + 1) / 2};
    const Graph their_graph(stream, their_many);
    row.baseline = time_warm(stream, fewer, kGraphSteps, [&] { their_graph.replay(stream); });
    row.baseline_launched = time_warm(stream, fewer, kGraphSteps, their_many);
    const Graph their_single(stream, their_one);
    their_single.replay(stream);
    row.baseline_cold = time_cold(stream, fewer, tools_.flush, [&] { their_single.replay(stream); });
  }

  Tools &tools_;
  const Catalog &catalog_;
  Axes axes_;
  esp_logit_type type_;
  uint32_t vocab_size_;
  esp_cuda_batch *batch_ = nullptr;
  DeviceArray<uint8_t> scratch_;
  uint32_t ranked_depth_ = 0;
  std::vector<uint32_t> ranks_;
};

}  // namespace

void measure(Tools &tools, const Catalog &catalog, const Axes &axes, esp_logit_type type, const std::vector<uint32_t> &depths,
             const std::function<void(const Row &)> &on_row) {
  Measurement(tools, catalog, axes, type).run(depths, on_row);
}

}  // namespace checking
