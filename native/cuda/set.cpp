// Constraint sets on the device.
#include "handles.h"

namespace espalier::cuda {

namespace {

std::shared_ptr<const DeviceSet> upload(const std::shared_ptr<const DeviceTrie> &trie, const uint64_t *leaf_bits,
                                        const uint64_t *root_mask, const uint64_t *node_bits) {
  const esp_trie_arrays &arrays = trie->host;
  const bool has_nodes = arrays.level_count > 1;
  check_array("leafBits", leaf_bits, 8, 1);
  check_array("rootMask", root_mask, 8, 1);
  check_array("nodeBits", node_bits, 8, has_nodes ? 1 : 0);
  auto set = std::make_shared<DeviceSet>();
  set->trie = trie;
  set->host_leaf_bits = leaf_bits;
  set->host_root_mask.assign(root_mask, root_mask + words_for(arrays.codebook_sizes[0]));

  Layout layout;
  const uint64_t leaf_words = words_for(arrays.leaf_count);
  const uint64_t node_words = has_nodes ? words_for(arrays.top_levels[1].node_count) : 0;
  const uint64_t leaves_at = layout.add_array<uint64_t>(leaf_words);
  const uint64_t nodes_at = layout.add_array<uint64_t>(node_words);
  Context &context = *trie->context;
  context.check_room(layout.size(), "the set");
  set->memory = Piece::on_device(context, Purpose::kSet, layout.size(), "the set");
  context.small().upload(set->memory.at(), {{leaves_at, leaf_bits, leaf_words * 8}, {nodes_at, node_bits, node_words * 8}});
  set->leaf_bits = set->memory.at<uint64_t>(leaves_at);
  set->node_bits = has_nodes ? set->memory.at<uint64_t>(nodes_at) : nullptr;
  return set;
}

}  // namespace
}  // namespace espalier::cuda

esp_status esp_cuda_set_upload(esp_cuda_trie *trie, const uint64_t *leaf_bits, const uint64_t *root_mask,
                               const uint64_t *node_bits, esp_cuda_set **out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    const std::shared_ptr<const DeviceTrie> on_device = required(trie, "trie").on_device;
    required(out, "out") = nullptr;
    on_device->context->check_usable();
    const DeviceScope scope(on_device->context->device());
    *out = new esp_cuda_set{upload(on_device, leaf_bits, root_mask, node_bits)};
  });
}

uint64_t esp_cuda_set_bytes(const esp_cuda_set *set) { return set == nullptr ? 0 : set->on_device->memory.size(); }
void esp_cuda_set_release(esp_cuda_set *set) { delete set; }
