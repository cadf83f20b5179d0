#include "decode_case.h"

#include <memory>
#include <string>

#include "reference.h"
#include "tries.h"

namespace checking {

namespace {

struct Release {
  void operator()(esp_trie *trie) const { esp_trie_release(trie); }
  void operator()(esp_cuda_trie *trie) const { esp_cuda_trie_release(trie); }
  void operator()(esp_constraint *constraint) const { esp_constraint_release(constraint); }
  void operator()(esp_cuda_constraint *constraint) const { esp_cuda_constraint_release(constraint); }
  void operator()(esp_cuda_batch *batch) const { esp_cuda_batch_release(batch); }
};
template <class T>
using Handle = std::unique_ptr<T, Release>;

// @param create takes where the handle goes
template <class T, class Create>
Handle<T> make(Create &&create) {
  T *made = nullptr;
  CHECK(create(&made) == ESP_OK, "%s", esp_last_error());
  return Handle<T>(made);
}

// A request, with the leaves that it may reach.
struct Request {
  std::vector<uint64_t> leaf_bits, root_mask, node_bits;
  std::vector<uint64_t> live;
  uint32_t width;
  esp_normalize normalize;
  float temperature;
  std::vector<Beam> beams;
  // Last, so that they go first: they borrow the bits.
  Handle<esp_constraint> on_cpu;
  Handle<esp_cuda_constraint> on_device;
};

// Where the arrays of one step lie on the host; request r's children begin at the sum of the widths before.
struct Output {
  std::vector<uint32_t> counts, parents, codes, lo, hi, bad_tokens;
  std::vector<int32_t> bad_beams;
  std::vector<float> scores, normalizers, bad_values;

  Output(size_t requests, size_t beams, size_t children)
      : counts(requests), parents(children), codes(children), lo(children), hi(children), bad_tokens(requests),
        bad_beams(requests), scores(children), normalizers(beams), bad_values(requests) {}
  esp_step_output view() {
    return {counts.data(), scores.data(), parents.data(), codes.data(), lo.data(), hi.data(),
            normalizers.data(), bad_beams.data(), bad_tokens.data(), bad_values.data()};
  }
};

// Beams of all requests, one request after the other.
struct FlatBeams {
  std::vector<float> scores;
  std::vector<uint32_t> lo, hi;
};

// Untouched entries of device arrays keep this.
constexpr uint32_t kUntouched = 0xabababab;

// The beams of a batch that stay on the device between two steps.
struct ResidentBeams {
  DeviceArray<uint32_t> counts, parents, codes, lo, hi;
  DeviceArray<float> scores;
  DeviceArray<int32_t> bad_beams;

  ResidentBeams(size_t requests, size_t children)
      : counts(requests), parents(children), codes(children), lo(children), hi(children), scores(children), bad_beams(requests) {
    clear();
  }
  void clear() {
    const std::vector<uint32_t> words(std::max(counts.size(), codes.size()), kUntouched);
    const std::vector<float> floats(scores.size(), float_of(kUntouched));
    for (DeviceArray<uint32_t> *array : {&parents, &codes, &lo, &hi}) array->write(words.data(), array->size());
    counts.write(words.data(), counts.size());
    scores.write(floats.data(), floats.size());
    bad_beams.write(reinterpret_cast<const int32_t *>(words.data()), bad_beams.size());
  }
};

bool same_floats(float a, float b) { return bits_of(a) == bits_of(b); }
bool equal_or_both_nan(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

class Case {
 public:
  Case(Random &random, const CaseLimits &limits, Bench &bench, Counts &counts)
      : random_(random), limits_(limits), bench_(bench), counts_(counts), rows_(random_rows(random, limits.rows)) {
    const esp_rows input = {rows_.codes.data(), ESP_U32, rows_.row_count(), rows_.level_count(), rows_.sizes.data()};
    const esp_build_options options = {1, esp_level_best(), random.pick<uint64_t>({0, 4096, 1u << 24}), nullptr, nullptr};
    trie_ = make<esp_trie>([&](esp_trie **out) { return esp_trie_build(&input, &options, out); });
    if (trie_ == nullptr) return;
    on_device_ = make<esp_cuda_trie>([&](esp_cuda_trie **out) { return esp_cuda_trie_upload(bench.context, &arrays(), out); });
    if (on_device_ == nullptr) return;
    CHECK(esp_cuda_trie_bytes(on_device_.get()) > 0, "an uploaded trie has no bytes");
    choose_requests();
  }

  void run() {
    if (on_device_ == nullptr || requests_.empty()) return;
    for (uint32_t depth = 0; depth < arrays().level_count; depth++) {
      if (std::all_of(requests_.begin(), requests_.end(), [](const Request &request) { return request.beams.empty(); })) break;
      step(depth);
    }
    counts_.cases++;
  }

 private:
  const esp_trie_arrays &arrays() const { return *esp_trie_view(trie_.get()); }

  void choose_requests() {
    const uint32_t largest = *std::max_element(rows_.sizes.begin(), rows_.sizes.end());
    // Few cases are large: most of a check's time goes into the logits and their sums on the host.
    const uint64_t logits = random_.chance(0.05) ? limits_.logits : limits_.logits / 8;
    const uint64_t budget = std::max<uint64_t>(1, logits / (largest + 40));
    const uint64_t count = std::min<uint64_t>(1 + random_.below(random_.chance(0.1) ? limits_.requests : 4), budget);
    is_batch_ = random_.chance(0.75);
    const uint32_t widest = static_cast<uint32_t>(std::min<uint64_t>(budget / count, ESP_MAX_BEAM_WIDTH));
    const auto any_width = [&] { return std::min(widest, random_.pick<uint32_t>({1, 2, 7, 10, 32, 50, 70, 200, 1024})); };
    const auto any_normalize = [&] { return static_cast<esp_normalize>(random_.pick<int>({0, 0, 1, 2})); };
    const uint32_t width = any_width();
    const esp_normalize normalize = any_normalize();
    const float temperature = random_.pick<float>({1, 1, 0.7f});
    for (uint64_t index = 0; index < count; index++) {
      Request request = random_request();
      // A batch that stays on the device has one of each for all.
      request.width = is_batch_ ? width : any_width();
      request.normalize = is_batch_ ? normalize : any_normalize();
      request.temperature = is_batch_ ? temperature : random_.pick<float>({1, 1, 0.7f});
      request.beams.push_back({0, arrays().leaf_count, 0});
      if (request.on_cpu == nullptr || request.on_device == nullptr) return requests_.clear();
      requests_.push_back(std::move(request));
    }
    row_room_ = 0;
    for (const Request &request : requests_) row_room_ += request.width;
  }

  Request random_request() {
    Request request = {};
    const esp_trie_arrays &trie = arrays();
    const double share = random_.pick<double>({0.01, 0.3, 0.95});
    const double dead = random_.pick<double>({0, 0, 0.05, 0.9, 1});
    const bool has_set = random_.chance(0.7);
    request.leaf_bits = testing::bitmap(trie.leaf_count);
    request.live = testing::bitmap(trie.leaf_count);
    request.root_mask = testing::bitmap(trie.codebook_sizes[0]);
    request.node_bits = testing::bitmap(trie.level_count > 1 ? trie.top_levels[1].node_count : 1);
    std::vector<uint32_t> dead_leaves;
    for (uint32_t leaf = 0; leaf < trie.leaf_count; leaf++) {
      if (has_set && !random_.chance(share)) continue;
      testing::set_bit(request.leaf_bits, leaf);
      if (dead > 0 && random_.chance(dead)) dead_leaves.push_back(leaf);
      else testing::set_bit(request.live, leaf);
    }
    CHECK(esp_set_derive(ESP_LEVEL_SCALAR, trie_.get(), request.leaf_bits.data(), request.root_mask.data(), request.node_bits.data()) == ESP_OK,
          "%s", esp_last_error());
    request.on_cpu = make<esp_constraint>([&](esp_constraint **out) {
      return esp_constraint_create(trie_.get(), has_set ? request.leaf_bits.data() : nullptr, request.root_mask.data(), request.node_bits.data(),
                                   dead_leaves.data(), dead_leaves.size(), out);
    });
    esp_cuda_set *set = nullptr;
    if (has_set) {
      CHECK(esp_cuda_set_upload(on_device_.get(), request.leaf_bits.data(), request.root_mask.data(), request.node_bits.data(), &set) == ESP_OK,
            "%s", esp_last_error());
    }
    request.on_device = make<esp_cuda_constraint>([&](esp_cuda_constraint **out) {
      return esp_cuda_constraint_create(on_device_.get(), set, dead_leaves.data(), dead_leaves.size(), out);
    });
    // The constraint keeps what it needs of the set.
    esp_cuda_set_release(set);
    return request;
  }

  // Rows of logits as a resident batch has them: a row a request at the root, else `width` rows; the spare ones are NaN.
  uint32_t first_row(uint32_t depth, uint32_t request) const {
    uint32_t first = 0;
    for (uint32_t before = 0; before < request; before++) first += depth == 0 ? 1 : requests_[before].width;
    return first;
  }

  Tokens random_tokens(uint32_t depth) {
    Tokens tokens = {};
    const uint32_t size = rows_.sizes[depth];
    tokens.offset = random_.chance(0.5) ? 0 : static_cast<uint32_t>(random_.below(20));
    tokens.vocab_size = tokens.offset + size + (random_.chance(0.5) ? 0 : static_cast<uint32_t>(random_.below(20)));
    if (random_.chance(0.2)) {
      for (uint32_t code = 0; code < size; code++) tokens.table.push_back(static_cast<uint32_t>(random_.below(tokens.vocab_size)));
    }
    return tokens;
  }

  Logits random_logits(uint32_t depth, const Tokens &tokens) {
    Logits logits(static_cast<esp_logit_type>(random_.below(3)), depth == 0 ? requests_.size() : row_room_, tokens.vocab_size);
    for (uint64_t at = 0; at < logits.values.size(); at++) logits.set(at, NAN);
    const uint64_t kind = random_.below(kLogitKinds);
    for (uint32_t request = 0; request < requests_.size(); request++) {
      for (uint32_t beam = 0; beam < requests_[request].beams.size(); beam++) {
        const uint64_t row = first_row(depth, request) + beam;
        const uint64_t kind_of_row = random_.chance(0.7) ? kind : random_.below(kLogitKinds);
        for (uint32_t token = 0; token < tokens.vocab_size; token++) {
          logits.set(row * tokens.vocab_size + token, random_logit(random_, kind_of_row));
        }
        if (random_.chance(0.002)) {
          logits.set(row * tokens.vocab_size + random_.below(tokens.vocab_size), random_.pick<float>({NAN, -kGone}));
        }
      }
    }
    return logits;
  }

  // Requests as the CPU and the device take them.
  template <class Asked, class ConstraintOf>
  std::vector<Asked> ask(uint32_t depth, ConstraintOf &&constraint_of) const {
    std::vector<Asked> asked;
    for (uint32_t index = 0; index < requests_.size(); index++) {
      const Request &request = requests_[index];
      asked.push_back({constraint_of(request), static_cast<uint32_t>(request.beams.size()), request.width, first_row(depth, index),
                       request.normalize, request.temperature});
    }
    return asked;
  }

  FlatBeams flat_beams() const {
    FlatBeams flat;
    for (const Request &request : requests_) {
      for (const Beam &beam : request.beams) {
        flat.scores.push_back(beam.score);
        flat.lo.push_back(beam.lo);
        flat.hi.push_back(beam.hi);
      }
    }
    return flat;
  }

  Output step_on_device(uint32_t depth, const FlatBeams &beams, const Tokens &tokens, const Logits &logits, const void *at, bool is_on_device) {
    const auto asked = ask<esp_cuda_step_request>(depth, [](const Request &request) { return request.on_device.get(); });
    Output output(requests_.size(), beams.scores.size(), row_room_);
    const esp_cuda_step_input input = {depth, static_cast<uint32_t>(asked.size()), asked.data(), beams.scores.data(), beams.lo.data(),
                                       beams.hi.data(), at, is_on_device, logits.type, logits.row_count, tokens.vocab_size, tokens.offset,
                                       tokens.table.empty() ? nullptr : tokens.table.data(), static_cast<uint32_t>(tokens.table.size())};
    const esp_step_output view = output.view();
    CHECK(esp_cuda_step(bench_.stepper, &input, &view) == ESP_OK, "%s: %s", where(depth).c_str(), esp_last_error());
    return output;
  }

  Output step_on_cpu(uint32_t depth, const FlatBeams &beams, const Tokens &tokens, const Logits &logits) {
    const auto asked = ask<esp_step_request>(depth, [](const Request &request) { return request.on_cpu.get(); });
    Output output(requests_.size(), beams.scores.size(), row_room_);
    const esp_step_input input = {depth, static_cast<uint32_t>(asked.size()), asked.data(), beams.scores.data(), beams.lo.data(), beams.hi.data(),
                                  logits.values.data(), ESP_LOGITS_F32, logits.row_count, tokens.vocab_size, tokens.offset,
                                  tokens.table.empty() ? nullptr : tokens.table.data(), static_cast<uint32_t>(tokens.table.size())};
    const esp_step_output view = output.view();
    CHECK(esp_step(bench_.cpu, &input, &view) == ESP_OK, "%s: %s", where(depth).c_str(), esp_last_error());
    return output;
  }

  void step(uint32_t depth) {
    const Tokens tokens = random_tokens(depth);
    const Logits logits = random_logits(depth, tokens);
    const DeviceArray<uint8_t> resident_logits(logits.bytes);
    const FlatBeams beams = flat_beams();
    const Output from_host = step_on_device(depth, beams, tokens, logits, logits.bytes.data(), false);
    const Output found = step_on_device(depth, beams, tokens, logits, resident_logits.data(), true);
    // Logits from the host are packed. Where rows then begin elsewhere within 16 bytes, the last bits of sums may differ.
    const bool is_aligned = tokens.vocab_size * bytes_of(logits.type) % 16 == 0;
    if (is_aligned) same_as(depth, "logits on the host", found, from_host, false);
    if (is_batch_) step_resident(depth, tokens, logits.type, resident_logits, found);
    const Output on_cpu = step_on_cpu(depth, beams, tokens, logits);
    size_t beam = 0;
    size_t child = 0;
    for (uint32_t index = 0; index < requests_.size(); index++) {
      Request &request = requests_[index];
      compare(depth, index, tokens, logits, found, on_cpu, beam, child);
      if (!is_aligned) compare(depth, index, tokens, logits, from_host, on_cpu, beam, child);
      beam += request.beams.size();
      request.beams.clear();
      for (uint32_t rank = 0; rank < found.counts[index]; rank++) {
        request.beams.push_back({found.lo[child + rank], found.hi[child + rank], found.scores[child + rank]});
      }
      child += request.width;
    }
    counts_.steps++;
  }

  // One request's children against brute force and against the CPU's kernel.
  void compare(uint32_t depth, uint32_t index, const Tokens &tokens, const Logits &logits, const Output &found, const Output &on_cpu,
               size_t first_beam, size_t first_child) {
    const Request &request = requests_[index];
    const std::string at = where(depth) + ", request " + std::to_string(index);
    CHECK(found.bad_beams[index] == on_cpu.bad_beams[index], "%s: bad beam %d, the CPU says %d", at.c_str(), found.bad_beams[index], on_cpu.bad_beams[index]);
    if (found.bad_beams[index] >= 0) {
      const uint32_t token = found.bad_tokens[index];
      const float *row = logits.row(first_row(depth, index) + static_cast<uint32_t>(found.bad_beams[index]));
      CHECK(token < tokens.vocab_size && !(row[token] < -kGone) && equal_or_both_nan(row[token], found.bad_values[index]),
            "%s: token %u of value %g is not bad", at.c_str(), token, static_cast<double>(found.bad_values[index]));
      CHECK(found.counts[index] == 0, "%s: a request with a bad logit keeps %u children", at.c_str(), found.counts[index]);
      counts_.bad_logits++;
      return;
    }
    std::vector<Child> candidates;
    bool is_same_normalizer = true;
    double most_apart = 0;
    for (uint32_t beam = 0; beam < request.beams.size(); beam++) {
      const float *row = logits.row(first_row(depth, index) + beam);
      const std::vector<Child> children = live_children(arrays(), request.live, depth, request.beams[beam]);
      const double exact = exact_normalizer(tokens, rows_.sizes[depth], children, row, request.normalize, request.temperature);
      const float normalizer = found.normalizers[first_beam + beam];
      CHECK(exact == static_cast<double>(normalizer) || std::fabs(exact - static_cast<double>(normalizer)) <= normalizer_bound(exact),
            "%s, beam %u: log-sum-exp %.9g, expected %.9g", at.c_str(), beam, static_cast<double>(normalizer), exact);
      is_same_normalizer &= same_floats(normalizer, on_cpu.normalizers[first_beam + beam]);
      if (std::isfinite(exact)) most_apart = std::max(most_apart, 2 * normalizer_bound(exact));
      add_candidates(candidates, children, tokens, row, beam, request.beams[beam].score, normalizer, request.temperature);
    }
    const std::vector<Child> expected = best_of(std::move(candidates), request.width);
    CHECK(found.counts[index] == expected.size() && on_cpu.counts[index] == expected.size(), "%s: %u children, the CPU keeps %u, expected %zu", at.c_str(),
          found.counts[index], on_cpu.counts[index], expected.size());
    for (uint32_t rank = 0; rank < std::min<size_t>(expected.size(), found.counts[index]); rank++) {
      const Child &child = expected[rank];
      const size_t one = first_child + rank;
      CHECK(found.scores[one] == child.score && found.parents[one] == child.beam && found.codes[one] == child.code && found.lo[one] == child.lo &&
                found.hi[one] == child.hi,
            "%s, child %u: beam %u code %u [%u, %u) score %.9g, expected beam %u code %u [%u, %u) score %.9g", at.c_str(), rank, found.parents[one],
            found.codes[one], found.lo[one], found.hi[one], static_cast<double>(found.scores[one]), child.beam, child.code, child.lo, child.hi,
            static_cast<double>(child.score));
      if (is_same_normalizer) {
        CHECK(same_floats(found.scores[one] + 0.0f, on_cpu.scores[one] + 0.0f) && found.parents[one] == on_cpu.parents[one] && found.codes[one] == on_cpu.codes[one] &&
                  found.lo[one] == on_cpu.lo[one] && found.hi[one] == on_cpu.hi[one],
              "%s, child %u: beam %u code %u, esp_step keeps beam %u code %u", at.c_str(), rank, found.parents[one], found.codes[one],
              on_cpu.parents[one], on_cpu.codes[one]);
      } else {
        // The best scores move, rank by rank, by no more than the log-sum-exps do, and the rounding of two operations.
        const double slack = most_apart + 1e-6 * std::fabs(static_cast<double>(child.score));
        CHECK(std::fabs(static_cast<double>(on_cpu.scores[one]) - static_cast<double>(child.score)) <= slack, "%s, child %u: score %.9g, esp_step has %.9g",
              at.c_str(), rank, static_cast<double>(child.score), static_cast<double>(on_cpu.scores[one]));
      }
      counts_.children++;
    }
    (is_same_normalizer ? counts_.equal_to_cpu : counts_.near_to_cpu)++;
  }

  // The same step by a batch whose beams have stayed on the device since the root: launched, or captured and replayed.
  void step_resident(uint32_t depth, const Tokens &tokens, esp_logit_type type, const DeviceArray<uint8_t> &logits, const Output &expected) {
    const uint32_t width = requests_[0].width;
    std::vector<esp_cuda_constraint *> constraints;
    for (const Request &request : requests_) constraints.push_back(request.on_device.get());
    const uint32_t count = static_cast<uint32_t>(requests_.size());
    // Vocabularies differ from level to level here, and a batch has one.
    const esp_cuda_batch_options options = {count, width, type, tokens.vocab_size, requests_[0].normalize, requests_[0].temperature};
    const Handle<esp_cuda_batch> batch = make<esp_cuda_batch>([&](esp_cuda_batch **out) {
      return esp_cuda_batch_create(bench_.context, &options, constraints.data(), out);
    });
    if (batch == nullptr) return;
    const DeviceArray<uint32_t> table(tokens.table);
    ResidentBeams next(count, row_room_);
    const esp_cuda_batch_step step = {depth, logits.data(), tokens.offset, tokens.table.empty() ? nullptr : table.data(),
                                      depth == 0 ? nullptr : resident_->counts.data(), depth == 0 ? nullptr : resident_->scores.data(),
                                      depth == 0 ? nullptr : resident_->lo.data(), depth == 0 ? nullptr : resident_->hi.data(),
                                      next.counts.data(), next.scores.data(), next.parents.data(), next.codes.data(), next.lo.data(),
                                      next.hi.data(), next.bad_beams.data()};
    const auto launch = [&] {
      CHECK(esp_cuda_batch_run(batch.get(), &step, bench_.stream.get()) == ESP_OK, "%s: %s", where(depth).c_str(), esp_last_error());
    };
    if (random_.chance(0.5)) {
      launch();
      bench_.stream.wait();
      same_as(depth, "beams on the device", expected, read(next), true);
    } else {
      const Graph graph(bench_.stream, launch);
      for (int replay = 0; replay < 2; replay++) {
        if (replay > 0) next.clear();
        graph.replay(bench_.stream);
        bench_.stream.wait();
        same_as(depth, replay == 0 ? "a captured step" : "its second replay", expected, read(next), true);
        counts_.replays++;
      }
    }
    counts_.resident_steps++;
    resident_ = std::make_unique<ResidentBeams>(std::move(next));
  }

  Output read(const ResidentBeams &beams) const {
    Output output(requests_.size(), 0, row_room_);
    output.counts = beams.counts.read();
    output.scores = beams.scores.read();
    output.parents = beams.parents.read();
    output.codes = beams.codes.read();
    output.lo = beams.lo.read();
    output.hi = beams.hi.read();
    output.bad_beams = beams.bad_beams.read();
    return output;
  }

  // Two ways to take the same step give the same in every bit.
  void same_as(uint32_t depth, const char *way, const Output &expected, const Output &found, bool is_resident) const {
    size_t first = 0;
    for (uint32_t index = 0; index < requests_.size(); index++) {
      const std::string at = where(depth) + ", request " + std::to_string(index) + ", " + way;
      CHECK(found.counts[index] == expected.counts[index] && found.bad_beams[index] == expected.bad_beams[index],
            "%s: %u children and bad beam %d, expected %u and %d", at.c_str(), found.counts[index], found.bad_beams[index], expected.counts[index],
            expected.bad_beams[index]);
      const uint32_t count = std::min(expected.counts[index], found.counts[index]);
      for (size_t one = first; one < first + count; one++) {
        CHECK(same_floats(found.scores[one], expected.scores[one]) && found.parents[one] == expected.parents[one] &&
                  found.codes[one] == expected.codes[one] && found.lo[one] == expected.lo[one] && found.hi[one] == expected.hi[one],
              "%s, child %zu: beam %u code %u score %.9g, expected beam %u code %u score %.9g", at.c_str(), one - first, found.parents[one],
              found.codes[one], static_cast<double>(found.scores[one]), expected.parents[one], expected.codes[one],
              static_cast<double>(expected.scores[one]));
      }
      for (size_t one = first + count; is_resident && one < first + requests_[index].width; one++) {
        CHECK(found.codes[one] == kUntouched && found.parents[one] == kUntouched && bits_of(found.scores[one]) == kUntouched && found.lo[one] == kUntouched &&
                  found.hi[one] == kUntouched,
              "%s: entry %zu beyond the count was written", at.c_str(), one - first);
      }
      first += requests_[index].width;
    }
    size_t beam = 0;
    for (uint32_t index = 0; !is_resident && index < requests_.size(); index++) {
      const size_t end = beam + requests_[index].beams.size();
      // Of a request with a bad logit the sums mean nothing.
      for (; expected.bad_beams[index] < 0 && beam < end; beam++) {
        CHECK(same_floats(found.normalizers[beam], expected.normalizers[beam]), "%s, %s: log-sum-exp of beam %zu is %.9g, expected %.9g",
              where(depth).c_str(), way, beam, static_cast<double>(found.normalizers[beam]), static_cast<double>(expected.normalizers[beam]));
      }
      beam = end;
    }
  }

  std::string where(uint32_t depth) const {
    return std::string("case ") + std::to_string(counts_.cases) + " (" + rows_.shape + "), depth " + std::to_string(depth);
  }

  Random &random_;
  const CaseLimits &limits_;
  Bench &bench_;
  Counts &counts_;
  Rows rows_;
  Handle<esp_trie> trie_;
  Handle<esp_cuda_trie> on_device_;
  std::vector<Request> requests_;
  // All requests have the same width, normalization and temperature: the batch may stay on the device.
  bool is_batch_ = false;
  size_t row_room_ = 0;
  std::unique_ptr<ResidentBeams> resident_;
};

}  // namespace

void run_case(testing::Random &random, const CaseLimits &limits, Bench &bench, Counts &counts) {
  Case(random, limits, bench, counts).run();
}

}  // namespace checking
