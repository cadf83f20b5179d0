// Fixed work for a tool that counts instructions; see scripts/count-instructions.ts.
//   count_instructions build|step|step-set scalar|avx2
// What is counted lies in the functions measured_*. Prints a hash of what came out.
#include "testing.h"

using namespace testing;

namespace {

constexpr uint32_t kRows = 20000, kLevels = 5, kVocab = 512, kRequests = 2, kWidth = 70;

void must(esp_status status) {
  if (status == ESP_OK) return;
  fprintf(stderr, "%s\n", esp_last_error());
  exit(1);
}

uint64_t hash = 0xcbf29ce484222325ull;
template <class T>
void mix(const T *values, size_t count) {
  for (size_t index = 0; index < count; index++) hash = (hash ^ static_cast<uint64_t>(values[index])) * 0x100000001b3ull;
}

}  // namespace

// Names without mangling, and calls that stay calls: the tool switches its counter on and off at them.
extern "C" {
__attribute__((noinline)) esp_status measured_build(const esp_rows *rows, const esp_build_options *options, esp_trie **out) {
  return esp_trie_build(rows, options, out);
}
__attribute__((noinline)) esp_status measured_step(esp_stepper *stepper, const esp_step_input *input, const esp_step_output *output) {
  return esp_step(stepper, input, output);
}
}

int main(int count, char **values) {
  if (count != 3) {
    fprintf(stderr, "count_instructions build|step|step-set scalar|avx2\n");
    return 2;
  }
  const bool is_build = strcmp(values[1], "build") == 0, has_set = strcmp(values[1], "step-set") == 0;
  const esp_level level = strcmp(values[2], "avx2") == 0 ? ESP_LEVEL_AVX2 : ESP_LEVEL_SCALAR;
  if (!esp_level_usable(level)) {
    fprintf(stderr, "this machine cannot run %s\n", values[2]);
    return 1;
  }
  Random random(1);
  std::vector<uint16_t> codes(size_t{kRows} * kLevels);
  for (uint16_t &code : codes) code = static_cast<uint16_t>(random.below(kVocab));
  const std::vector<uint32_t> sizes(kLevels, kVocab);
  const esp_rows rows{codes.data(), ESP_U16, kRows, kLevels, sizes.data()};
  const esp_build_options options{1, level, 1u << 20, nullptr, nullptr};
  esp_trie *trie;
  must(is_build ? measured_build(&rows, &options, &trie) : esp_trie_build(&rows, &options, &trie));
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  if (is_build) {
    mix(static_cast<const uint16_t *>(arrays.rows), size_t{arrays.leaf_count} * kLevels);
    printf("%016llx\n", static_cast<unsigned long long>(hash));
    return 0;
  }

  std::vector<uint64_t> leaf_bits = bitmap(arrays.leaf_count), root_mask = bitmap(kVocab);
  std::vector<uint64_t> node_bits = bitmap(arrays.top_levels[1].node_count);
  for (uint32_t leaf = 0; leaf < arrays.leaf_count; leaf++) {
    if (random.chance(0.1)) set_bit(leaf_bits, leaf);
  }
  must(esp_set_derive(level, trie, leaf_bits.data(), root_mask.data(), node_bits.data()));
  esp_constraint *constraint;
  must(esp_constraint_create(trie, has_set ? leaf_bits.data() : nullptr, has_set ? root_mask.data() : nullptr,
                             has_set ? node_bits.data() : nullptr, nullptr, 0, &constraint));
  esp_stepper *stepper;
  must(esp_stepper_create(level, 1, &stepper));
  constexpr uint32_t kBeams = kRequests * kWidth;
  std::vector<float> logits(size_t{kBeams} * kVocab);
  // Multiples of a power of two: exact in float32, on every machine.
  for (float &logit : logits) logit = static_cast<float>(random.below(1u << 16)) * 0x1p-12f - 8.0f;
  std::vector<float> scores(kBeams), child_scores(kBeams), normalizers(kBeams);
  std::vector<uint32_t> lo(kBeams), hi(kBeams, arrays.leaf_count), parents(kBeams), child_codes(kBeams), child_lo(kBeams),
      child_hi(kBeams), counts(kRequests, 1), bad_tokens(kRequests);
  std::vector<int32_t> bad_beams(kRequests);
  std::vector<float> bad_values(kRequests);
  for (uint32_t depth = 0; depth < kLevels; depth++) {
    esp_step_request requests[kRequests];
    uint32_t row = 0;
    for (uint32_t request = 0; request < kRequests; request++) {
      requests[request] = {constraint, counts[request], kWidth, row, ESP_VOCABULARY, 1.0f};
      row += counts[request];
    }
    const esp_step_input input{depth,      kRequests, requests,        scores.data(), lo.data(), hi.data(), logits.data(),
                               ESP_LOGITS_F32, kBeams, kVocab, 0, nullptr, 0};
    const esp_step_output output{counts.data(),   child_scores.data(), parents.data(),   child_codes.data(), child_lo.data(),
                                 child_hi.data(), normalizers.data(),  bad_beams.data(), bad_tokens.data(),  bad_values.data()};
    must(measured_step(stepper, &input, &output));
    uint32_t beam = 0;
    for (uint32_t request = 0; request < kRequests; request++) {
      const uint32_t first = request * kWidth;
      mix(&parents[first], counts[request]);
      mix(&child_codes[first], counts[request]);
      for (uint32_t rank = 0; rank < counts[request]; rank++, beam++) {
        scores[beam] = child_scores[first + rank];
        lo[beam] = child_lo[first + rank];
        hi[beam] = child_hi[first + rank];
      }
    }
  }
  printf("%016llx\n", static_cast<unsigned long long>(hash));
  return 0;
}
