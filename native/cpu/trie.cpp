#include "trie.h"

#include <algorithm>
#include <cstring>

namespace espalier {

namespace {

// A mask of 64 codes pays once it saves looking at one child.
constexpr uint64_t kCodesPerChild = 64;

void check_ascending(const char *name, const uint32_t *values, uint64_t count, uint64_t last) {
  bool is_ascending = values[0] == 0 && values[count] == last;
  for (uint64_t index = 0; index < count && is_ascending; index++) is_ascending = values[index] < values[index + 1];
  if (!is_ascending) {
    fail(ESP_STATUS_SHAPE, "%s must ascend from 0 to %llu", name, static_cast<unsigned long long>(last));
  }
}

// Copies arrays into the trie, but for those that lie within memory that it can share.
class Adopter {
 public:
  Adopter(esp_trie &trie, esp_memory *const *memories, size_t count) : trie_(trie), memories_(memories), count_(count) {}

  template <class T>
  const T *adopt(const T *array, uint64_t length) {
    return static_cast<const T *>(adopt_bytes(array, length * sizeof(T)));
  }

  const void *adopt_bytes(const void *array, uint64_t bytes) {
    if (array == nullptr) fail(ESP_STATUS_SHAPE, "an array of the trie is missing");
    const char *begin = static_cast<const char *>(array);
    for (size_t index = 0; index < count_; index++) {
      const char *data = static_cast<const char *>(esp_memory_data(memories_[index]));
      if (begin < data || begin + bytes > data + esp_memory_size(memories_[index])) continue;
      esp_memory_retain(memories_[index]);
      trie_.memories.push_back(Memory(memories_[index]));
      return array;
    }
    trie_.memories.push_back(Memory::allocate(bytes));
    if (bytes > 0) memcpy(trie_.memories.back().as<char>(), array, bytes);
    return trie_.memories.back().as<char>();
  }

 private:
  esp_trie &trie_;
  esp_memory *const *memories_;
  size_t count_;
};

void attach(esp_trie &trie, const esp_trie_arrays &arrays, Adopter adopter) {
  check_codebooks(arrays.level_count, arrays.codebook_sizes);
  if (arrays.leaf_count == 0 || arrays.leaf_count > ESP_MAX_ROWS) {
    fail(ESP_STATUS_SHAPE, "leaves must be 1 to %u, found %u", ESP_MAX_ROWS, arrays.leaf_count);
  }
  trie.arrays = arrays;
  trie.arrays.is_wide = is_wide(arrays.level_count, arrays.codebook_sizes);
  const uint64_t code_bytes = trie.arrays.is_wide ? 4 : 2;
  trie.arrays.rows =
      adopter.adopt_bytes(arrays.rows, uint64_t{arrays.leaf_count} * arrays.level_count * code_bytes);
  for (uint32_t level = 0; level < arrays.level_count; level++) {
    trie.arrays.new_prefix[level] = adopter.adopt(arrays.new_prefix[level], words_for(uint64_t{arrays.leaf_count} + 1));
  }
  for (uint32_t level = 0; level < std::min(arrays.level_count, 2u); level++) {
    const esp_top_level &from = arrays.top_levels[level];
    esp_top_level &to = trie.arrays.top_levels[level];
    to.codes = adopter.adopt_bytes(from.codes, from.node_count * code_bytes);
    to.leaf_start = adopter.adopt(from.leaf_start, uint64_t{from.node_count} + 1);
    to.first_child = level + 1 < arrays.level_count && level == 0
                         ? adopter.adopt(from.first_child, uint64_t{from.node_count} + 1)
                         : nullptr;
  }
  if (arrays.mask_count > 0) {
    if (arrays.level_count < 2) fail(ESP_STATUS_SHAPE, "a trie of one level has no child masks");
    const uint64_t words = words_for(arrays.codebook_sizes[1]) * arrays.mask_count;
    trie.arrays.mask_nodes = adopter.adopt(arrays.mask_nodes, arrays.mask_count);
    trie.arrays.mask_bits = adopter.adopt(arrays.mask_bits, words);
    trie.arrays.mask_ranks = adopter.adopt(arrays.mask_ranks, words);
  }
  check_structure(trie.arrays);
  trie.roots = make_root_tables(trie.arrays);
}

}  // namespace

void check_structure(const esp_trie_arrays &arrays) {
  if (arrays.leaf_count == 0 || arrays.leaf_count > ESP_MAX_ROWS) {
    fail(ESP_STATUS_SHAPE, "leaves must be 1 to %u, found %u", ESP_MAX_ROWS, arrays.leaf_count);
  }
  const uint32_t explicit_levels = std::min(arrays.level_count, 2u);
  for (uint32_t level = 0; level < explicit_levels; level++) {
    const esp_top_level &top = arrays.top_levels[level];
    if (top.node_count == 0 || top.node_count > arrays.leaf_count) {
      fail(ESP_STATUS_SHAPE, "level %u must have 1 to %u nodes, found %u", level, arrays.leaf_count, top.node_count);
    }
    check_ascending(level == 0 ? "leafStart of level 0" : "leafStart of level 1", top.leaf_start, top.node_count,
                    arrays.leaf_count);
    for (uint32_t node = 0; node < top.node_count; node++) {
      const uint32_t code = code_at(top.codes, arrays.is_wide, node);
      if (code >= arrays.codebook_sizes[level]) {
        fail(ESP_STATUS_SHAPE, "node %u of level %u: code %u must be < codebook size %u", node, level, code,
             arrays.codebook_sizes[level]);
      }
    }
  }
  if (arrays.level_count > 1) {
    const esp_top_level &roots = arrays.top_levels[0];
    const esp_top_level &nodes = arrays.top_levels[1];
    check_ascending("firstChild", roots.first_child, roots.node_count, nodes.node_count);
    for (uint32_t node = 0; node < roots.node_count; node++) {
      if (nodes.leaf_start[roots.first_child[node]] != roots.leaf_start[node]) {
        fail(ESP_STATUS_SHAPE, "node %u of level 0 and its first child must begin at the same leaf", node);
      }
    }
  }
  // Every node of level 1 begins where its bit is set: what is derived has a bit for each, and no more.
  for (uint32_t level = 0; level < arrays.level_count; level++) {
    const uint64_t *bits = arrays.new_prefix[level];
    if ((bits[arrays.leaf_count / 64] >> (arrays.leaf_count % 64) & 1) == 0) {
      fail(ESP_STATUS_SHAPE, "newPrefix of level %u must end with a set bit", level);
    }
    if ((bits[0] & 1) == 0) fail(ESP_STATUS_SHAPE, "newPrefix of level %u must begin with a set bit", level);
  }
  for (uint32_t level = 0; level < explicit_levels; level++) {
    uint64_t count = 0;
    for (uint64_t word = 0; word < words_for(uint64_t{arrays.leaf_count} + 1); word++) {
      count += static_cast<uint64_t>(__builtin_popcountll(arrays.new_prefix[level][word]));
    }
    if (count != uint64_t{arrays.top_levels[level].node_count} + 1) {
      fail(ESP_STATUS_SHAPE, "newPrefix of level %u must have %u bits set, found %llu", level,
           arrays.top_levels[level].node_count + 1, static_cast<unsigned long long>(count));
    }
  }
  for (uint32_t index = 0; index < arrays.mask_count; index++) {
    const uint32_t node = arrays.mask_nodes[index];
    if (node >= arrays.top_levels[0].node_count || (index > 0 && node <= arrays.mask_nodes[index - 1])) {
      fail(ESP_STATUS_SHAPE, "maskNodes must ascend and be < %u", arrays.top_levels[0].node_count);
    }
  }
}

RootTables make_root_tables(const esp_trie_arrays &arrays) {
  RootTables roots;
  const uint64_t words = words_for(arrays.codebook_sizes[0]);
  roots.mask.assign(words, 0);
  for (uint32_t node = 0; node < arrays.top_levels[0].node_count; node++) {
    const uint32_t code = code_at(arrays.top_levels[0].codes, arrays.is_wide, node);
    roots.mask[code / 64] |= uint64_t{1} << (code % 64);
  }
  roots.ranks.resize(words);
  uint32_t before = 0;
  for (uint64_t word = 0; word < words; word++) {
    roots.ranks[word] = before;
    before += static_cast<uint32_t>(__builtin_popcountll(roots.mask[word]));
  }
  roots.mask_of_node.assign(arrays.top_levels[0].node_count, kNoMask);
  for (uint32_t index = 0; index < arrays.mask_count; index++) roots.mask_of_node[arrays.mask_nodes[index]] = index;
  return roots;
}

void check_codebooks(uint32_t level_count, const uint32_t *codebook_sizes) {
  if (level_count < 1 || level_count > ESP_MAX_LEVELS) {
    fail(ESP_STATUS_SHAPE, "levels must be 1 to %d, found %u", ESP_MAX_LEVELS, level_count);
  }
  for (uint32_t level = 0; level < level_count; level++) {
    if (codebook_sizes[level] < 1 || codebook_sizes[level] > ESP_MAX_CODEBOOK_SIZE) {
      fail(ESP_STATUS_SHAPE, "codebook sizes must be 1 to %u, found %u", ESP_MAX_CODEBOOK_SIZE, codebook_sizes[level]);
    }
  }
}

bool is_wide(uint32_t level_count, const uint32_t *codebook_sizes) {
  return std::any_of(codebook_sizes, codebook_sizes + level_count, [](uint32_t size) { return size > 65536; });
}

void add_child_masks(esp_trie &trie, uint64_t budget_bytes) {
  esp_trie_arrays &arrays = trie.arrays;
  if (arrays.level_count < 2) return;
  const uint32_t *first_child = arrays.top_levels[0].first_child;
  const auto fan_out = [&](uint32_t node) { return first_child[node + 1] - first_child[node]; };
  const uint64_t words = words_for(arrays.codebook_sizes[1]);
  const uint64_t bytes_each = words * (sizeof(uint64_t) + sizeof(uint32_t)) + sizeof(uint32_t);
  std::vector<uint32_t> nodes;
  for (uint32_t node = 0; node < arrays.top_levels[0].node_count; node++) {
    if (fan_out(node) * kCodesPerChild >= arrays.codebook_sizes[1]) nodes.push_back(node);
  }
  if (nodes.size() * bytes_each > budget_bytes) {
    std::stable_sort(nodes.begin(), nodes.end(), [&](uint32_t a, uint32_t b) { return fan_out(a) > fan_out(b); });
    nodes.resize(budget_bytes / bytes_each);
    std::sort(nodes.begin(), nodes.end());
  }
  if (nodes.empty()) return;
  arrays.mask_count = static_cast<uint32_t>(nodes.size());
  uint32_t *mask_nodes = trie.allocate<uint32_t>(nodes.size());
  uint64_t *bits = trie.allocate<uint64_t>(nodes.size() * words);
  uint32_t *ranks = trie.allocate<uint32_t>(nodes.size() * words);
  for (size_t index = 0; index < nodes.size(); index++) {
    mask_nodes[index] = nodes[index];
    uint64_t *mask = bits + index * words;
    for (uint32_t child = first_child[nodes[index]]; child < first_child[nodes[index] + 1]; child++) {
      const uint32_t code = code_at(arrays.top_levels[1].codes, arrays.is_wide, child);
      mask[code / 64] |= uint64_t{1} << (code % 64);
    }
    uint32_t before = 0;
    for (uint64_t word = 0; word < words; word++) {
      ranks[index * words + word] = before;
      before += static_cast<uint32_t>(__builtin_popcountll(mask[word]));
    }
  }
  arrays.mask_nodes = mask_nodes;
  arrays.mask_bits = bits;
  arrays.mask_ranks = ranks;
}

}  // namespace espalier

esp_status esp_trie_attach(const esp_trie_arrays *arrays, esp_memory *const *memories, size_t memory_count,
                           esp_trie **out) {
  return espalier::guarded([&] {
    espalier::TriePointer trie(new esp_trie());
    espalier::attach(*trie, *arrays, espalier::Adopter(*trie, memories, memory_count));
    *out = trie.release();
  });
}

const esp_trie_arrays *esp_trie_view(const esp_trie *trie) { return &trie->arrays; }

const esp_build_result *esp_trie_build_result(const esp_trie *trie) { return &trie->built; }

esp_memory *esp_trie_memory_of(const esp_trie *trie, const void *array) {
  for (const espalier::Memory &memory : trie->memories) {
    if (memory.as<char>() == array) return memory.get();
  }
  return nullptr;
}

size_t esp_trie_byte_size(const esp_trie *trie) {
  size_t bytes = 0;
  for (const espalier::Memory &memory : trie->memories) bytes += memory.size();
  return bytes;
}

void esp_trie_retain(esp_trie *trie) { trie->references.fetch_add(1, std::memory_order_relaxed); }

void esp_trie_release(esp_trie *trie) {
  if (trie != nullptr && trie->references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete trie;
}
