// The step's kernel, run by the emulation, against brute force over lists of leaves and against esp_step.
//   cuda_step_test [--seed N] [--cases N] [--lies N] [--many-requests 1]
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "../cpu/constraint.h"
#include "../cuda/emulated/simt.h"
#include "../cuda/step_args.h"
#include "testing.h"

using namespace testing;
using espalier::cuda::RequestArgs;
using espalier::cuda::StepArgs;

namespace {

constexpr float kGone = -std::numeric_limits<float>::infinity();

uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Distinct SIDs, sorted: [leaf_count, level_count].
struct Leaves {
  uint32_t level_count;
  std::vector<uint32_t> codes;
  uint32_t count() const { return static_cast<uint32_t>(codes.size() / level_count); }
  uint32_t code(uint32_t leaf, uint32_t level) const { return codes[size_t{leaf} * level_count + level]; }
};

// What one request asks, and its beams.
struct Request {
  esp_constraint *constraint;
  // The constraint's, or one that lies.
  espalier::Reach reach;
  std::vector<uint64_t> leaf_bits, root_mask, node_bits;
  // [leaves] whether the request may reach it.
  std::vector<bool> live;
  uint32_t width;
  esp_normalize normalize;
  float temperature;
  bool has_left;
  std::vector<float> scores;
  std::vector<uint32_t> lo, hi;
  uint32_t beam_count() const { return static_cast<uint32_t>(scores.size()); }
};

// Logits of a step: what the kernel reads, and the same as float32.
struct Logits {
  esp_logit_type type;
  uint32_t vocab_size;
  std::vector<float> values;
  std::vector<uint16_t> halves;
  const void *data() const { return type == ESP_LOGITS_F32 ? static_cast<const void *>(values.data()) : halves.data(); }
};

struct Tokens {
  uint32_t offset;
  std::vector<uint32_t> table;
  uint32_t of(uint32_t code) const { return table.empty() ? offset + code : table[code]; }
};

float half_value(uint16_t half) {
  const uint32_t exponent = half >> 10 & 31;
  const uint32_t mantissa = half & 1023;
  float value;
  if (exponent == 31) value = mantissa == 0 ? -kGone : std::numeric_limits<float>::quiet_NaN();
  else if (exponent == 0) value = std::ldexp(static_cast<float>(mantissa), -24);
  else value = std::ldexp(static_cast<float>(mantissa + 1024), static_cast<int>(exponent) - 25);
  return (half & 0x8000u) != 0 ? -value : value;
}

// A float16 near a value: the kernel and the test only have to agree on what its bits mean.
uint16_t half_near(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000u : 0;
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65504.0f)) return static_cast<uint16_t>(value == value ? sign | 0x7c00u : 0x7e00u);
  uint32_t low = 0;
  uint32_t high = 0x7bff;
  while (low < high) {
    const uint32_t middle = (low + high + 1) / 2;
    if (half_value(static_cast<uint16_t>(middle)) <= magnitude) low = middle;
    else high = middle - 1;
  }
  return static_cast<uint16_t>(sign | low);
}

// The kind of logits that are all +0 or -0.
constexpr uint64_t kZeros = 8;

float random_logit(Random &random, uint64_t kind) {
  if (kind == 0) return static_cast<float>(random.below(3)) - 1.0f;
  if (kind == 1 && random.chance(0.7)) return kGone;
  if (kind == 2) return kGone;
  if (kind == kZeros) return random.chance(0.5) ? 0.0f : -0.0f;
  const float unit = static_cast<float>(random.below(1u << 20)) * 0x1p-20f - 0.5f;
  if (kind == 3) return unit * 1e5f;
  if (kind == 4) return unit - 120.0f;
  if (kind == 5) return unit * 2 * 3e38f;
  if (kind == 9) return unit * 0.01f + 30.0f;
  return unit * 20.0f;
}

Logits random_logits(Random &random, size_t rows, uint32_t vocab_size, bool may_be_bad, bool are_zeros) {
  Logits logits = {static_cast<esp_logit_type>(random.below(3)), vocab_size, std::vector<float>(rows * vocab_size), {}};
  const uint64_t common = are_zeros ? kZeros : random.below(12);
  for (size_t row = 0; row < rows; row++) {
    const uint64_t kind = are_zeros || random.chance(0.7) ? common : random.below(12);
    // Slowly rising rows, so that the largest logit so far is often surpassed.
    const float slope = kind == 10 ? 30.0f / static_cast<float>(vocab_size) : 0;
    for (uint32_t token = 0; token < vocab_size; token++) {
      // Kind 11 has the same logit for 32 tokens at a time.
      const float logit = kind == 11 ? static_cast<float>(token / 32 * 2654435761u >> 20) * 0.01f : random_logit(random, kind);
      logits.values[row * vocab_size + token] = kind == 10 ? logit * 0.05f + slope * static_cast<float>(token) : logit;
    }
  }
  if (may_be_bad && !logits.values.empty()) {
    for (uint64_t count = random.below(4); count > 0; count--) {
      logits.values[random.below(logits.values.size())] = random.chance(0.5) ? -kGone : std::numeric_limits<float>::quiet_NaN();
    }
  }
  if (logits.type == ESP_LOGITS_F32) return logits;
  for (float &value : logits.values) {
    uint16_t half;
    if (logits.type == ESP_LOGITS_F16) {
      half = half_near(value);
      value = half_value(half);
    } else {
      half = value == value ? static_cast<uint16_t>(bits_of(value) >> 16) : uint16_t{0x7fc0};
      value = float_of(static_cast<uint32_t>(half) << 16);
    }
    logits.halves.push_back(half);
  }
  return logits;
}

struct Child {
  float score;
  uint32_t beam, code, lo, hi;
};

// Calls visit(code, lo, hi) for the live children of [lo, hi).
template <class Visit>
void visit_children(const Leaves &leaves, const Request &request, uint32_t depth, uint32_t lo, uint32_t hi, Visit &&visit) {
  for (uint32_t from = lo; from < hi;) {
    const uint32_t code = leaves.code(from, depth);
    uint32_t to = from;
    bool is_live = false;
    for (; to < hi && leaves.code(to, depth) == code; to++) is_live |= request.live[to];
    if (is_live) visit(code, from, to);
    from = to;
  }
}

// The kernel's arrays of a step, with each request's beams, children and rows anywhere.
struct Arrays {
  std::vector<RequestArgs> requests;
  std::vector<uint32_t> beam_counts;
  std::vector<float> scores;
  std::vector<uint32_t> lo, hi;
  std::vector<uint32_t> counts;
  std::vector<float> out_scores;
  std::vector<uint32_t> parents, codes, out_lo, out_hi;
  std::vector<int32_t> bad_beams;
  std::vector<float> normalizers;
  std::vector<uint32_t> bad_tokens;
  std::vector<float> bad_values;
};

// Memory that many steps share, as they do on a device.
struct ScratchMemory {
  std::vector<uint64_t> words;
  void *reserve(const espalier::cuda::StepShape &shape) {
    const uint64_t bytes = espalier::cuda::step_scratch_bytes(shape);
    if (words.size() * 8 < bytes) words.assign((bytes + 7) / 8 + 32, 0);
    // Aligned to 256 bytes, so that it ends where it must.
    return reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(words.data()) + 255) / 256 * 256);
  }
};

struct Step {
  Random &random;
  const Leaves &leaves;
  const Tokens &tokens;
  uint32_t depth;
  uint32_t code_count;
  std::vector<Request> &requests;
  ScratchMemory &shared_scratch;
  // Whether the beams stay where they are from step to step, with room for `stride` each.
  bool is_resident;
  uint32_t stride;
  Arrays arrays = {};
  Logits logits = {};

  uint32_t beam_at(uint32_t request) const { return arrays.requests[request].first_beam; }

  void lay_out(uint32_t vocab_size, bool may_be_bad, bool are_zeros) {
    const uint32_t rows = lay_out_beams();
    logits = random_logits(random, rows, vocab_size, may_be_bad, are_zeros);
  }

  // @return how many rows of logits there are
  uint32_t lay_out_beams() {
    uint32_t rows = 0;
    uint32_t beams = 0;
    uint32_t children = 0;
    for (Request &request : requests) {
      const uint32_t gap = is_resident ? 0 : static_cast<uint32_t>(random.below(3));
      arrays.requests.push_back({&request.reach, request.width, request.normalize, request.temperature, rows + gap, beams + gap, children + gap});
      const uint32_t room = is_resident ? (depth == 0 ? 1 : stride) : request.beam_count();
      rows += room + gap;
      beams += (is_resident ? stride : room) + gap;
      children += (is_resident ? stride : request.width) + gap;
      arrays.beam_counts.push_back(request.beam_count());
    }
    arrays.scores.assign(beams, std::numeric_limits<float>::quiet_NaN());
    arrays.lo.assign(beams, UINT32_MAX);
    arrays.hi.assign(beams, 0);
    for (uint32_t index = 0; index < requests.size(); index++) {
      const Request &request = requests[index];
      std::copy(request.scores.begin(), request.scores.end(), arrays.scores.begin() + beam_at(index));
      std::copy(request.lo.begin(), request.lo.end(), arrays.lo.begin() + beam_at(index));
      std::copy(request.hi.begin(), request.hi.end(), arrays.hi.begin() + beam_at(index));
    }
    arrays.counts.assign(requests.size(), 12345);
    arrays.bad_beams.assign(requests.size(), 12345);
    arrays.bad_tokens.assign(requests.size(), 12345);
    arrays.bad_values.assign(requests.size(), 12345);
    arrays.normalizers.assign(beams, 12345);
    arrays.out_scores.assign(children, 12345);
    arrays.parents.assign(children, 12345);
    arrays.codes.assign(children, 12345);
    arrays.out_lo.assign(children, 12345);
    arrays.out_hi.assign(children, 12345);
    return rows;
  }

  StepArgs args() {
    StepArgs args = {};
    args.depth = depth;
    args.request_count = static_cast<uint32_t>(requests.size());
    args.most_beams = 1;
    args.most_children = 1;
    for (const Request &request : requests) {
      args.most_beams = std::max(args.most_beams, is_resident && depth > 0 ? stride : request.beam_count());
      args.most_children = std::max(args.most_children, request.width);
    }
    const bool is_at_root = depth == 0 && is_resident;
    args.requests = arrays.requests.data();
    args.beam_counts = is_at_root ? nullptr : arrays.beam_counts.data();
    args.scores = is_at_root ? nullptr : arrays.scores.data();
    args.node_lo = is_at_root ? nullptr : arrays.lo.data();
    args.node_hi = is_at_root ? nullptr : arrays.hi.data();
    args.logits = logits.data();
    args.logit_type = logits.type;
    args.vocab_size = logits.vocab_size;
    args.code_count = code_count;
    args.token_offset = tokens.offset;
    args.token_table = tokens.table.empty() ? nullptr : tokens.table.data();
    args.out_counts = arrays.counts.data();
    args.out_scores = arrays.out_scores.data();
    args.out_parents = arrays.parents.data();
    args.out_codes = arrays.codes.data();
    args.out_lo = arrays.out_lo.data();
    args.out_hi = arrays.out_hi.data();
    args.out_bad_beams = arrays.bad_beams.data();
    args.out_normalizers = arrays.normalizers.data();
    args.out_bad_tokens = arrays.bad_tokens.data();
    args.out_bad_values = arrays.bad_values.data();
    return args;
  }

  void launch() { launch(random.chance(0.8) ? random.next() : 0); }
  // @param order of blocks and threads, as simt::set_order takes it
  void launch(uint64_t order) {
    StepArgs launched = args();
    const espalier::cuda::StepShape shape = {launched.request_count, launched.most_beams, launched.most_children, code_count};
    ScratchMemory own;
    ScratchMemory &memory = random.chance(0.2) ? own : shared_scratch;
    launched.scratch = memory.reserve(shape);
    espalier::cuda::simt::set_order(order);
    CHECK(espalier::cuda::launch_step(launched, nullptr) == 0, "launch");
  }

  float scaled(size_t row, uint32_t token, float temperature) const { return logits.values[row * logits.vocab_size + token] / temperature; }

  // The logits that a beam's normalization reads, in order: visit(token, value).
  template <class Visit>
  void visit_normalized(const Request &request, uint32_t beam, size_t row, Visit &&visit) const {
    const auto offer = [&](uint32_t token) { visit(token, scaled(row, token, request.temperature)); };
    if (request.normalize == ESP_VOCABULARY) {
      for (uint32_t token = 0; token < logits.vocab_size; token++) offer(token);
    } else if (request.normalize == ESP_LEVEL_TOKENS) {
      for (uint32_t code = 0; code < code_count; code++) offer(tokens.of(code));
    } else {
      visit_children(leaves, request, depth, request.lo[beam], request.hi[beam], [&](uint32_t code, uint32_t, uint32_t) { offer(tokens.of(code)); });
    }
  }

  void check_normalizer(const Request &request, uint32_t beam, size_t row, float found) const {
    double maximum = kGone;
    visit_normalized(request, beam, row, [&](uint32_t, float value) { maximum = std::max(maximum, static_cast<double>(value)); });
    double sum = 0;
    visit_normalized(request, beam, row, [&](uint32_t, float value) { sum += std::exp(static_cast<double>(value) - maximum); });
    const double expected = maximum == kGone ? kGone : maximum + std::log(sum);
    CHECK(expected == static_cast<double>(found) || std::fabs(expected - static_cast<double>(found)) <= 1e-6 * std::max(1.0, std::fabs(expected)),
          "normalizer %.9g, expected %.9g", static_cast<double>(found), expected);
  }

  // The first bad logit of a request. @return its beam, or -1
  int32_t find_bad(const Request &request, size_t first_row, uint32_t &token, float &value) const {
    for (uint32_t beam = 0; beam < request.beam_count(); beam++) {
      bool is_found = false;
      visit_normalized(request, beam, first_row + beam, [&](uint32_t at, float logit) {
        if (is_found || logit < -kGone) return;
        is_found = true;
        token = at;
        value = logit;
      });
      if (is_found) return static_cast<int32_t>(beam);
    }
    return -1;
  }

  std::vector<Child> best_children(const Request &request, size_t first_row, const float *normalizers) const {
    std::vector<Child> children;
    for (uint32_t beam = 0; beam < request.beam_count(); beam++) {
      visit_children(leaves, request, depth, request.lo[beam], request.hi[beam], [&](uint32_t code, uint32_t lo, uint32_t hi) {
        const float logit = scaled(first_row + beam, tokens.of(code), request.temperature);
        if (!(logit > kGone)) return;
        const float log_prob = logit - normalizers[beam];
        const float score = request.scores[beam] + log_prob;
        if (score == score) children.push_back({score, beam, code, lo, hi});
      });
    }
    std::stable_sort(children.begin(), children.end(), [](const Child &a, const Child &b) { return a.score > b.score; });
    if (children.size() > request.width) children.resize(request.width);
    return children;
  }

  void check() {
    for (uint32_t index = 0; index < requests.size(); index++) {
      const Request &request = requests[index];
      const RequestArgs &asked = arrays.requests[index];
      uint32_t token = 0;
      float value = 0;
      const int32_t bad = find_bad(request, asked.first_row, token, value);
      CHECK(arrays.bad_beams[index] == bad, "bad beam %d, expected %d", arrays.bad_beams[index], bad);
      if (bad >= 0) {
        CHECK(arrays.counts[index] == 0 && arrays.bad_tokens[index] == token, "bad token %u, expected %u", arrays.bad_tokens[index], token);
        CHECK(arrays.bad_values[index] == value || (value != value && arrays.bad_values[index] != arrays.bad_values[index]), "bad value");
        continue;
      }
      for (uint32_t beam = 0; beam < request.beam_count(); beam++) {
        check_normalizer(request, beam, asked.first_row + beam, arrays.normalizers[asked.first_beam + beam]);
      }
      const std::vector<Child> expected = best_children(request, asked.first_row, arrays.normalizers.data() + asked.first_beam);
      CHECK(arrays.counts[index] == expected.size(), "request %u: %u children, expected %zu", index, arrays.counts[index], expected.size());
      for (uint32_t rank = 0; rank < std::min<size_t>(arrays.counts[index], expected.size()); rank++) {
        const Child &child = expected[rank];
        const size_t at = asked.first_child + rank;
        // -0 is written as +0.
        CHECK(bits_of(arrays.out_scores[at]) == bits_of(child.score + 0.0f) && arrays.parents[at] == child.beam && arrays.codes[at] == child.code &&
                  arrays.out_lo[at] == child.lo && arrays.out_hi[at] == child.hi,
              "depth %u, child %u of %zu: beam %u code %u [%u, %u) score %g, expected beam %u code %u [%u, %u) score %g", depth, rank, expected.size(),
              arrays.parents[at], arrays.codes[at], arrays.out_lo[at], arrays.out_hi[at], static_cast<double>(arrays.out_scores[at]), child.beam, child.code,
              child.lo, child.hi, static_cast<double>(child.score));
      }
    }
  }

  // The same by esp_step, whose log-sum-exp may differ a little: what doesn't depend on that must be equal.
  void check_against_cpu(esp_stepper *stepper) {
    std::vector<esp_step_request> asked;
    std::vector<float> scores;
    std::vector<uint32_t> lo, hi;
    size_t children = 0;
    for (uint32_t index = 0; index < requests.size(); index++) {
      const Request &request = requests[index];
      asked.push_back({request.constraint, request.beam_count(), request.width, arrays.requests[index].first_row, request.normalize, request.temperature});
      scores.insert(scores.end(), request.scores.begin(), request.scores.end());
      lo.insert(lo.end(), request.lo.begin(), request.lo.end());
      hi.insert(hi.end(), request.hi.begin(), request.hi.end());
      children += request.width;
    }
    const esp_step_input input = {depth, static_cast<uint32_t>(requests.size()), asked.data(), scores.data(), lo.data(), hi.data(), logits.values.data(),
                                  ESP_LOGITS_F32, logits.values.size() / logits.vocab_size, logits.vocab_size, tokens.offset,
                                  tokens.table.empty() ? nullptr : tokens.table.data(), static_cast<uint32_t>(tokens.table.size())};
    std::vector<uint32_t> counts(requests.size()), parents(children), codes(children), child_lo(children), child_hi(children), bad_tokens(requests.size());
    std::vector<int32_t> bad_beams(requests.size());
    std::vector<float> child_scores(children), normalizers(scores.size()), bad_values(requests.size());
    const esp_step_output output = {counts.data(), child_scores.data(), parents.data(), codes.data(), child_lo.data(), child_hi.data(),
                                    normalizers.data(), bad_beams.data(), bad_tokens.data(), bad_values.data()};
    CHECK(esp_step(stepper, &input, &output) == ESP_OK, "%s", esp_last_error());
    CHECK(counts == arrays.counts && bad_beams == arrays.bad_beams, "esp_step finds other counts or bad beams");
  }

  // Children become beams.
  void advance() {
    for (uint32_t index = 0; index < requests.size(); index++) {
      Request &request = requests[index];
      const uint32_t first = arrays.requests[index].first_child;
      const uint32_t count = request.has_left ? 0 : arrays.counts[index];
      request.scores.assign(arrays.out_scores.begin() + first, arrays.out_scores.begin() + first + count);
      request.lo.assign(arrays.out_lo.begin() + first, arrays.out_lo.begin() + first + count);
      request.hi.assign(arrays.out_hi.begin() + first, arrays.out_hi.begin() + first + count);
    }
  }
};

Leaves leaves_of(std::vector<std::vector<uint32_t>> sids, uint32_t levels) {
  std::sort(sids.begin(), sids.end());
  sids.erase(std::unique(sids.begin(), sids.end()), sids.end());
  Leaves leaves = {levels, {}};
  for (const auto &sid : sids) leaves.codes.insert(leaves.codes.end(), sid.begin(), sid.end());
  return leaves;
}

Leaves random_leaves(Random &random, const std::vector<uint32_t> &sizes, uint64_t row_count, std::vector<uint32_t> &rows, bool uses_all) {
  const uint64_t used = uses_all ? ESP_MAX_CODEBOOK_SIZE : random.pick<uint64_t>({2, 5, 100000, 300000});
  const uint32_t levels = static_cast<uint32_t>(sizes.size());
  std::vector<std::vector<uint32_t>> sids;
  for (uint64_t row = 0; row < row_count; row++) {
    std::vector<uint32_t> sid;
    for (const uint32_t size : sizes) {
      const uint32_t code = static_cast<uint32_t>(random.below(std::min<uint64_t>(size, used)));
      sid.push_back(random.chance(0.5) ? code : size - 1 - code);
    }
    rows.insert(rows.end(), sid.begin(), sid.end());
    sids.push_back(sid);
  }
  return leaves_of(std::move(sids), levels);
}

// At the root, of a set of a share of the leaves, of which a share is dead.
Request new_request(Random &random, esp_trie *trie, const Leaves &leaves, bool has_set, double live, double dead) {
  Request request = {};
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  request.leaf_bits = bitmap(arrays.leaf_count);
  request.root_mask = bitmap(arrays.codebook_sizes[0]);
  request.node_bits = bitmap(arrays.top_levels[1].node_count);
  request.live.assign(leaves.count(), false);
  std::vector<uint32_t> dead_leaves;
  for (uint32_t leaf = 0; leaf < leaves.count(); leaf++) {
    if (has_set && !random.chance(live)) continue;
    set_bit(request.leaf_bits, leaf);
    if (random.chance(dead)) dead_leaves.push_back(leaf);
    else request.live[leaf] = true;
  }
  CHECK(esp_set_derive(ESP_LEVEL_SCALAR, trie, request.leaf_bits.data(), request.root_mask.data(), request.node_bits.data()) == ESP_OK, "derive");
  CHECK(esp_constraint_create(trie, has_set ? request.leaf_bits.data() : nullptr, request.root_mask.data(), request.node_bits.data(),
                              dead_leaves.data(), dead_leaves.size(), &request.constraint) == ESP_OK,
        "%s", esp_last_error());
  request.reach = request.constraint->tables.reach();
  request.temperature = 1;
  request.scores = {0};
  request.lo = {0};
  request.hi = {leaves.count()};
  return request;
}

Request random_request(Random &random, esp_trie *trie, const Leaves &leaves, uint32_t most) {
  const double live = random.pick<double>({0.0005, 0.02, 0.5, 0.95});
  const double dead = random.pick<double>({0, 0, 0.1, 0.9, 1});
  Request request = new_request(random, trie, leaves, random.chance(0.7), live, dead);
  request.width = std::min(most, random.pick<uint32_t>({1, 2, 5, 17, 40, 150, 700, 1024}));
  request.normalize = static_cast<esp_normalize>(random.below(3));
  request.temperature = random.pick<float>({1, 1, 0.7f, 3});
  return request;
}

std::vector<uint32_t> random_sizes(Random &random) {
  std::vector<uint32_t> sizes;
  const uint32_t levels = random.pick<uint32_t>({1, 2, 3, 3, 5, 8, 32});
  for (uint32_t at = 0; at < levels; at++) {
    sizes.push_back(random.chance(0.04) ? random.pick<uint32_t>({65536, 70000, 262144}) : random.pick<uint32_t>({1, 2, 31, 50, 128, 770, 2048}));
  }
  // A few nodes of many leaves, in children large and small.
  if (random.chance(0.2)) sizes = random.pick<std::vector<uint32_t>>({{1, 1, 9000}, {2, 1, 2, 9000}, {1, 2, 50, 2048}, {1, 1, 2, 1, 70000}});
  return sizes;
}

struct Trie {
  std::vector<uint32_t> sizes;
  Leaves leaves;
  esp_trie *trie = nullptr;
};

esp_trie *built_trie(const std::vector<uint32_t> &rows, const std::vector<uint32_t> &sizes, uint64_t mask_bytes) {
  const uint32_t levels = static_cast<uint32_t>(sizes.size());
  const esp_rows input = {rows.data(), ESP_U32, rows.size() / levels, levels, sizes.data()};
  const esp_build_options options = {1, ESP_LEVEL_SCALAR, mask_bytes, nullptr, nullptr};
  esp_trie *trie = nullptr;
  CHECK(esp_trie_build(&input, &options, &trie) == ESP_OK, "%s", esp_last_error());
  return trie;
}

Trie random_trie(Random &random) {
  Trie made;
  made.sizes = random_sizes(random);
  // Children of so many leaves that several warps walk one of them; and groups of codes all of which are children.
  const uint64_t special = random.below(25);
  if (special == 0) made.sizes = {1, 1, 2, 70000};
  if (special == 1) made.sizes = {2048, 2};
  const bool is_large = special < 2 || (made.sizes.back() >= 9000 && random.chance(0.5));
  std::vector<uint32_t> rows;
  const uint64_t row_count = special < 2 ? 20000 : 1 + random.below(is_large ? 30000 : random.pick<uint64_t>({3, 65, 400, 3000}));
  made.leaves = random_leaves(random, made.sizes, row_count, rows, special < 2);
  made.trie = built_trie(rows, made.sizes, random.pick<uint64_t>({0, 1u << 24}));
  return made;
}

Tokens random_tokens(Random &random, uint32_t codes, uint32_t &vocab_size) {
  Tokens tokens = {static_cast<uint32_t>(random.below(20)), {}};
  if (random.chance(0.4)) tokens.offset = 0;
  vocab_size = tokens.offset + codes + (random.chance(0.4) ? 0 : static_cast<uint32_t>(random.below(20)));
  if (random.chance(0.3)) {
    for (uint32_t code = 0; code < codes; code++) tokens.table.push_back(static_cast<uint32_t>(random.below(vocab_size)));
  }
  return tokens;
}

void one_case(Random &random, esp_stepper *stepper, ScratchMemory &scratch) {
  Trie made = random_trie(random);
  std::vector<Request> requests;
  const bool is_resident = random.chance(0.4);
  const uint32_t most = random.pick<uint32_t>({5, 40, 150, 1024});
  for (uint64_t count = 1 + random.below(4); count > 0; count--) requests.push_back(random_request(random, made.trie, made.leaves, most));
  uint32_t stride = 1;
  for (const Request &request : requests) stride = std::max(stride, request.width);
  for (uint32_t depth = 0; depth < made.sizes.size(); depth++) {
    size_t beams = 0;
    // Chains of one child each, where a score may be -0: that must be +0, and ties with it.
    const bool are_zeros = !is_resident && random.chance(0.1);
    for (Request &request : requests) {
      if (are_zeros) {
        request.normalize = ESP_LIVE;
        for (float &score : request.scores) score = random.chance(0.5) ? 0.0f : -0.0f;
      }
      if (random.chance(0.05)) request.has_left = true;
      if (request.has_left && !(is_resident && depth == 0)) request.scores = {}, request.lo = {}, request.hi = {};
      beams += is_resident && depth > 0 ? stride : request.beam_count();
      if (!is_resident && !are_zeros && random.chance(0.1)) {
        for (float &score : request.scores) score = random.pick<float>({0, -0.0f, kGone, -3e38f, -1});
      }
    }
    if (beams == 0 || beams > 1500 || beams * made.sizes[depth] > (1u << 19)) break;
    uint32_t vocab_size;
    const Tokens tokens = random_tokens(random, made.sizes[depth], vocab_size);
    Step step = {random, made.leaves, tokens, depth, made.sizes[depth], requests, scratch, is_resident, stride};
    step.lay_out(vocab_size, random.chance(0.05), are_zeros);
    step.launch();
    step.check();
    step.check_against_cpu(stepper);
    // The same once more, in another order of its threads.
    if (random.chance(0.1)) {
      const Arrays before = step.arrays;
      step.launch();
      CHECK(before.out_scores == step.arrays.out_scores && before.parents == step.arrays.parents && before.codes == step.arrays.codes &&
                before.out_lo == step.arrays.out_lo && before.out_hi == step.arrays.out_hi && before.counts == step.arrays.counts,
            "two runs differ");
    }
    step.advance();
  }
  for (Request &request : requests) esp_constraint_release(request.constraint);
  esp_trie_release(made.trie);
}

// One leaf more or fewer at one end, as far as there is one.
void spoil_node(Random &random, uint32_t &lo, uint32_t &hi, uint32_t leaf_count) {
  switch (random.below(4)) {
    case 0: lo -= lo > 0; break;
    case 1: lo += lo + 1 < hi; break;
    case 2: hi += hi < leaf_count; break;
    default: hi -= lo + 1 < hi; break;
  }
}

bool is_node(const uint64_t *starts, uint32_t lo, uint32_t hi) {
  if (!bit(starts, lo) || !bit(starts, hi)) return false;
  for (uint32_t leaf = lo + 1; leaf < hi; leaf++) {
    if (bit(starts, leaf)) return false;
  }
  return true;
}

// Beams that are no nodes, and a trie whose arrays lie: nothing but a refusal may come of the former, and nothing is read
// that isn't the trie's, which a sanitizer sees.
void one_lie(Random &random, ScratchMemory &scratch) {
  Trie made = random_trie(random);
  std::vector<Request> requests;
  requests.push_back(random_request(random, made.trie, made.leaves, 150));
  Request &request = requests[0];
  const esp_trie_arrays &arrays = *esp_trie_view(made.trie);
  esp_trie_arrays lying = arrays;
  std::vector<std::vector<uint64_t>> prefixes;
  std::vector<uint16_t> narrow(arrays.is_wide ? 0 : size_t{arrays.leaf_count} * arrays.level_count);
  std::vector<uint32_t> wide(arrays.is_wide ? size_t{arrays.leaf_count} * arrays.level_count : 0);
  const size_t mask_words = arrays.level_count > 1 ? size_t{(arrays.codebook_sizes[1] + 63) / 64} * arrays.mask_count : 0;
  std::vector<uint64_t> masks(mask_words);
  std::vector<uint32_t> ranks(mask_words);
  const bool has_lies = random.chance(0.5);
  if (has_lies) {
    for (uint16_t &code : narrow) code = static_cast<uint16_t>(random.below(random.chance(0.5) ? 4 : 65536));
    for (uint32_t &code : wide) code = static_cast<uint32_t>(random.below(random.chance(0.5) ? 4 : UINT32_MAX));
    for (uint64_t &word : masks) word = random.next();
    for (uint32_t &rank : ranks) rank = static_cast<uint32_t>(random.next());
    lying.rows = arrays.is_wide ? static_cast<const void *>(wide.data()) : narrow.data();
    lying.mask_bits = masks.data();
    lying.mask_ranks = ranks.data();
    for (uint32_t level = 0; level < arrays.level_count; level++) {
      prefixes.push_back(bitmap(uint64_t{arrays.leaf_count} + 1));
      for (uint64_t &word : prefixes.back()) word = random.next() & random.next();
      lying.new_prefix[level] = prefixes.back().data();
    }
    request.reach.trie = &lying;
  }
  const uint32_t depth = static_cast<uint32_t>(random.below(arrays.level_count));
  const bool is_wild = !has_lies || random.chance(0.5);
  const uint32_t beams = depth == 0 ? 1 + static_cast<uint32_t>(random.below(2)) : 1 + static_cast<uint32_t>(random.below(6));
  request.scores.assign(beams, 0);
  request.lo.assign(beams, 0);
  request.hi.assign(beams, arrays.leaf_count);
  bool has_wild = false;
  for (uint32_t beam = 0; beam < beams; beam++) {
    if (depth == 1) {
      const uint32_t node = static_cast<uint32_t>(random.below(arrays.top_levels[0].node_count));
      request.lo[beam] = arrays.top_levels[0].leaf_start[node];
      request.hi[beam] = arrays.top_levels[0].leaf_start[node + 1];
    } else if (depth > 1) {
      request.lo[beam] = static_cast<uint32_t>(random.below(arrays.leaf_count));
      request.hi[beam] = request.lo[beam] + 1 + static_cast<uint32_t>(random.below(arrays.leaf_count - request.lo[beam]));
      // Half of them are nodes, and some of the others nearly.
      const uint64_t *starts = arrays.new_prefix[depth - 1];
      if (random.chance(0.7)) {
        while (!bit(starts, request.lo[beam])) request.lo[beam]--;
        request.hi[beam] = request.lo[beam] + 1;
        while (!bit(starts, request.hi[beam])) request.hi[beam]++;
        if (random.chance(0.3)) spoil_node(random, request.lo[beam], request.hi[beam], arrays.leaf_count);
      }
      has_wild |= !has_lies && !is_node(starts, request.lo[beam], request.hi[beam]);
    }
    if (!is_wild || random.chance(0.5)) continue;
    has_wild = true;
    switch (random.below(4)) {
      case 0: request.lo[beam] = request.hi[beam]; break;
      case 1: request.hi[beam] = arrays.leaf_count + 1 + static_cast<uint32_t>(random.below(1000)); break;
      case 2: request.lo[beam] = UINT32_MAX, request.hi[beam] = 0; break;
      default: request.lo[beam] = 0, request.hi[beam] = UINT32_MAX; break;
    }
  }
  uint32_t vocab_size;
  const Tokens tokens = random_tokens(random, made.sizes[depth], vocab_size);
  Step step = {random, made.leaves, tokens, depth, made.sizes[depth], requests, scratch, false, 0};
  step.lay_out(vocab_size, false, false);
  step.launch();
  const bool is_refused = has_wild || (depth == 0 && beams > 1);
  if (is_refused) {
    CHECK(step.arrays.bad_beams[0] == espalier::cuda::kNoNodes && step.arrays.counts[0] == 0, "beams that are no nodes: %d", step.arrays.bad_beams[0]);
  }
  if (!has_lies && !is_refused) CHECK(step.arrays.bad_beams[0] != espalier::cuda::kNoNodes, "nodes are taken for none at depth %u", depth);
  CHECK(step.arrays.counts[0] <= request.width, "%u children", step.arrays.counts[0]);
  esp_constraint_release(request.constraint);
  esp_trie_release(made.trie);
}

// The nodes of a depth as beams, those of the most leaves first.
void put_on_nodes(Request &request, const Leaves &leaves, uint32_t depth, uint32_t most_beams) {
  std::vector<std::pair<uint32_t, uint32_t>> nodes;
  const auto is_same = [&](uint32_t one, uint32_t other) {
    const uint32_t *codes = leaves.codes.data();
    return std::equal(codes + size_t{one} * leaves.level_count, codes + size_t{one} * leaves.level_count + depth, codes + size_t{other} * leaves.level_count);
  };
  for (uint32_t from = 0, to = 0; from < leaves.count(); from = to) {
    for (to = from; to < leaves.count() && is_same(from, to);) to++;
    nodes.push_back({from, to});
  }
  std::stable_sort(nodes.begin(), nodes.end(), [](auto a, auto b) { return a.second - a.first > b.second - b.first; });
  if (nodes.size() > most_beams) nodes.resize(most_beams);
  request.scores.clear(), request.lo.clear(), request.hi.clear();
  for (const auto &node : nodes) {
    request.scores.push_back(-0.125f * static_cast<float>(request.scores.size() % 7));
    request.lo.push_back(node.first);
    request.hi.push_back(node.second);
  }
}

// Logits of whole quarters, with ties, which are made fast: a row of the pattern begins anywhere in it.
Logits tied_logits(Random &random, size_t rows, uint32_t vocab_size, esp_logit_type type) {
  std::vector<float> pattern(100'003);
  for (float &value : pattern) value = static_cast<float>(random.below(129)) * 0.125f - 8.0f;
  Logits logits = {type, vocab_size, std::vector<float>(rows * vocab_size), {}};
  size_t at = 0;
  for (float &value : logits.values) {
    value = pattern[at];
    if (++at == pattern.size()) at = 0;
  }
  // An eighth below 16 has few enough digits for bfloat16.
  if (type == ESP_LOGITS_BF16) {
    for (const float value : logits.values) logits.halves.push_back(static_cast<uint16_t>(bits_of(value) >> 16));
  }
  return logits;
}

// The largest codebook, and with it the largest vocabulary, for many beams of nodes with very many children.
void largest_vocabulary(Random &random, esp_stepper *stepper, ScratchMemory &scratch, uint32_t width, uint32_t most_beams, esp_logit_type type) {
  constexpr uint32_t kCodes = ESP_MAX_CODEBOOK_SIZE;
  Trie made = {{kCodes, kCodes, kCodes}, {}, nullptr};
  std::vector<uint32_t> rows;
  std::vector<std::vector<uint32_t>> sids;
  for (uint32_t row = 0; row < 60'000; row++) {
    std::vector<uint32_t> sid;
    for (uint32_t level = 0; level < 3; level++) {
      // Some nodes have thousands of children all over the codebook, and all others hardly any.
      const bool is_usual = random.chance(0.6);
      sid.push_back(is_usual ? static_cast<uint32_t>(random.below(6) * 2654435761u % kCodes) : static_cast<uint32_t>(random.below(kCodes)));
    }
    rows.insert(rows.end(), sid.begin(), sid.end());
    sids.push_back(std::move(sid));
  }
  made.leaves = leaves_of(std::move(sids), 3);
  made.trie = built_trie(rows, made.sizes, 1u << 24);
  std::vector<Request> requests;
  requests.push_back(new_request(random, made.trie, made.leaves, true, 0.7, 0.1));
  requests[0].width = width;
  requests[0].normalize = ESP_VOCABULARY;
  const Tokens tokens = {0, {}};
  for (uint32_t depth = 0; depth < 3; depth++) {
    put_on_nodes(requests[0], made.leaves, depth, most_beams);
    Step step = {random, made.leaves, tokens, depth, kCodes, requests, scratch, false, 1};
    step.logits = tied_logits(random, step.lay_out_beams(), kCodes, type);
    step.launch();
    step.check();
    step.check_against_cpu(stepper);
    CHECK(step.arrays.counts[0] == width, "depth %u: %u children of %u", depth, step.arrays.counts[0], width);
  }
  esp_constraint_release(requests[0].constraint);
  esp_trie_release(made.trie);
}

// More requests than one launch has tickets for.
void very_many_requests(Random &random, esp_stepper *stepper, ScratchMemory &scratch) {
  constexpr uint32_t kRequests = 16384 + 300;
  Trie made = {{3, 3}, {}, nullptr};
  const std::vector<uint32_t> rows = {0, 0, 0, 1, 1, 2, 2, 0, 2, 1, 2, 2};
  made.leaves = {2, rows};
  made.trie = built_trie(rows, made.sizes, 0);
  Request all = new_request(random, made.trie, made.leaves, false, 1, 0);
  std::vector<Request> requests;
  for (uint32_t index = 0; index < kRequests; index++) {
    requests.push_back(all);
    requests.back().width = 1 + index % 3;
    requests.back().normalize = static_cast<esp_normalize>(index % 3);
    // Some have left, in either launch.
    if (index % 50 == 7) requests.back().scores = {}, requests.back().lo = {}, requests.back().hi = {};
  }
  const Tokens tokens = {0, {}};
  Step step = {random, made.leaves, tokens, 0, 3, requests, scratch, false, 1};
  step.logits = tied_logits(random, step.lay_out_beams(), 3, ESP_LOGITS_F32);
  // What a request is told of its logits is its own, too.
  for (const uint32_t bad : {100u, 16383u, 16384u, 16600u}) {
    step.logits.values[size_t{step.arrays.requests[bad].first_row} * 3] = std::numeric_limits<float>::quiet_NaN();
  }
  // In order, which is fast.
  step.launch(0);
  step.check();
  step.check_against_cpu(stepper);
  esp_constraint_release(all.constraint);
  esp_trie_release(made.trie);
}

}  // namespace

int main(int count, char **values) {
  const uint64_t seed = argument(count, values, "--seed", static_cast<uint64_t>(time(nullptr)));
  const uint64_t cases = argument(count, values, "--cases", 150);
  const uint64_t lies = argument(count, values, "--lies", cases / 2);
  printf("cuda_step_test: seed %llu (--seed repeats it), %llu cases, %llu lies\n", static_cast<unsigned long long>(seed),
         static_cast<unsigned long long>(cases), static_cast<unsigned long long>(lies));
  Random random(seed);
  ScratchMemory scratch;
  // Large enough for all: what one step leaves in it is what the next one finds.
  scratch.reserve({4, 1500, ESP_MAX_BEAM_WIDTH, 1});
  esp_stepper *stepper = nullptr;
  CHECK(esp_stepper_create(ESP_LEVEL_SCALAR, 1, &stepper) == ESP_OK, "%s", esp_last_error());
  for (uint64_t at = 0; at < cases; at++) one_case(random, stepper, scratch);
  for (uint64_t at = 0; at < lies; at++) one_lie(random, scratch);
  largest_vocabulary(random, stepper, scratch, 70, 70, ESP_LOGITS_F32);
  largest_vocabulary(random, stepper, scratch, ESP_MAX_BEAM_WIDTH, 16, ESP_LOGITS_BF16);
  // Takes longer than all that is above.
  if (argument(count, values, "--many-requests", 0) != 0) very_many_requests(random, stepper, scratch);
  esp_stepper_release(stepper);
  return finish("cuda_step_test");
}
