// Arrays that lie: attaching them either fails with a status, or leaves a trie on which everything stays within
// its arrays, which the sanitizers watch.
//   hostile_test [--seed N] [--seconds N]
#include <algorithm>
#include <memory>

#include "testing.h"

using namespace testing;

namespace {

// Each array in a heap block of exactly its size, so that one byte too far is seen.
template <class T>
std::unique_ptr<T[]> copy(const T *from, size_t count) {
  std::unique_ptr<T[]> to(new T[count]);
  if (count > 0) memcpy(to.get(), from, count * sizeof(T));
  return to;
}

uint32_t hostile_value(Random &random, uint32_t honest) {
  switch (random.below(5)) {
    case 0:
      return 0;
    case 1:
      return UINT32_MAX;
    case 2:
      return honest + 1;
    case 3:
      return honest - 1;
    default:
      return static_cast<uint32_t>(random.next());
  }
}

// Steps over a trie that may be damaged, from beams that may be no nodes, with logits of any bits.
void hostile_steps(Random &random, esp_trie *trie, const uint64_t *leaf_bits, const uint64_t *root_mask, const uint64_t *node_bits) {
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  std::vector<uint32_t> dead;
  for (uint32_t leaf = 0; leaf < arrays.leaf_count; leaf++) {
    if (random.chance(0.2)) dead.push_back(random.chance(0.002) ? hostile_value(random, leaf) : leaf);
  }
  esp_constraint *constraint = nullptr;
  const bool has_set = random.chance(0.6);
  if (esp_constraint_create(trie, has_set ? leaf_bits : nullptr, root_mask, node_bits, dead.data(), dead.size(), &constraint) != ESP_OK) return;
  for (const esp_level level : usable_levels()) {
    esp_stepper *stepper = nullptr;
    if (esp_stepper_create(level, 1, &stepper) != ESP_OK) abort();
    for (uint32_t depth = 0; depth < arrays.level_count; depth++) {
      const uint32_t beams = depth == 0 ? 1 : static_cast<uint32_t>(1 + random.below(6));
      const uint32_t vocab_size = arrays.codebook_sizes[depth] + static_cast<uint32_t>(random.below(3));
      const uint32_t width = static_cast<uint32_t>(1 + random.below(50));
      std::unique_ptr<uint16_t[]> logits(new uint16_t[size_t{beams} * vocab_size]);
      for (size_t at = 0; at < size_t{beams} * vocab_size; at++) logits[at] = static_cast<uint16_t>(random.below(random.chance(0.01) ? 65536 : 0x7c00));
      std::vector<float> scores(beams, 0), child_scores(width), normalizers(beams), bad_values(1);
      std::vector<uint32_t> lo(beams, 0), hi(beams, arrays.leaf_count), counts(1), parents(width), codes(width), child_lo(width), child_hi(width), bad_tokens(1);
      std::vector<int32_t> bad_beams(1);
      for (uint32_t beam = 0; beam < beams && depth > 0; beam++) {
        lo[beam] = static_cast<uint32_t>(random.below(arrays.leaf_count));
        hi[beam] = lo[beam] + 1 + static_cast<uint32_t>(random.below(arrays.leaf_count - lo[beam]));
        if (random.chance(0.02)) hi[beam] = hostile_value(random, hi[beam]);
        const esp_top_level &top = arrays.top_levels[0];
        if (depth == 1 && random.chance(0.9)) {
          const uint64_t node = random.below(top.node_count);
          lo[beam] = top.leaf_start[node];
          hi[beam] = top.leaf_start[node + 1];
        }
      }
      const esp_step_request request = {constraint, beams, width, 0, static_cast<esp_normalize>(random.below(3)), 1.0f};
      const esp_step_input input = {depth, 1, &request, scores.data(), lo.data(), hi.data(), logits.get(), ESP_LOGITS_F16, beams, vocab_size, 0, nullptr, 0};
      const esp_step_output output = {counts.data(), child_scores.data(), parents.data(), codes.data(), child_lo.data(), child_hi.data(),
                                      normalizers.data(), bad_beams.data(), bad_tokens.data(), bad_values.data()};
      if (esp_step(stepper, &input, &output) != ESP_OK) continue;
      CHECK(counts[0] <= width, "%u children", counts[0]);
      for (uint32_t child = 0; child < counts[0]; child++) CHECK(child_hi[child] <= arrays.leaf_count, "a child behind the last leaf");
    }
    esp_stepper_release(stepper);
  }
  esp_constraint_release(constraint);
}

void one_case(Random &random, uint64_t &attached, uint64_t &refused) {
  const uint32_t levels = static_cast<uint32_t>(1 + random.below(5));
  std::vector<uint32_t> sizes;
  for (uint32_t level = 0; level < levels; level++) sizes.push_back(random.pick<uint32_t>({2, 50, 64, 300, 70000}));
  const uint64_t row_count = 1 + random.below(400);
  std::vector<uint32_t> codes;
  for (uint64_t row = 0; row < row_count; row++) {
    for (uint32_t level = 0; level < levels; level++) codes.push_back(static_cast<uint32_t>(random.below(std::min(sizes[level], 12u))));
  }
  const esp_rows rows = {codes.data(), ESP_U32, row_count, levels, sizes.data()};
  const esp_build_options options = {1, ESP_LEVEL_SCALAR, random.pick<uint64_t>({0, 1u << 20}), nullptr, nullptr};
  esp_trie *honest = nullptr;
  if (esp_trie_build(&rows, &options, &honest) != ESP_OK) abort();
  const esp_trie_arrays &source = *esp_trie_view(honest);
  const esp_build_result &built = *esp_trie_build_result(honest);

  // Lie about contents; lengths are the caller's own, and the binding checks them.
  const uint64_t prefix_words = (uint64_t{source.leaf_count} + 64) / 64;
  const uint64_t code_bytes = source.is_wide ? 4 : 2;
  esp_trie_arrays lies = source;
  auto row_bytes = copy(static_cast<const uint8_t *>(source.rows), source.leaf_count * uint64_t{levels} * code_bytes);
  lies.rows = row_bytes.get();
  std::vector<std::unique_ptr<uint64_t[]>> prefixes;
  for (uint32_t level = 0; level < levels; level++) {
    prefixes.push_back(copy(source.new_prefix[level], prefix_words));
    lies.new_prefix[level] = prefixes.back().get();
  }
  std::vector<std::unique_ptr<uint8_t[]>> top_codes;
  std::vector<std::unique_ptr<uint32_t[]>> starts;
  for (uint32_t level = 0; level < std::min(levels, 2u); level++) {
    const esp_top_level &top = source.top_levels[level];
    top_codes.push_back(copy(static_cast<const uint8_t *>(top.codes), top.node_count * code_bytes));
    starts.push_back(copy(top.leaf_start, top.node_count + size_t{1}));
    lies.top_levels[level].codes = top_codes.back().get();
    lies.top_levels[level].leaf_start = starts.back().get();
  }
  std::unique_ptr<uint32_t[]> first_child;
  if (levels > 1) {
    first_child = copy(source.top_levels[0].first_child, source.top_levels[0].node_count + size_t{1});
    lies.top_levels[0].first_child = first_child.get();
  }
  std::unique_ptr<uint32_t[]> mask_nodes = copy(source.mask_nodes, source.mask_count);
  lies.mask_nodes = mask_nodes.get();
  const uint64_t lie_count = random.below(4);
  for (uint64_t lie = 0; lie < lie_count; lie++) {
    switch (random.below(6)) {
      case 0:
        row_bytes[random.below(source.leaf_count * uint64_t{levels} * code_bytes)] ^= static_cast<uint8_t>(1 + random.below(255));
        break;
      case 1:
        // One bit too many, or a node at every leaf of a word.
        if (random.chance(0.5)) {
          prefixes[random.below(levels)][random.below(prefix_words)] ^= uint64_t{1} << random.below(64);
        } else {
          prefixes[random.below(levels)][random.below(prefix_words)] = UINT64_MAX;
        }
        break;
      case 2: {
        const uint64_t level = random.below(top_codes.size());
        top_codes[level][random.below(source.top_levels[level].node_count * code_bytes)] ^= static_cast<uint8_t>(1 + random.below(255));
        break;
      }
      case 3: {
        const uint64_t level = random.below(starts.size());
        uint32_t &value = starts[level][random.below(source.top_levels[level].node_count + uint64_t{1})];
        value = hostile_value(random, value);
        break;
      }
      case 4:
        if (first_child) {
          uint32_t &value = first_child[random.below(source.top_levels[0].node_count + uint64_t{1})];
          value = hostile_value(random, value);
        }
        break;
      case 5:
        if (source.mask_count > 0) {
          uint32_t &value = mask_nodes[random.below(source.mask_count)];
          value = hostile_value(random, value);
        }
        break;
    }
  }
  esp_trie *trie = nullptr;
  if (esp_trie_attach(&lies, nullptr, 0, &trie) != ESP_OK) {
    refused++;
    CHECK(lie_count > 0, "an honest trie was refused: %s", esp_last_error());
    CHECK(esp_last_error()[0] != '\0', "a refusal without words");
  } else {
    attached++;
    std::unique_ptr<uint64_t[]> leaf_bits(new uint64_t[(source.leaf_count + 63) / 64]);
    for (uint64_t word = 0; word < (source.leaf_count + uint64_t{63}) / 64; word++) leaf_bits[word] = random.next();
    std::unique_ptr<uint64_t[]> root_mask(new uint64_t[(sizes[0] + 63) / 64]);
    std::unique_ptr<uint64_t[]> node_bits(new uint64_t[(source.top_levels[1].node_count + uint64_t{63}) / 64]);
    uint64_t counts[ESP_MAX_LEVELS];
    for (const esp_level level : usable_levels()) {
      CHECK(esp_set_derive(level, trie, leaf_bits.get(), root_mask.get(), node_bits.get()) == ESP_OK, "derive");
      CHECK(esp_set_live_nodes(level, trie, leaf_bits.get(), counts) == ESP_OK, "live nodes");
    }
    hostile_steps(random, trie, leaf_bits.get(), root_mask.get(), node_bits.get());
    esp_trie_release(trie);
  }

  // Shared leaves and excluded items that lie.
  auto shared_leaves = copy(built.shared_leaves, built.shared_count);
  auto shared_start = copy(built.shared_start, built.shared_count + size_t{1});
  if (built.shared_count > 0 && random.chance(0.8)) {
    uint32_t &value = random.chance(0.5) ? shared_leaves[random.below(built.shared_count)] : shared_start[random.below(built.shared_count)];
    value = hostile_value(random, value);
  }
  const esp_leaf_items items = {source.leaf_count, static_cast<uint32_t>(row_count), shared_leaves.get(), shared_start.get(), built.shared_count};
  std::unique_ptr<uint64_t[]> item_bits(new uint64_t[(row_count + 63) / 64]());
  std::unique_ptr<uint64_t[]> leaf_bits(new uint64_t[(source.leaf_count + 63) / 64]());
  std::unique_ptr<uint64_t[]> shared_bits(new uint64_t[(built.shared_start[built.shared_count] + 63) / 64]());
  std::unique_ptr<uint64_t[]> item_starts(new uint64_t[row_count / 64 + 1]());
  if (esp_item_starts(&items, item_starts.get()) == ESP_OK && random.chance(0.5)) {
    item_starts[random.below(row_count / 64 + 1)] ^= uint64_t{1} << random.below(64);
  }
  for (const esp_level level : usable_levels()) {
    esp_set_from_items(level, &items, item_starts.get(), item_bits.get(), leaf_bits.get(), shared_bits.get());
  }
  uint32_t live_count = 0;
  esp_set_settle(&items, shared_bits.get(), leaf_bits.get(), &live_count);
  std::vector<uint32_t> excluded;
  for (uint32_t item = 0; item < row_count; item++) {
    if (random.chance(0.2)) excluded.push_back(random.chance(0.05) ? hostile_value(random, item) : item);
  }
  std::vector<uint32_t> dead(excluded.size());
  size_t dead_count = 0;
  size_t in_set = 0;
  esp_exclusions_prepare(&items, excluded.data(), excluded.size(), leaf_bits.get(), shared_bits.get(), dead.data(), &dead_count, &in_set);

  // Scans whose offsets, codes and postfix lie.
  const uint64_t item_count = random.below(300);
  std::unique_ptr<uint32_t[]> offsets(new uint32_t[item_count + 1]());
  for (uint64_t item = 0; item < item_count; item++) offsets[item + 1] = offsets[item] + static_cast<uint32_t>(random.below(3));
  const uint32_t entry_count = offsets[item_count];
  if (item_count > 0 && random.chance(0.5)) {
    uint32_t &value = offsets[random.below(item_count)];
    value = hostile_value(random, value);
  }
  std::unique_ptr<uint32_t[]> entries(new uint32_t[entry_count]);
  for (uint32_t entry = 0; entry < entry_count; entry++) entries[entry] = static_cast<uint32_t>(random.next() >> random.below(40));
  std::unique_ptr<uint32_t[]> column(new uint32_t[item_count]);
  for (uint64_t item = 0; item < item_count; item++) column[item] = static_cast<uint32_t>(random.next() >> random.below(40));
  std::unique_ptr<uint64_t[]> flags(new uint64_t[4]{random.next(), random.next(), random.next(), random.next()});
  esp_scan_leaf leaves[2] = {};
  leaves[0].kind = ESP_LEAF_ANY_FLAG;
  leaves[0].code_type = ESP_CODES_U32;
  leaves[0].codes = entries.get();
  leaves[0].code_count = entry_count;
  leaves[0].offsets = offsets.get();
  leaves[0].flags = flags.get();
  leaves[0].flag_count = 256;
  leaves[1] = leaves[0];
  leaves[1].kind = ESP_LEAF_FLAGS;
  leaves[1].codes = column.get();
  leaves[1].code_count = item_count;
  std::vector<int32_t> postfix = {0, 1, ESP_SCAN_AND};
  if (random.chance(0.3)) postfix[random.below(3)] = static_cast<int32_t>(random.below(8)) - 4;
  std::unique_ptr<uint64_t[]> out(new uint64_t[(item_count + 63) / 64]);
  for (const esp_level level : usable_levels()) {
    esp_scan(level, 1, leaves, 2, postfix.data(), postfix.size(), item_count, out.get());
  }
  esp_trie_release(honest);
}

}  // namespace

int main(int count, char **values) {
  const uint64_t seed = argument(count, values, "--seed", static_cast<uint64_t>(time(nullptr)));
  const uint64_t seconds = argument(count, values, "--seconds", 5);
  printf("hostile_test: seed %llu (--seed repeats it), %llu seconds\n", static_cast<unsigned long long>(seed),
         static_cast<unsigned long long>(seconds));
  Random random(seed);
  uint64_t cases = 0;
  uint64_t attached = 0;
  uint64_t refused = 0;
  for (const time_t end = time(nullptr) + static_cast<time_t>(seconds); time(nullptr) < end; cases++) one_case(random, attached, refused);
  printf("hostile_test: %llu cases, %llu attached, %llu refused\n", static_cast<unsigned long long>(cases),
         static_cast<unsigned long long>(attached), static_cast<unsigned long long>(refused));
  CHECK(attached > 0 && refused > 0, "both outcomes must occur");
  return finish("hostile_test");
}
