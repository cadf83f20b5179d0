// What one request may reach, prepared as for the CPU and copied to the device in one piece.
#include <cstring>

#include "handles.h"

namespace espalier::cuda {

namespace {

// Host memory that is laid out as the piece on the device will be.
class Image {
 public:
  template <class T>
  uint64_t add(const T *array, uint64_t count) {
    const uint64_t offset = layout_.add_array<T>(count);
    bytes_.resize(layout_.size());
    if (count > 0) memcpy(bytes_.data() + offset, array, count * sizeof(T));
    return offset;
  }
  char *at(uint64_t offset) { return bytes_.data() + offset; }
  uint64_t size() const { return bytes_.size(); }

 private:
  Layout layout_;
  std::vector<char> bytes_;
};

std::shared_ptr<const DeviceConstraint> create(const std::shared_ptr<const DeviceTrie> &trie,
                                               const std::shared_ptr<const DeviceSet> &set, const uint32_t *dead_leaves,
                                               size_t dead_count) {
  if (set != nullptr && set->trie != trie) fail(ESP_STATUS_SHAPE, "the set is of another trie");
  check_array("deadLeaves", dead_leaves, 4, dead_count);
  ReachTables tables;
  // Where the node bits lie means nothing to what is prepared: the device's take their place below.
  tables.prepare(trie->host, trie->host_roots, set == nullptr ? nullptr : set->host_leaf_bits,
                 set == nullptr ? nullptr : set->host_root_mask.data(), nullptr, dead_leaves, dead_count);
  Reach reach = tables.reach();
  Image image;
  const uint64_t reach_at = image.add(&reach, 1);
  const uint64_t mask_at = image.add(tables.root_mask().data(), tables.root_mask().size());
  const uint64_t leaves_at = image.add(tables.dead_leaves().data(), tables.dead_leaves().size());
  const uint64_t nodes_at = image.add(tables.dead_nodes().data(), tables.dead_nodes().size());
  const uint64_t filter_at = image.add(tables.filter().data(), tables.filter().size());

  Context &context = *trie->context;
  auto constraint = std::make_shared<DeviceConstraint>();
  constraint->trie = trie;
  constraint->set = set;
  constraint->memory = Piece::on_device(context, Purpose::kExclusions, image.size(), "a request's constraint");
  const Piece &memory = constraint->memory;
  reach.trie = trie->arrays;
  reach.roots = trie->roots;
  reach.leaf_bits = set == nullptr ? nullptr : set->leaf_bits;
  reach.node_bits = set == nullptr ? nullptr : set->node_bits;
  reach.root_mask = memory.at<uint64_t>(mask_at);
  reach.dead_leaves = memory.at<uint32_t>(leaves_at);
  reach.dead_nodes = memory.at<uint32_t>(nodes_at);
  reach.filter = tables.filter().empty() ? nullptr : memory.at<uint64_t>(filter_at);
  memcpy(image.at(reach_at), &reach, sizeof reach);
  context.small().upload(memory.at(), {{0, image.at(0), image.size()}});
  constraint->reach = memory.at<Reach>(reach_at);
  return constraint;
}

}  // namespace
}  // namespace espalier::cuda

esp_status esp_cuda_constraint_create(esp_cuda_trie *trie, esp_cuda_set *set, const uint32_t *dead_leaves,
                                      size_t dead_count, esp_cuda_constraint **out) {
  using namespace espalier::cuda;
  return espalier::guarded([&] {
    const std::shared_ptr<const DeviceTrie> on_device = required(trie, "trie").on_device;
    required(out, "out") = nullptr;
    on_device->context->check_usable();
    const DeviceScope scope(on_device->context->device());
    *out = new esp_cuda_constraint{create(on_device, set == nullptr ? nullptr : set->on_device, dead_leaves, dead_count)};
  });
}

void esp_cuda_constraint_release(esp_cuda_constraint *constraint) { delete constraint; }
