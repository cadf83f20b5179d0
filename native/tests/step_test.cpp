// Decode steps of every instruction set against brute force over lists of SIDs.
//   step_test [--seed N] [--cases N]
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>

#include "testing.h"

using namespace testing;
using Sid = std::vector<uint32_t>;

namespace {

constexpr float kGone = -std::numeric_limits<float>::infinity();

struct Beam {
  Sid prefix;
  float score;
};

// A request, and the SIDs that it may reach.
struct Request {
  esp_constraint *constraint;
  std::vector<Sid> live;
  std::vector<uint64_t> leaf_bits, root_mask, node_bits;
  uint32_t width;
  esp_normalize normalize;
  float temperature;
  std::vector<Beam> beams;
};

struct Model {
  uint32_t vocab_size;
  uint32_t offset;
  std::vector<uint32_t> table;
  uint32_t token(uint32_t code) const { return table.empty() ? offset + code : table[code]; }
};

float random_logit(Random &random, uint64_t kind) {
  if (kind == 0) return static_cast<float>(random.below(3)) - 1.0f;
  if (kind == 1 && random.chance(0.6)) return kGone;
  if (kind == 2) return kGone;
  const float unit = static_cast<float>(random.below(1u << 20)) * 0x1p-20f - 0.5f;
  if (kind == 3) return unit * 1e5f;
  if (kind == 4) return unit - 120.0f;
  return unit * 20.0f;
}

bool has_prefix(const Sid &sid, const Sid &prefix) { return std::equal(prefix.begin(), prefix.end(), sid.begin()); }

struct Child {
  float score;
  uint32_t beam;
  uint32_t code;
};

// The live children of a beam: codes ascending.
std::vector<uint32_t> children_of(const Request &request, const Sid &prefix) {
  std::set<uint32_t> codes;
  for (const Sid &sid : request.live) {
    if (has_prefix(sid, prefix)) codes.insert(sid[prefix.size()]);
  }
  return {codes.begin(), codes.end()};
}

void check_normalizer(const Request &request, const Model &model, const float *row, const Sid &prefix, uint32_t code_count, float found) {
  std::vector<double> values;
  const auto scaled = [&](uint32_t token) { return static_cast<double>(row[token] / request.temperature); };
  if (request.normalize == ESP_VOCABULARY) {
    for (uint32_t token = 0; token < model.vocab_size; token++) values.push_back(scaled(token));
  } else if (request.normalize == ESP_LEVEL_TOKENS) {
    for (uint32_t code = 0; code < code_count; code++) values.push_back(scaled(model.token(code)));
  } else {
    for (const uint32_t code : children_of(request, prefix)) values.push_back(scaled(model.token(code)));
  }
  double maximum = kGone;
  for (const double value : values) maximum = std::max(maximum, value);
  double sum = 0;
  for (const double value : values) sum += std::exp(value - maximum);
  const double expected = maximum == kGone ? kGone : maximum + std::log(sum);
  const double bound = 1e-6 * std::max(1.0, std::fabs(expected));
  CHECK(expected == found || std::fabs(expected - found) <= bound, "normalizer %.9g, expected %.9g", static_cast<double>(found), expected);
}

std::vector<Child> best_children(const Request &request, const Model &model, const float *rows, const float *normalizers) {
  std::vector<Child> children;
  for (uint32_t beam = 0; beam < request.beams.size(); beam++) {
    const float *row = rows + size_t{beam} * model.vocab_size;
    for (const uint32_t code : children_of(request, request.beams[beam].prefix)) {
      const float logit = row[model.token(code)] / request.temperature;
      if (logit == kGone) continue;
      const float log_prob = logit - normalizers[beam];
      children.push_back({request.beams[beam].score + log_prob, beam, code});
    }
  }
  std::stable_sort(children.begin(), children.end(), [](const Child &a, const Child &b) { return a.score > b.score; });
  if (children.size() > request.width) children.resize(request.width);
  return children;
}

// The leaves below a prefix.
std::pair<uint32_t, uint32_t> range_of(const std::vector<Sid> &leaves, const Sid &prefix) {
  uint32_t lo = 0;
  while (!has_prefix(leaves[lo], prefix)) lo++;
  uint32_t hi = lo;
  while (hi < leaves.size() && has_prefix(leaves[hi], prefix)) hi++;
  return {lo, hi};
}

Request random_request(Random &random, esp_trie *trie, const std::vector<Sid> &leaves) {
  Request request = {};
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  const double live = random.pick<double>({0.02, 0.5, 0.95});
  const double dead = random.pick<double>({0, 0, 0.1, 0.9, 1});
  const bool has_set = random.chance(0.7);
  request.leaf_bits = bitmap(arrays.leaf_count);
  request.root_mask = bitmap(arrays.codebook_sizes[0]);
  request.node_bits = bitmap(arrays.top_levels[1].node_count);
  std::vector<uint32_t> dead_leaves;
  for (uint32_t leaf = 0; leaf < leaves.size(); leaf++) {
    if (has_set && !random.chance(live)) continue;
    set_bit(request.leaf_bits, leaf);
    if (random.chance(dead)) dead_leaves.push_back(leaf);
    else request.live.push_back(leaves[leaf]);
  }
  CHECK(esp_set_derive(ESP_LEVEL_SCALAR, trie, request.leaf_bits.data(), request.root_mask.data(), request.node_bits.data()) == ESP_OK, "derive");
  CHECK(esp_constraint_create(trie, has_set ? request.leaf_bits.data() : nullptr, request.root_mask.data(), request.node_bits.data(),
                              dead_leaves.data(), dead_leaves.size(), &request.constraint) == ESP_OK,
        "%s", esp_last_error());
  request.width = random.pick<uint32_t>({1, 2, 5, 40, 200, 1024});
  request.normalize = static_cast<esp_normalize>(random.below(3));
  request.temperature = random.pick<float>({1, 1, 0.7f});
  request.beams.push_back({{}, 0});
  return request;
}

void check_step(Random &random, const std::vector<Sid> &leaves, const Model &model, uint32_t depth, uint32_t code_count,
                std::vector<Request> &requests, esp_stepper *stepper) {
  std::vector<esp_step_request> asked;
  std::vector<float> scores;
  std::vector<uint32_t> lo, hi;
  size_t children = 0;
  for (const Request &request : requests) {
    const uint32_t first = static_cast<uint32_t>(scores.size());
    asked.push_back({request.constraint, static_cast<uint32_t>(request.beams.size()), request.width, first, request.normalize, request.temperature});
    for (const Beam &beam : request.beams) {
      const auto [from, to] = range_of(leaves, beam.prefix);
      scores.push_back(beam.score);
      lo.push_back(from);
      hi.push_back(to);
    }
    children += request.width;
  }
  const size_t rows = scores.size();
  // Exactly as long as it must be, so that a sanitizer sees one float too far.
  std::unique_ptr<float[]> logits(new float[rows * model.vocab_size]);
  for (size_t row = 0; row < rows; row++) {
    const uint64_t kind = random.below(8);
    for (uint32_t token = 0; token < model.vocab_size; token++) logits[row * model.vocab_size + token] = random_logit(random, kind);
  }
  esp_step_input input = {depth, static_cast<uint32_t>(requests.size()), asked.data(), scores.data(), lo.data(), hi.data(), logits.get(),
                          ESP_LOGITS_F32, rows, model.vocab_size, model.offset, model.table.empty() ? nullptr : model.table.data(),
                          static_cast<uint32_t>(model.table.size())};
  std::vector<uint32_t> counts(requests.size()), parents(children), codes(children), child_lo(children), child_hi(children), bad_tokens(requests.size());
  std::vector<int32_t> bad_beams(requests.size());
  std::vector<float> child_scores(children), normalizers(rows), bad_values(requests.size());
  const esp_step_output output = {counts.data(), child_scores.data(), parents.data(), codes.data(), child_lo.data(), child_hi.data(),
                                  normalizers.data(), bad_beams.data(), bad_tokens.data(), bad_values.data()};
  CHECK(esp_step(stepper, &input, &output) == ESP_OK, "%s", esp_last_error());
  size_t row = 0;
  size_t at = 0;
  for (uint32_t index = 0; index < requests.size(); index++) {
    Request &request = requests[index];
    for (uint32_t beam = 0; beam < request.beams.size(); beam++) {
      check_normalizer(request, model, &logits[(row + beam) * model.vocab_size], request.beams[beam].prefix, code_count, normalizers[row + beam]);
    }
    const std::vector<Child> expected = best_children(request, model, &logits[row * model.vocab_size], &normalizers[row]);
    CHECK(counts[index] == expected.size(), "%u children, expected %zu", counts[index], expected.size());
    std::vector<Beam> next;
    for (uint32_t rank = 0; rank < std::min<size_t>(counts[index], expected.size()); rank++) {
      const Child &child = expected[rank];
      const size_t found = at + rank;
      Sid prefix = request.beams[child.beam].prefix;
      prefix.push_back(child.code);
      const auto range = range_of(leaves, prefix);
      CHECK(child_scores[found] == child.score && parents[found] == child.beam && codes[found] == child.code &&
                child_lo[found] == range.first && child_hi[found] == range.second,
            "child %u: beam %u code %u score %g, expected beam %u code %u score %g", rank, parents[found], codes[found],
            static_cast<double>(child_scores[found]), child.beam, child.code, static_cast<double>(child.score));
      next.push_back({prefix, child.score});
    }
    row += request.beams.size();
    at += request.width;
    request.beams = next;
  }
}

void one_case(Random &random, esp_level level, esp_stepper *stepper) {
  const uint32_t levels = random.pick<uint32_t>({1, 2, 3, 5, 8, 16});
  const uint64_t row_count = 1 + random.below(random.pick<uint64_t>({3, 65, 400, 1500}));
  std::vector<uint32_t> sizes, codes;
  std::vector<Sid> rows;
  for (uint32_t at = 0; at < levels; at++) sizes.push_back(random.pick<uint32_t>({1, 2, 50, 128, 770, 2048, 70000}));
  const uint64_t used = random.pick<uint64_t>({2, 5, 100000});
  for (uint64_t row = 0; row < row_count; row++) {
    Sid sid;
    for (const uint32_t size : sizes) {
      const uint32_t code = static_cast<uint32_t>(random.below(std::min<uint64_t>(size, used)));
      sid.push_back(random.chance(0.5) ? code : size - 1 - code);
    }
    codes.insert(codes.end(), sid.begin(), sid.end());
    rows.push_back(sid);
  }
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  const esp_rows input = {codes.data(), ESP_U32, row_count, levels, sizes.data()};
  const esp_build_options options = {1, level, random.pick<uint64_t>({0, 1u << 24}), nullptr, nullptr};
  esp_trie *trie = nullptr;
  CHECK(esp_trie_build(&input, &options, &trie) == ESP_OK, "%s", esp_last_error());
  std::vector<Request> requests;
  for (uint64_t count = 1 + random.below(4); count > 0; count--) requests.push_back(random_request(random, trie, rows));
  for (uint32_t depth = 0; depth < levels; depth++) {
    size_t beams = 0;
    for (Request &request : requests) beams += request.beams.size();
    if (beams == 0 || beams * sizes[depth] > (1u << 20)) break;
    Model model = {};
    model.offset = static_cast<uint32_t>(random.below(20));
    model.vocab_size = model.offset + sizes[depth] + static_cast<uint32_t>(random.below(20));
    if (random.chance(0.3)) {
      for (uint32_t code = 0; code < sizes[depth]; code++) model.table.push_back(static_cast<uint32_t>(random.below(model.vocab_size)));
    }
    check_step(random, rows, model, depth, sizes[depth], requests, stepper);
  }
  for (Request &request : requests) esp_constraint_release(request.constraint);
  esp_trie_release(trie);
}

}  // namespace

int main(int count, char **values) {
  const uint64_t seed = argument(count, values, "--seed", static_cast<uint64_t>(time(nullptr)));
  const uint64_t cases = argument(count, values, "--cases", 100);
  printf("step_test: seed %llu (--seed repeats it), %llu cases\n", static_cast<unsigned long long>(seed), static_cast<unsigned long long>(cases));
  Random random(seed);
  for (const esp_level level : usable_levels()) {
    for (const uint32_t threads : {1u, 3u}) {
      esp_stepper *stepper = nullptr;
      CHECK(esp_stepper_create(level, threads, &stepper) == ESP_OK, "%s", esp_last_error());
      for (uint64_t at = 0; at < cases; at++) one_case(random, level, stepper);
      esp_stepper_release(stepper);
    }
  }
  return finish("step_test");
}
