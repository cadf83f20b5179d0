// A decode step by brute force: walks every leaf of every beam's node. Shares nothing with the kernels but the trie.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "logits.h"

namespace checking {

// A node with its cumulative score.
struct Beam {
  uint32_t lo;
  uint32_t hi;
  float score;
};

struct Child {
  float score;
  uint32_t beam;
  uint32_t code;
  uint32_t lo;
  uint32_t hi;
};

// How a level's codes stand in the vocabulary.
struct Tokens {
  uint32_t vocab_size;
  uint32_t offset;
  // Empty: token = offset + code.
  std::vector<uint32_t> table;
  uint32_t of(uint32_t code) const { return table.empty() ? offset + code : table[code]; }
};

inline uint32_t code_at(const esp_trie_arrays &trie, uint32_t leaf, uint32_t depth) {
  const uint64_t at = uint64_t{leaf} * trie.level_count + depth;
  return trie.is_wide ? static_cast<const uint32_t *>(trie.rows)[at] : static_cast<const uint16_t *>(trie.rows)[at];
}

// The children of [lo, hi) with a live leaf, codes ascending. @param live [leaf_count] bits
inline std::vector<Child> live_children(const esp_trie_arrays &trie, const std::vector<uint64_t> &live, uint32_t depth, const Beam &beam) {
  std::vector<Child> children;
  for (uint32_t from = beam.lo; from < beam.hi;) {
    const uint32_t code = code_at(trie, from, depth);
    uint32_t to = from;
    bool is_live = false;
    for (; to < beam.hi && code_at(trie, to, depth) == code; to++) is_live |= testing::bit(live.data(), to);
    if (is_live) children.push_back({0, 0, code, from, to});
    from = to;
  }
  return children;
}

// log of the sum of exp over the scaled logits, in double.
class LogSumExp {
 public:
  void add(float scaled) { values_.push_back(static_cast<double>(scaled)); }
  double value() const {
    double maximum = -HUGE_VAL;
    for (const double value : values_) maximum = std::max(maximum, value);
    if (maximum == -HUGE_VAL) return maximum;
    double sum = 0;
    for (const double value : values_) sum += std::exp(value - maximum);
    return maximum + std::log(sum);
  }

 private:
  std::vector<double> values_;
};

// How far a kernel's log-sum-exp may be from the exact one.
inline double normalizer_bound(double exact) { return 1e-6 * std::max(1.0, std::fabs(exact)); }

inline double exact_normalizer(const Tokens &tokens, uint32_t code_count, const std::vector<Child> &children, const float *row,
                               esp_normalize normalize, float temperature) {
  LogSumExp sum;
  if (normalize == ESP_VOCABULARY) {
    for (uint32_t token = 0; token < tokens.vocab_size; token++) sum.add(row[token] / temperature);
  } else if (normalize == ESP_LEVEL_TOKENS) {
    for (uint32_t code = 0; code < code_count; code++) sum.add(row[tokens.of(code)] / temperature);
  } else {
    for (const Child &child : children) sum.add(row[tokens.of(child.code)] / temperature);
  }
  return sum.value();
}

// A tie keeps the smaller beam, then the smaller code; -0 equals +0.
inline bool is_better(const Child &a, const Child &b) {
  if (a.score != b.score) return a.score > b.score;
  return a.beam != b.beam ? a.beam < b.beam : a.code < b.code;
}

// Scores the children of one beam, and adds those that exist.
inline void add_candidates(std::vector<Child> &candidates, const std::vector<Child> &children, const Tokens &tokens, const float *row,
                           uint32_t beam, float beam_score, float normalizer, float temperature) {
  for (Child child : children) {
    const float scaled = row[tokens.of(child.code)] / temperature;
    if (scaled == kGone) continue;
    const float log_prob = scaled - normalizer;
    child.score = beam_score + log_prob;
    child.beam = beam;
    candidates.push_back(child);
  }
}

inline std::vector<Child> best_of(std::vector<Child> candidates, uint32_t width) {
  const size_t kept = std::min<size_t>(width, candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<ptrdiff_t>(kept), candidates.end(), is_better);
  candidates.resize(kept);
  return candidates;
}

}  // namespace checking
