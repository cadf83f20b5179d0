// Builds, sets and scans of every instruction set against brute force.
//   kernels_test [--seed N] [--cases N]
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <thread>

#include "testing.h"

using namespace testing;
using Sid = std::vector<uint32_t>;

namespace {

struct Catalog {
  std::vector<uint32_t> codebook_sizes;
  std::vector<Sid> rows;
  std::vector<uint32_t> codes;
};

Catalog random_catalog(Random &random) {
  Catalog catalog;
  const uint32_t levels = random.pick<uint32_t>({1, 2, 3, 8, 9, 16, 32});
  const uint32_t one_size = random.pick<uint32_t>({2, 50, 770, 2048, 65536, 100000, 262144});
  const bool is_unequal = random.chance(0.4);
  const uint64_t row_count = 1 + random.below(random.pick<uint64_t>({1, 3, 63, 64, 65, 300, 3000}));
  std::vector<uint32_t> used;
  for (uint32_t level = 0; level < levels; level++) {
    catalog.codebook_sizes.push_back(is_unequal ? random.pick<uint32_t>({1, 2, 3, 50, 256, 770, 65536, 100000}) : one_size);
    used.push_back(std::min<uint32_t>(catalog.codebook_sizes[level], random.pick<uint32_t>({1, 2, 3, 1000, 262144})));
  }
  for (uint64_t row = 0; row < row_count; row++) {
    Sid sid;
    for (uint32_t level = 0; level < levels; level++) {
      const uint32_t code = static_cast<uint32_t>(random.below(used[level]));
      sid.push_back(random.chance(0.5) ? code : catalog.codebook_sizes[level] - 1 - code);
    }
    catalog.codes.insert(catalog.codes.end(), sid.begin(), sid.end());
    catalog.rows.push_back(sid);
  }
  return catalog;
}

uint32_t code_at(const esp_trie_arrays &trie, uint64_t leaf, uint32_t level) {
  const uint64_t index = leaf * trie.level_count + level;
  return trie.is_wide ? static_cast<const uint32_t *>(trie.rows)[index] : static_cast<const uint16_t *>(trie.rows)[index];
}

uint32_t top_code(const esp_trie_arrays &trie, uint32_t level, uint32_t node) {
  const void *codes = trie.top_levels[level].codes;
  return trie.is_wide ? static_cast<const uint32_t *>(codes)[node] : static_cast<const uint16_t *>(codes)[node];
}

void check_trie(const Catalog &catalog, const esp_trie *handle) {
  const esp_trie_arrays &trie = *esp_trie_view(handle);
  const esp_build_result &built = *esp_trie_build_result(handle);
  const std::set<Sid> distinct(catalog.rows.begin(), catalog.rows.end());
  CHECK(trie.leaf_count == distinct.size(), "%u leaves, expected %zu", trie.leaf_count, distinct.size());
  if (trie.leaf_count != distinct.size()) return;
  std::map<Sid, uint32_t> rank_of;
  Sid before;
  uint32_t leaf = 0;
  std::vector<uint32_t> nodes(trie.level_count, 0);
  for (const Sid &sid : distinct) {
    rank_of[sid] = leaf;
    uint32_t differs = 0;
    if (leaf > 0) {
      while (sid[differs] == before[differs]) differs++;
    }
    for (uint32_t level = 0; level < trie.level_count; level++) {
      CHECK(code_at(trie, leaf, level) == sid[level], "leaf %u level %u", leaf, level);
      CHECK(bit(trie.new_prefix[level], leaf) == (level >= differs), "prefix bit of leaf %u level %u", leaf, level);
      if (level < differs || level > 1) continue;
      const esp_top_level &top = trie.top_levels[level];
      CHECK(top.leaf_start[nodes[level]] == leaf && top_code(trie, level, nodes[level]) == sid[level],
            "node %u of level %u", nodes[level], level);
      if (level == 0 && trie.level_count > 1) CHECK(top.first_child[nodes[0]] == nodes[1], "first child");
      nodes[level]++;
    }
    before = sid;
    leaf++;
  }
  for (uint32_t level = 0; level < trie.level_count; level++) {
    CHECK(bit(trie.new_prefix[level], trie.leaf_count), "last prefix bit of level %u", level);
  }
  // Rows in the order of their SIDs, then of the input; and the shared leaves.
  std::vector<uint32_t> order(catalog.rows.size());
  for (uint32_t row = 0; row < order.size(); row++) order[row] = row;
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return catalog.rows[a] < catalog.rows[b]; });
  CHECK(std::equal(order.begin(), order.end(), built.sorted_rows), "sorted rows");
  std::map<uint32_t, uint32_t> counts;
  for (const Sid &sid : catalog.rows) counts[rank_of[sid]]++;
  uint32_t shared = 0;
  uint32_t start = 0;
  for (const auto &[rank, count] : counts) {
    if (count == 1) continue;
    const bool is_right = shared < built.shared_count && built.shared_leaves[shared] == rank && built.shared_start[shared] == start;
    CHECK(is_right, "shared leaf %u", rank);
    if (!is_right) return;
    shared++;
    start += count;
  }
  CHECK(shared == built.shared_count && built.shared_start[shared] == start, "shared leaves");
  for (uint32_t index = 0; index < trie.mask_count; index++) {
    const uint64_t words = (trie.codebook_sizes[1] + 63) / 64;
    const uint32_t node = trie.mask_nodes[index];
    uint64_t set = 0;
    for (uint64_t word = 0; word < words; word++) {
      CHECK(trie.mask_ranks[index * words + word] == set, "rank of mask %u word %llu", index, static_cast<unsigned long long>(word));
      set += static_cast<uint64_t>(__builtin_popcountll(trie.mask_bits[index * words + word]));
    }
    const uint32_t first = trie.top_levels[0].first_child[node];
    const uint32_t end = trie.top_levels[0].first_child[node + 1];
    CHECK(set == end - first, "mask %u has %llu children", index, static_cast<unsigned long long>(set));
    for (uint32_t child = first; child < end; child++) {
      CHECK(bit(trie.mask_bits + index * words, top_code(trie, 1, child)), "child %u in its mask", child);
    }
  }
}

esp_leaf_items leaf_items(const esp_trie *handle) {
  const esp_build_result &built = *esp_trie_build_result(handle);
  return {esp_trie_view(handle)->leaf_count, static_cast<uint32_t>(built.row_count), built.shared_leaves, built.shared_start,
          built.shared_count};
}

void check_sets(Random &random, const Catalog &catalog, const esp_trie *handle, esp_level level) {
  const esp_trie_arrays &trie = *esp_trie_view(handle);
  const esp_build_result &built = *esp_trie_build_result(handle);
  const esp_leaf_items items = leaf_items(handle);
  const double probability = random.pick<double>({0, 0.02, 0.3, 0.9, 1});
  auto item_bits = bitmap(items.item_count);
  std::vector<uint32_t> leaf_of(items.item_count);
  std::set<Sid> live;
  uint32_t leaf = 0;
  for (uint32_t item = 0; item < items.item_count; item++) {
    const Sid &sid = catalog.rows[built.sorted_rows[item]];
    if (item > 0 && sid != catalog.rows[built.sorted_rows[item - 1]]) leaf++;
    leaf_of[item] = leaf;
    if (!random.chance(probability)) continue;
    set_bit(item_bits, item);
    live.insert(sid);
  }
  auto leaf_bits = bitmap(items.leaf_count);
  auto shared_bits = bitmap(items.shared_start[items.shared_count]);
  auto starts = bitmap(items.item_count + size_t{1});
  CHECK(esp_item_starts(&items, starts.data()) == ESP_OK, "%s", esp_last_error());
  CHECK(esp_set_from_items(level, &items, starts.data(), item_bits.data(), leaf_bits.data(), shared_bits.data()) == ESP_OK, "%s", esp_last_error());
  for (uint32_t item = 0; item < items.item_count; item++) {
    const Sid &sid = catalog.rows[built.sorted_rows[item]];
    CHECK(bit(leaf_bits.data(), leaf_of[item]) == (live.count(sid) > 0), "leaf of item %u", item);
  }
  uint64_t count = 0;
  CHECK(esp_bits_count(level, leaf_bits.data(), items.leaf_count, &count) == ESP_OK && count == live.size(), "live leaves");

  auto root_mask = bitmap(trie.codebook_sizes[0]);
  auto node_bits = bitmap(trie.top_levels[1].node_count);
  CHECK(esp_set_derive(level, handle, leaf_bits.data(), root_mask.data(), node_bits.data()) == ESP_OK, "derive");
  for (uint32_t code = 0; code < trie.codebook_sizes[0]; code++) {
    const auto first = live.lower_bound(Sid{code});
    CHECK(bit(root_mask.data(), code) == (first != live.end() && (*first)[0] == code), "root child %u", code);
    if (trie.codebook_sizes[0] > 3000 && code > 3000) break;
  }
  for (uint32_t node = 0; node < trie.top_levels[1].node_count; node++) {
    const uint32_t start = trie.top_levels[1].leaf_start[node];
    const Sid prefix = {code_at(trie, start, 0), code_at(trie, start, 1)};
    const auto first = live.lower_bound(prefix);
    const bool is_live = first != live.end() && (*first)[0] == prefix[0] && (*first)[1] == prefix[1];
    CHECK(bit(node_bits.data(), node) == is_live, "node %u", node);
  }
  uint64_t counts[ESP_MAX_LEVELS];
  CHECK(esp_set_live_nodes(level, handle, leaf_bits.data(), counts) == ESP_OK, "live nodes");
  for (uint32_t depth = 0; depth < trie.level_count; depth++) {
    std::set<Sid> prefixes;
    for (const Sid &sid : live) prefixes.insert(Sid(sid.begin(), sid.begin() + depth + 1));
    CHECK(counts[depth] == prefixes.size(), "live nodes of depth %u", depth + 1);
  }

  std::vector<uint32_t> excluded;
  for (uint32_t item = 0; item < items.item_count; item++) {
    if (random.chance(0.4)) excluded.push_back(item);
  }
  std::vector<uint32_t> dead(excluded.size());
  size_t dead_count = 0;
  size_t in_set = 0;
  CHECK(esp_exclusions_prepare(&items, excluded.data(), excluded.size(), leaf_bits.data(), shared_bits.data(), dead.data(),
                               &dead_count, &in_set) == ESP_OK, "%s", esp_last_error());
  std::vector<uint32_t> left(items.leaf_count, 0);
  std::vector<bool> touched(items.leaf_count, false);
  size_t expected_in_set = 0;
  for (uint32_t item = 0; item < items.item_count; item++) {
    if (!bit(item_bits.data(), item)) continue;
    const bool is_excluded = std::binary_search(excluded.begin(), excluded.end(), item);
    expected_in_set += is_excluded;
    touched[leaf_of[item]] = touched[leaf_of[item]] || is_excluded;
    left[leaf_of[item]] += !is_excluded;
  }
  std::vector<uint32_t> expected;
  for (uint32_t at = 0; at < items.leaf_count; at++) {
    if (touched[at] && left[at] == 0) expected.push_back(at);
  }
  CHECK(in_set == expected_in_set, "excluded from the set");
  CHECK(dead_count == expected.size() && std::equal(expected.begin(), expected.end(), dead.begin()), "dead leaves");
}

// A random column, with what its codes are worth kept as doubles.
struct Column {
  esp_code_type type;
  std::vector<uint8_t> bytes;
  std::vector<double> values;
};

Column random_column(Random &random, uint64_t count) {
  Column column;
  column.type = static_cast<esp_code_type>(random.below(4));
  const double bound = random.pick<double>({2, 40, 256, 65536, 4294967296.0});
  const size_t size = column.type == ESP_CODES_F64 ? 8 : size_t{1} << column.type;
  column.bytes.resize(count * size);
  for (uint64_t index = 0; index < count; index++) {
    double value = std::floor(static_cast<double>(random.next() >> 11) * 0x1p-53 * bound);
    if (column.type != ESP_CODES_F64) {
      const uint32_t code = static_cast<uint32_t>(static_cast<uint64_t>(value) & ((uint64_t{1} << (8 * size)) - 1));
      memcpy(&column.bytes[index * size], &code, size);
      value = code;
    } else {
      if (random.chance(0.1)) value = random.pick<double>({NAN, INFINITY, -INFINITY, -0.0, 0.5});
      memcpy(&column.bytes[index * size], &value, size);
    }
    column.values.push_back(value);
  }
  return column;
}

void check_scan(Random &random, esp_level level) {
  const uint64_t count = random.pick<uint64_t>({0, 1, 63, 64, 65, 200, 4096, 4097, 9000});
  std::vector<Column> columns;
  std::vector<std::vector<uint64_t>> bitmaps;
  std::vector<std::vector<uint32_t>> offsets;
  std::vector<esp_scan_leaf> leaves;
  std::vector<std::vector<bool>> expected;
  const size_t leaf_count = 1 + random.below(5);
  columns.reserve(leaf_count);
  bitmaps.reserve(leaf_count * 2);
  offsets.reserve(leaf_count);
  for (size_t index = 0; index < leaf_count; index++) {
    esp_scan_leaf leaf = {};
    leaf.kind = static_cast<esp_leaf_kind>(random.below(4));
    leaf.negate = random.chance(0.5);
    std::vector<bool> passes(count);
    if (leaf.kind == ESP_LEAF_BITS) {
      bitmaps.push_back(bitmap(count));
      for (uint64_t item = 0; item < count; item++) {
        passes[item] = random.chance(0.5);
        if (passes[item]) set_bit(bitmaps.back(), item);
      }
      leaf.bits = bitmaps.back().data();
    } else {
      offsets.push_back({0});
      for (uint64_t item = 0; item < count; item++) offsets.back().push_back(offsets.back().back() + static_cast<uint32_t>(random.below(4)));
      const uint64_t code_count = leaf.kind == ESP_LEAF_ANY_FLAG ? offsets.back().back() : count;
      columns.push_back(random_column(random, code_count));
      while (leaf.kind != ESP_LEAF_RANGE && columns.back().type == ESP_CODES_F64) columns.back() = random_column(random, code_count);
      const Column &column = columns.back();
      leaf.code_type = column.type;
      leaf.codes = column.bytes.data();
      leaf.code_count = code_count;
      leaf.offsets = offsets.back().data();
      leaf.low = random.pick<double>({-1, 0, 0.5, 3, 200, 60000, 1e9, NAN, -INFINITY});
      leaf.high = random.pick<double>({-1, 0, 3, 7.5, 250, 65535, 4e9, 1e20, INFINITY});
      leaf.flag_count = random.pick<uint64_t>({0, 64, 256, 1024, 65536});
      bitmaps.push_back(bitmap(leaf.flag_count));
      for (uint64_t flag = 0; flag < leaf.flag_count; flag++) {
        if (random.chance(0.3)) set_bit(bitmaps.back(), flag);
      }
      leaf.flags = bitmaps.back().data();
      const auto is_flagged = [&](double value) { return value < static_cast<double>(leaf.flag_count) && bit(leaf.flags, static_cast<uint64_t>(value)); };
      for (uint64_t item = 0; item < count; item++) {
        if (leaf.kind == ESP_LEAF_RANGE) passes[item] = column.values[item] >= leaf.low && column.values[item] <= leaf.high;
        if (leaf.kind == ESP_LEAF_FLAGS) passes[item] = is_flagged(column.values[item]);
        if (leaf.kind == ESP_LEAF_ANY_FLAG) {
          for (uint32_t at = leaf.offsets[item]; at < leaf.offsets[item + 1]; at++) passes[item] = passes[item] || is_flagged(column.values[at]);
        }
      }
    }
    std::vector<bool> present(count, true);
    if (random.chance(0.5)) {
      bitmaps.push_back(bitmap(count));
      for (uint64_t item = 0; item < count; item++) {
        present[item] = random.chance(0.7);
        if (present[item]) set_bit(bitmaps.back(), item);
      }
      leaf.present = bitmaps.back().data();
    }
    for (uint64_t item = 0; item < count; item++) passes[item] = present[item] && passes[item] != (leaf.negate != 0);
    leaves.push_back(leaf);
    expected.push_back(passes);
  }
  std::vector<int32_t> postfix;
  std::vector<std::vector<bool>> stack;
  while (postfix.size() < 20 || stack.size() > 1) {
    if (stack.size() < 2 || (postfix.size() < 20 && random.chance(0.5))) {
      postfix.push_back(static_cast<int32_t>(random.below(leaf_count)));
      stack.push_back(expected[static_cast<size_t>(postfix.back())]);
      continue;
    }
    const bool is_and = random.chance(0.5);
    postfix.push_back(is_and ? ESP_SCAN_AND : ESP_SCAN_OR);
    const std::vector<bool> top = stack.back();
    stack.pop_back();
    for (uint64_t item = 0; item < count; item++) {
      stack.back()[item] = is_and ? stack.back()[item] && top[item] : stack.back()[item] || top[item];
    }
  }
  auto out = bitmap(count);
  const uint32_t threads = static_cast<uint32_t>(1 + random.below(3));
  CHECK(esp_scan(level, threads, leaves.data(), leaves.size(), postfix.data(), postfix.size(), count, out.data()) == ESP_OK,
        "%s", esp_last_error());
  for (uint64_t item = 0; item < out.size() * 64; item++) {
    CHECK(bit(out.data(), item) == (item < count && stack[0][item]), "item %llu of %llu, %s",
          static_cast<unsigned long long>(item), static_cast<unsigned long long>(count), esp_level_name(level));
  }
}

esp_trie *build(const Catalog &catalog, esp_level level, uint32_t threads, esp_progress progress = nullptr, void *user = nullptr) {
  const esp_rows rows = {catalog.codes.data(), ESP_U32, catalog.rows.size(), static_cast<uint32_t>(catalog.codebook_sizes.size()),
                         catalog.codebook_sizes.data()};
  const esp_build_options options = {threads, level, 1u << 20, progress, user};
  esp_trie *trie = nullptr;
  const esp_status status = esp_trie_build(&rows, &options, &trie);
  CHECK(status == ESP_OK || progress != nullptr, "%s", esp_last_error());
  return status == ESP_OK ? trie : nullptr;
}

// Buckets, threads and progress need more rows than fit the cache.
void check_large(Random &random) {
  Catalog catalog;
  catalog.codebook_sizes = {2048, 2048, 2048, 2048};
  for (uint32_t row = 0; row < 150000; row++) {
    Sid sid;
    for (uint32_t level = 0; level < 4; level++) {
      sid.push_back(static_cast<uint32_t>(random.chance(0.3) ? 7 : random.below(level < 2 ? 300 : 5)));
    }
    catalog.codes.insert(catalog.codes.end(), sid.begin(), sid.end());
    catalog.rows.push_back(sid);
  }
  for (const esp_level level : usable_levels()) {
    for (const uint32_t threads : {1u, 2u, 5u}) {
      esp_trie *trie = build(catalog, level, threads);
      check_trie(catalog, trie);
      esp_trie_release(trie);
    }
  }
  // Runs of one SID that cross the borders of threads and of the pieces in which a thread writes.
  Catalog repeated;
  repeated.codebook_sizes = {5, 4};
  for (uint32_t row = 0; row < 600000; row++) {
    repeated.rows.push_back({static_cast<uint32_t>(random.below(5)), static_cast<uint32_t>(random.below(4))});
    repeated.codes.insert(repeated.codes.end(), repeated.rows.back().begin(), repeated.rows.back().end());
  }
  for (const uint32_t threads : {1u, 2u, 5u}) {
    esp_trie *trie = build(repeated, esp_level_best(), threads);
    check_trie(repeated, trie);
    esp_trie_release(trie);
  }

  const auto cancel = [](void *, esp_phase phase, double) { return phase == ESP_PHASE_SORT ? 1 : 0; };
  CHECK(build(catalog, ESP_LEVEL_SCALAR, 3, cancel) == nullptr, "a cancelled build");

  // Several threads derive from one trie at once.
  esp_trie *trie = build(catalog, esp_level_best(), 2);
  std::vector<std::thread> threads;
  const uint64_t seed = random.next();
  for (uint64_t thread = 0; thread < 4; thread++) {
    esp_trie_retain(trie);
    threads.emplace_back([trie, seed, thread] {
      Random own(seed + thread);
      const esp_trie_arrays &arrays = *esp_trie_view(trie);
      for (int round = 0; round < 20; round++) {
        auto leaf_bits = bitmap(arrays.leaf_count);
        for (uint32_t leaf = 0; leaf < arrays.leaf_count; leaf++) {
          if (own.chance(0.1)) set_bit(leaf_bits, leaf);
        }
        auto root_mask = bitmap(arrays.codebook_sizes[0]);
        auto node_bits = bitmap(arrays.top_levels[1].node_count);
        if (esp_set_derive(esp_level_best(), trie, leaf_bits.data(), root_mask.data(), node_bits.data()) != ESP_OK) abort();
      }
      esp_trie_release(trie);
    });
  }
  esp_trie_release(trie);
  for (std::thread &thread : threads) thread.join();
}

}  // namespace

int main(int count, char **values) {
  const uint64_t seed = argument(count, values, "--seed", static_cast<uint64_t>(time(nullptr)));
  const uint64_t cases = argument(count, values, "--cases", 150);
  printf("kernels_test: seed %llu (--seed repeats it), %llu cases\n", static_cast<unsigned long long>(seed),
         static_cast<unsigned long long>(cases));
  Random random(seed);
  for (uint64_t at = 0; at < cases; at++) {
    const Catalog catalog = random_catalog(random);
    for (const esp_level level : usable_levels()) {
      esp_trie *trie = build(catalog, level, static_cast<uint32_t>(1 + random.below(3)));
      if (trie == nullptr) continue;
      check_trie(catalog, trie);
      check_sets(random, catalog, trie, level);
      esp_trie_release(trie);
      for (int scan = 0; scan < 8; scan++) check_scan(random, level);
    }
  }
  check_large(random);
  return finish("kernels_test");
}
