// Static tries on the device: one piece of memory with all arrays, and structures that point into it.
#include <algorithm>

#include "handles.h"

namespace espalier::cuda {

namespace {

// What esp_trie_attach checks, of arrays that somebody else attached or didn't; and alignments.
void check_arrays(const esp_trie_arrays &arrays) {
  check_codebooks(arrays.level_count, arrays.codebook_sizes);
  const bool wide = is_wide(arrays.level_count, arrays.codebook_sizes);
  if ((arrays.is_wide != 0) != wide) {
    fail(ESP_STATUS_SHAPE, "codes must be of %d bytes for these codebooks, found %d", wide ? 4 : 2, arrays.is_wide ? 4 : 2);
  }
  const size_t code_bytes = wide ? 4 : 2;
  check_array("rows", arrays.rows, code_bytes, arrays.leaf_count);
  for (uint32_t level = 0; level < arrays.level_count; level++) check_array("newPrefix", arrays.new_prefix[level], 8, 1);
  for (uint32_t level = 0; level < std::min(arrays.level_count, 2u); level++) {
    check_array("codes of a top level", arrays.top_levels[level].codes, code_bytes, 1);
    check_array("leafStart", arrays.top_levels[level].leaf_start, 4, 1);
  }
  if (arrays.level_count > 1) check_array("firstChild", arrays.top_levels[0].first_child, 4, 1);
  if (arrays.mask_count > 0 && arrays.level_count < 2) fail(ESP_STATUS_SHAPE, "a trie of one level has no child masks");
  check_array("maskNodes", arrays.mask_nodes, 4, arrays.mask_count);
  check_array("maskBits", arrays.mask_bits, 8, arrays.mask_count);
  check_array("maskRanks", arrays.mask_ranks, 4, arrays.mask_count);
  check_structure(arrays);
}

// Plans the trie's memory: parts to be copied, and pointers that will be set to where they lie.
class Plan {
 public:
  template <class T>
  void add(const T *array, uint64_t count, const T **pointer) {
    add_bytes(array, count * sizeof(T), reinterpret_cast<const void **>(pointer));
  }
  void add_bytes(const void *array, uint64_t bytes, const void **pointer) {
    parts_.push_back({layout_.add(bytes), array, bytes});
    pointers_.push_back(pointer);
  }
  void place(const char *base) {
    for (size_t index = 0; index < parts_.size(); index++) *pointers_[index] = base + parts_[index].offset;
  }
  const std::vector<UploadPart> &parts() const { return parts_; }
  uint64_t bytes() const { return layout_.size(); }

 private:
  Layout layout_;
  std::vector<UploadPart> parts_;
  std::vector<const void **> pointers_;
};

// @param arrays what `plan` will point to; its pointers become the device's once they are placed
void plan_arrays(Plan &plan, esp_trie_arrays &arrays) {
  const uint64_t code_bytes = arrays.is_wide ? 4 : 2;
  plan.add_bytes(arrays.rows, uint64_t{arrays.leaf_count} * arrays.level_count * code_bytes, &arrays.rows);
  for (uint32_t level = 0; level < arrays.level_count; level++) {
    plan.add(arrays.new_prefix[level], words_for(uint64_t{arrays.leaf_count} + 1), &arrays.new_prefix[level]);
  }
  for (uint32_t level = 0; level < std::min(arrays.level_count, 2u); level++) {
    esp_top_level &top = arrays.top_levels[level];
    plan.add_bytes(top.codes, top.node_count * code_bytes, &top.codes);
    plan.add(top.leaf_start, uint64_t{top.node_count} + 1, &top.leaf_start);
    if (level == 0 && arrays.level_count > 1) plan.add(top.first_child, uint64_t{top.node_count} + 1, &top.first_child);
    else top.first_child = nullptr;
  }
  if (arrays.mask_count == 0) {
    arrays.mask_nodes = nullptr;
    arrays.mask_bits = nullptr;
    arrays.mask_ranks = nullptr;
    return;
  }
  const uint64_t words = words_for(arrays.codebook_sizes[1]) * arrays.mask_count;
  plan.add(arrays.mask_nodes, arrays.mask_count, &arrays.mask_nodes);
  plan.add(arrays.mask_bits, words, &arrays.mask_bits);
  plan.add(arrays.mask_ranks, words, &arrays.mask_ranks);
}

std::shared_ptr<const DeviceTrie> upload(const ContextPointer &context, const esp_trie_arrays &arrays) {
  check_arrays(arrays);
  auto trie = std::make_shared<DeviceTrie>();
  trie->context = context;
  trie->host = arrays;
  trie->host.rows = nullptr;
  for (const uint64_t *&bits : trie->host.new_prefix) bits = nullptr;
  trie->host_roots = make_root_tables(arrays);

  esp_trie_arrays placed = arrays;
  Plan plan;
  plan.add(&placed, 1, &trie->arrays);
  plan_arrays(plan, placed);
  plan.add(trie->host_roots.mask.data(), trie->host_roots.mask.size(), &trie->roots.mask);
  plan.add(trie->host_roots.ranks.data(), trie->host_roots.ranks.size(), &trie->roots.ranks);
  plan.add(trie->host_roots.mask_of_node.data(), trie->host_roots.mask_of_node.size(), &trie->roots.mask_of_node);

  context->check_room(plan.bytes(), "the trie");
  trie->memory = Piece::on_device(*context, Purpose::kTrie, plan.bytes(), "the trie");
  plan.place(trie->memory.at());
  context->bulk().upload(trie->memory.at(), plan.parts());
  return trie;
}

}  // namespace
}  // namespace espalier::cuda

esp_status esp_cuda_trie_upload(esp_cuda_context *context, const esp_trie_arrays *arrays, esp_cuda_trie **out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    const ContextPointer &state = required(context, "context").state;
    required(arrays, "arrays");
    required(out, "out") = nullptr;
    state->check_usable();
    const DeviceScope scope(state->device());
    *out = new esp_cuda_trie{upload(state, *arrays)};
  });
}

uint64_t esp_cuda_trie_bytes(const esp_cuda_trie *trie) { return trie == nullptr ? 0 : trie->on_device->memory.size(); }
void esp_cuda_trie_release(esp_cuda_trie *trie) { delete trie; }
