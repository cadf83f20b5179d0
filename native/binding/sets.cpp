// Constraint sets: bitmaps in, bitmaps out.
#include "js.h"

namespace binding {

namespace {

// combineBits(level, operation, a, b, out)
napi_value combine_bits(const Arguments &arguments) {
  napi_env env = arguments.env();
  const uint64_t operation = to_count(env, arguments[1], "operation", ESP_AND_NOT);
  const uint64_t bit_count = uint64_t{elements(env, arguments[2], "a").length} * 32;
  const uint64_t *a = bits(env, arguments[2], "a", bit_count);
  const uint64_t *b = bits(env, arguments[3], "b", bit_count);
  uint64_t *out = bits(env, arguments[4], "out", bit_count);
  check(esp_bits_combine(to_level(env, arguments[0]), static_cast<esp_bit_operation>(operation), a, b, out, bit_count / 64));
  return nullptr;
}

// countBits(level, bits, bitCount)
napi_value count_bits(const Arguments &arguments) {
  napi_env env = arguments.env();
  const uint64_t bit_count = to_count(env, arguments[2], "bitCount", uint64_t{1} << 40);
  uint64_t count = 0;
  check(esp_bits_count(to_level(env, arguments[0]), bits(env, arguments[1], "bits", bit_count), bit_count, &count));
  return number(env, static_cast<double>(count));
}

// deriveSet(level, trie, leafBits, rootMask, nodeBits)
napi_value derive_set(const Arguments &arguments) {
  napi_env env = arguments.env();
  const esp_trie *trie = trie_of(env, arguments[1]);
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  const uint64_t *leaf_bits = bits(env, arguments[2], "leafBits", arrays.leaf_count);
  uint64_t *root_mask = bits(env, arguments[3], "rootMask", arrays.codebook_sizes[0]);
  uint64_t *node_bits = bits(env, arguments[4], "nodeBits", arrays.top_levels[1].node_count);
  check(esp_set_derive(to_level(env, arguments[0]), trie, leaf_bits, root_mask, node_bits));
  return nullptr;
}

// countLiveNodes(level, trie, leafBits, out)
napi_value count_live_nodes(const Arguments &arguments) {
  napi_env env = arguments.env();
  const esp_trie *trie = trie_of(env, arguments[1]);
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  const uint64_t *leaf_bits = bits(env, arguments[2], "leafBits", arrays.leaf_count);
  double *out = array<double>(env, arguments[3], "out", arrays.level_count);
  uint64_t counts[ESP_MAX_LEVELS];
  check(esp_set_live_nodes(to_level(env, arguments[0]), trie, leaf_bits, counts));
  for (uint32_t level = 0; level < arrays.level_count; level++) out[level] = static_cast<double>(counts[level]);
  return nullptr;
}

esp_leaf_items leaf_items(napi_env env, napi_value source) {
  esp_leaf_items items = {};
  items.leaf_count = static_cast<uint32_t>(to_count(env, get(env, source, "leafCount"), "leafCount", ESP_MAX_ROWS));
  items.item_count = static_cast<uint32_t>(to_count(env, get(env, source, "itemCount"), "itemCount", ESP_MAX_ROWS));
  const napi_value leaves = get(env, source, "sharedLeaves");
  const size_t count = elements(env, leaves, "sharedLeaves").length;
  if (count > items.leaf_count) fail(ESP_STATUS_SHAPE, "sharedLeaves has more entries than there are leaves");
  items.shared_count = static_cast<uint32_t>(count);
  items.shared_leaves = array<uint32_t>(env, leaves, "sharedLeaves", count);
  items.shared_start = array<uint32_t>(env, get(env, source, "sharedStart"), "sharedStart", count + 1);
  return items;
}

uint64_t *shared_bits(napi_env env, napi_value value, const esp_leaf_items &items) {
  return bits(env, value, "sharedItemBits", items.shared_start[items.shared_count]);
}

// itemStarts(leafItems, starts)
napi_value item_starts(const Arguments &arguments) {
  napi_env env = arguments.env();
  const esp_leaf_items items = leaf_items(env, arguments[0]);
  check(esp_item_starts(&items, bits(env, arguments[1], "starts", uint64_t{items.item_count} + 1)));
  return nullptr;
}

// setFromItems(level, leafItems, starts | null, itemBits, leafBits, sharedItemBits)
napi_value set_from_items(const Arguments &arguments) {
  napi_env env = arguments.env();
  const esp_leaf_items items = leaf_items(env, arguments[1]);
  const bool has_starts = !is_nullish(env, arguments[2]);
  if (!has_starts && items.shared_count > 0) fail(ESP_STATUS_SHAPE, "where leaves are shared the starts are needed");
  const uint64_t *starts = has_starts ? bits(env, arguments[2], "starts", uint64_t{items.item_count} + 1) : nullptr;
  const uint64_t *item_bits = bits(env, arguments[3], "itemBits", items.item_count);
  uint64_t *leaf_bits = bits(env, arguments[4], "leafBits", items.leaf_count);
  check(esp_set_from_items(to_level(env, arguments[0]), &items, starts, item_bits, leaf_bits,
                           shared_bits(env, arguments[5], items)));
  return nullptr;
}

// settleSharedLeaves(leafItems, sharedItemBits, leafBits): number of live shared leaves
napi_value settle_shared_leaves(const Arguments &arguments) {
  napi_env env = arguments.env();
  const esp_leaf_items items = leaf_items(env, arguments[0]);
  uint32_t live_count = 0;
  check(esp_set_settle(&items, shared_bits(env, arguments[1], items),
                       bits(env, arguments[2], "leafBits", items.leaf_count), &live_count));
  return number(env, live_count);
}

// prepareExclusions(leafItems, excluded, leafBits | null, sharedItemBits | null, deadLeaves): {deadCount, inSet}
napi_value prepare_exclusions(const Arguments &arguments) {
  napi_env env = arguments.env();
  const esp_leaf_items items = leaf_items(env, arguments[0]);
  const size_t count = elements(env, arguments[1], "excluded").length;
  const uint32_t *excluded = array<uint32_t>(env, arguments[1], "excluded", count);
  const bool is_all = is_nullish(env, arguments[2]);
  const uint64_t *leaf_bits = is_all ? nullptr : bits(env, arguments[2], "leafBits", items.leaf_count);
  const uint64_t *item_bits = is_all ? nullptr : shared_bits(env, arguments[3], items);
  uint32_t *dead = array<uint32_t>(env, arguments[4], "deadLeaves", count);
  size_t dead_count = 0;
  size_t in_set = 0;
  check(esp_exclusions_prepare(&items, excluded, count, leaf_bits, item_bits, dead, &dead_count, &in_set));
  napi_value result;
  check(env, napi_create_object(env, &result));
  set(env, result, "deadCount", number(env, static_cast<double>(dead_count)));
  set(env, result, "inSet", number(env, static_cast<double>(in_set)));
  return result;
}

}  // namespace

void define_sets(napi_env env, napi_value exports) {
  define<combine_bits>(env, exports, "combineBits");
  define<count_bits>(env, exports, "countBits");
  define<derive_set>(env, exports, "deriveSet");
  define<count_live_nodes>(env, exports, "countLiveNodes");
  define<item_starts>(env, exports, "itemStarts");
  define<set_from_items>(env, exports, "setFromItems");
  define<settle_shared_leaves>(env, exports, "settleSharedLeaves");
  define<prepare_exclusions>(env, exports, "prepareExclusions");
}

}  // namespace binding
