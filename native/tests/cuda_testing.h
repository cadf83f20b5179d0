// What the tests of libespalier_cuda.so share: catalogs on the host and on the device, and decodes whose log-sum-exp is
// exact, so that every kernel must find the same children with the same scores.
#pragma once

#include <algorithm>
#include <string>

#include "../cuda/runtime.h"
#include "../include/espalier_cuda.h"
#include "testing.h"

namespace testing {

inline void expect(esp_status found, esp_status expected, const char *words, const char *what) {
  const std::string said = found == ESP_OK ? "" : esp_last_error();
  CHECK(found == expected && said.find(words) != std::string::npos, "%s: status %d, expected %d; said \"%s\", expected \"%s\"",
        what, found, expected, said.c_str(), words);
  CHECK(said.find('\n') == std::string::npos && said.size() < 300, "%s: not one short line: %s", what, said.c_str());
}
inline void must(esp_status found, const char *what) { expect(found, ESP_OK, "", what); }

struct HostSet {
  std::vector<uint64_t> leaf_bits, root_mask, node_bits;
};

// A random trie with its rows as a model would see them.
struct Catalog {
  esp_trie *trie = nullptr;
  const esp_trie_arrays *arrays = nullptr;

  Catalog(Random &random, const std::vector<uint32_t> &sizes, uint64_t row_count) {
    const uint32_t levels = static_cast<uint32_t>(sizes.size());
    std::vector<uint32_t> codes;
    for (uint64_t row = 0; row < row_count; row++) {
      // Deeper levels branch little, as real ones do.
      for (uint32_t level = 0; level < levels; level++) {
        codes.push_back(static_cast<uint32_t>(random.below(level < 2 ? sizes[level] : std::min(3u, sizes[level]))));
      }
    }
    const esp_rows rows = {codes.data(), ESP_U32, row_count, levels, sizes.data()};
    const esp_build_options options = {1, ESP_LEVEL_SCALAR, random.pick<uint64_t>({0, 1u << 24}), nullptr, nullptr};
    must(esp_trie_build(&rows, &options, &trie), "esp_trie_build");
    arrays = esp_trie_view(trie);
  }
  Catalog(const Catalog &) = delete;
  ~Catalog() { esp_trie_release(trie); }

  uint32_t code(uint32_t leaf, uint32_t level) const {
    const uint64_t at = uint64_t{leaf} * arrays->level_count + level;
    return arrays->is_wide ? static_cast<const uint32_t *>(arrays->rows)[at] : static_cast<const uint16_t *>(arrays->rows)[at];
  }

  HostSet random_set(Random &random, double share) const {
    HostSet set = {bitmap(arrays->leaf_count), bitmap(arrays->codebook_sizes[0]), bitmap(arrays->top_levels[1].node_count + 1)};
    for (uint32_t leaf = 0; leaf < arrays->leaf_count; leaf++) {
      if (random.chance(share)) set_bit(set.leaf_bits, leaf);
    }
    must(esp_set_derive(ESP_LEVEL_SCALAR, trie, set.leaf_bits.data(), set.root_mask.data(), set.node_bits.data()), "esp_set_derive");
    return set;
  }
};

// The same constraint on the CPU and on the device.
struct Constraint {
  HostSet set;
  std::vector<bool> is_live;
  esp_constraint *on_cpu = nullptr;
  esp_cuda_set *device_set = nullptr;
  esp_cuda_constraint *on_device = nullptr;

  Constraint(Random &random, const Catalog &catalog, esp_cuda_trie *trie, double share, double dead) {
    const bool has_set = share < 1;
    std::vector<uint32_t> dead_leaves;
    set = catalog.random_set(random, share);
    for (uint32_t leaf = 0; leaf < catalog.arrays->leaf_count; leaf++) {
      is_live.push_back(!has_set || bit(set.leaf_bits.data(), leaf));
      if (!is_live.back() || !random.chance(dead)) continue;
      dead_leaves.push_back(leaf);
      is_live.back() = false;
    }
    must(esp_constraint_create(catalog.trie, has_set ? set.leaf_bits.data() : nullptr, set.root_mask.data(), set.node_bits.data(),
                               dead_leaves.data(), dead_leaves.size(), &on_cpu), "esp_constraint_create");
    if (has_set) must(esp_cuda_set_upload(trie, set.leaf_bits.data(), set.root_mask.data(), set.node_bits.data(), &device_set), "set");
    must(esp_cuda_constraint_create(trie, device_set, dead_leaves.data(), dead_leaves.size(), &on_device), "constraint");
  }
  Constraint(const Constraint &) = delete;
  ~Constraint() {
    esp_constraint_release(on_cpu);
    release_on_device();
  }
  void release_on_device() {
    esp_cuda_constraint_release(on_device);
    esp_cuda_set_release(device_set);
    on_device = nullptr;
    device_set = nullptr;
  }
};

// Logits in the three types, each with the same values.
class LogitRows {
 public:
  LogitRows(Random &random, uint64_t rows, uint32_t vocab_size, bool has_gone) : values_(rows * vocab_size), vocab_size_(vocab_size) {
    // Quarters from -8 to 8: exact in bfloat16, and full of ties.
    for (float &value : values_) value = has_gone && random.chance(0.3) ? -HUGE_VALF : static_cast<float>(random.below(65)) * 0.25f - 8.0f;
  }
  // Besides it, nothing of the row counts: its log-sum-exp is 100 to the last bit.
  void dominate(uint64_t row, uint32_t token) { values_[row * vocab_size_ + token] = 100; }
  void spoil(uint64_t row, uint32_t token, float value) { values_[row * vocab_size_ + token] = value; }
  const std::vector<float> &values() const { return values_; }

  std::vector<char> as(esp_logit_type type) const {
    std::vector<char> bytes;
    for (const float value : values_) {
      uint32_t bits = 0;
      memcpy(&bits, &value, sizeof bits);
      const uint16_t half = type == ESP_LOGITS_BF16 ? static_cast<uint16_t>(bits >> 16) : to_half(bits);
      const size_t size = type == ESP_LOGITS_F32 ? 4 : 2;
      const char *from = type == ESP_LOGITS_F32 ? reinterpret_cast<const char *>(&value) : reinterpret_cast<const char *>(&half);
      bytes.insert(bytes.end(), from, from + size);
    }
    return bytes;
  }

 private:
  // Of values that float16 has exactly.
  static uint16_t to_half(uint32_t bits) {
    const uint32_t sign = bits >> 16 & 0x8000;
    if ((bits & 0x7fffffff) == 0) return static_cast<uint16_t>(sign);
    const uint32_t exponent = bits >> 23 & 255;
    if (exponent == 255) return static_cast<uint16_t>(sign | 0x7c00 | (bits & 0x7fffff ? 0x200 : 0));
    return static_cast<uint16_t>(sign | (exponent - 112) << 10 | (bits >> 13 & 0x3ff));
  }

  std::vector<float> values_;
  uint32_t vocab_size_;
};

// How a model's tokens follow from codes.
struct Tokens {
  uint32_t vocab_size;
  uint32_t offset;
  std::vector<uint32_t> table;
  uint32_t of(uint32_t code) const { return table.empty() ? offset + code : table[code]; }

  Tokens(Random &random, uint32_t codes) {
    offset = static_cast<uint32_t>(random.below(9));
    vocab_size = offset + codes + 1 + static_cast<uint32_t>(random.below(20));
    if (random.chance(0.6)) return;
    for (uint32_t code = 0; code < codes; code++) table.push_back(vocab_size - 1 - code);
  }
};

struct Children {
  std::vector<uint32_t> counts, parents, codes, lo, hi, bad_tokens;
  std::vector<int32_t> bad_beams;
  std::vector<float> scores, normalizers, bad_values;

  Children(size_t requests, size_t children, size_t beams)
      : counts(requests), parents(children), codes(children), lo(children), hi(children), bad_tokens(requests), bad_beams(requests),
        scores(children), normalizers(beams), bad_values(requests) {}
  esp_step_output output() {
    return {counts.data(), scores.data(), parents.data(), codes.data(), lo.data(), hi.data(), normalizers.data(), bad_beams.data(),
            bad_tokens.data(), bad_values.data()};
  }
};

// Request r's children lie from first[r] on in both.
inline void check_equal(const Children &found, const Children &expected, const std::vector<size_t> &first, const char *what) {
  for (size_t request = 0; request < expected.counts.size(); request++) {
    CHECK(found.counts[request] == expected.counts[request], "%s, request %zu: %u children, expected %u", what, request,
          found.counts[request], expected.counts[request]);
    CHECK(found.bad_beams[request] == expected.bad_beams[request], "%s, request %zu: bad beam %d, expected %d", what, request,
          found.bad_beams[request], expected.bad_beams[request]);
    const size_t count = std::min(found.counts[request], expected.counts[request]);
    for (size_t at = first[request]; at < first[request] + count; at++) {
      CHECK(found.scores[at] == expected.scores[at] && found.parents[at] == expected.parents[at] &&
                found.codes[at] == expected.codes[at] && found.lo[at] == expected.lo[at] && found.hi[at] == expected.hi[at],
            "%s, request %zu, child %zu: beam %u code %u [%u, %u) score %g, expected beam %u code %u [%u, %u) score %g", what,
            request, at - first[request], found.parents[at], found.codes[at], found.lo[at], found.hi[at],
            static_cast<double>(found.scores[at]), expected.parents[at], expected.codes[at], expected.lo[at], expected.hi[at],
            static_cast<double>(expected.scores[at]));
    }
  }
}

// A token of the row that stands for all of its mass, whatever the normalization reads: that of a live leaf's code.
inline void dominate_live(Random &random, LogitRows &logits, uint64_t row, const Tokens &tokens, const Catalog &catalog,
                          const Constraint &constraint, uint32_t depth, uint32_t lo, uint32_t hi) {
  std::vector<uint32_t> live;
  for (uint32_t leaf = lo; leaf < hi; leaf++) {
    if (constraint.is_live[leaf]) live.push_back(leaf);
  }
  if (!live.empty()) logits.dominate(row, tokens.of(catalog.code(live[random.below(live.size())], depth)));
}

}  // namespace testing
