// Handles of static tries, and the files that they are mapped from.
#include <algorithm>

#include "js.h"

namespace binding {

namespace {

constexpr napi_type_tag kTrieTag = {0x3c1f5a1a24cc4d7eull, 0x9a5b0f6c2be04f11ull};

struct TrieHandle {
  // Null once disposed.
  esp_trie *trie;
  int64_t reported_bytes;
};

void release(napi_env env, TrieHandle &handle) {
  if (handle.trie == nullptr) return;
  esp_trie_release(handle.trie);
  handle.trie = nullptr;
  int64_t ignored = 0;
  napi_adjust_external_memory(env, -handle.reported_bytes, &ignored);
}

TrieHandle &handle_of(napi_env env, napi_value value) {
  napi_valuetype type;
  check(env, napi_typeof(env, value, &type));
  bool is_trie = false;
  if (type == napi_object) napi_check_object_type_tag(env, value, &kTrieTag, &is_trie);
  if (!is_trie) fail(ESP_STATUS_SHAPE, "expected the handle of a static trie");
  void *data = nullptr;
  check(env, napi_unwrap(env, value, &data));
  return *static_cast<TrieHandle *>(data);
}

napi_value map_file(const Arguments &arguments) {
  napi_env env = arguments.env();
  const int file = static_cast<int>(to_count(env, arguments[0], "file", INT32_MAX));
  const uint64_t offset = to_count(env, arguments[1], "offset", INT64_MAX / 2);
  const uint64_t length = to_count(env, arguments[2], "length", INT64_MAX / 2);
  esp_memory *memory = nullptr;
  check(esp_memory_map(file, offset, length, &memory));
  // The buffer holds a reference of its own.
  struct Release {
    esp_memory *memory;
    ~Release() { esp_memory_release(memory); }
  } release_memory{memory};
  return show(env, memory);
}

// A trie's own array as an ArrayBuffer.
napi_value own(napi_env env, const esp_trie *trie, const void *array) {
  esp_memory *memory = esp_trie_memory_of(trie, array);
  if (memory == nullptr) fail(ESP_STATUS_INTERNAL, "an array that the trie does not own");
  return show(env, memory);
}

// What a build made, each array in an ArrayBuffer of its own. To be asked for once: a second buffer over the
// same memory would confuse V8.
napi_value built_arrays(const Arguments &arguments) {
  napi_env env = arguments.env();
  const esp_trie *trie = trie_of(env, arguments[0]);
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  const esp_build_result &built = *esp_trie_build_result(trie);
  if (built.sorted_rows == nullptr) fail(ESP_STATUS_SHAPE, "expected a trie that was built here");
  napi_value result;
  check(env, napi_create_object(env, &result));
  set(env, result, "leafCount", number(env, arrays.leaf_count));
  set(env, result, "rows", own(env, trie, arrays.rows));
  napi_value prefixes;
  check(env, napi_create_array(env, &prefixes));
  for (uint32_t level = 0; level < arrays.level_count; level++) {
    check(env, napi_set_element(env, prefixes, level, own(env, trie, arrays.new_prefix[level])));
  }
  set(env, result, "newPrefix", prefixes);
  napi_value levels;
  check(env, napi_create_array(env, &levels));
  for (uint32_t level = 0; level < std::min(arrays.level_count, 2u); level++) {
    const esp_top_level &top = arrays.top_levels[level];
    napi_value entry;
    check(env, napi_create_object(env, &entry));
    set(env, entry, "codes", own(env, trie, top.codes));
    set(env, entry, "leafStart", own(env, trie, top.leaf_start));
    if (top.first_child != nullptr) set(env, entry, "firstChild", own(env, trie, top.first_child));
    check(env, napi_set_element(env, levels, level, entry));
  }
  set(env, result, "topLevels", levels);
  if (arrays.mask_count > 0) {
    napi_value masks;
    check(env, napi_create_object(env, &masks));
    set(env, masks, "nodes", own(env, trie, arrays.mask_nodes));
    set(env, masks, "bits", own(env, trie, arrays.mask_bits));
    set(env, masks, "ranks", own(env, trie, arrays.mask_ranks));
    set(env, result, "childMasks", masks);
  }
  set(env, result, "sortedRows", own(env, trie, built.sorted_rows));
  set(env, result, "sharedLeaves", own(env, trie, built.shared_leaves));
  set(env, result, "sharedStart", own(env, trie, built.shared_start));
  return result;
}

const void *codes(napi_env env, napi_value value, const char *name, bool is_wide, size_t length) {
  const Elements found = elements(env, value, name);
  if (found.type != (is_wide ? napi_uint32_array : napi_uint16_array)) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must be a " + (is_wide ? "Uint32Array" : "Uint16Array"));
  }
  if (found.length != length) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must have " + std::to_string(length) + " entries, found " +
                               std::to_string(found.length));
  }
  return found.data;
}

napi_value element(napi_env env, napi_value list, uint32_t index) {
  napi_value value;
  check(env, napi_get_element(env, list, index, &value));
  return value;
}

// attachTrie(trie: TrieArrays): a handle over arrays; those that this addon has shown are not copied.
napi_value attach_trie(const Arguments &arguments) {
  napi_env env = arguments.env();
  const napi_value source = arguments[0];
  esp_trie_arrays arrays = {};
  arrays.leaf_count = static_cast<uint32_t>(to_count(env, get(env, source, "leafCount"), "leafCount", ESP_MAX_ROWS));
  arrays.level_count = static_cast<uint32_t>(to_count(env, get(env, source, "levelCount"), "levelCount", ESP_MAX_LEVELS));
  const napi_value sizes = get(env, source, "codebookSizes");
  for (uint32_t level = 0; level < arrays.level_count; level++) {
    arrays.codebook_sizes[level] =
        static_cast<uint32_t>(to_count(env, element(env, sizes, level), "codebookSizes", ESP_MAX_CODEBOOK_SIZE));
    if (arrays.codebook_sizes[level] > 65536) arrays.is_wide = 1;
  }
  const size_t entries = static_cast<size_t>(arrays.leaf_count) * arrays.level_count;
  arrays.rows = codes(env, get(env, source, "rows"), "rows", arrays.is_wide, entries);
  const napi_value prefixes = get(env, source, "newPrefix");
  for (uint32_t level = 0; level < arrays.level_count; level++) {
    arrays.new_prefix[level] = bits(env, element(env, prefixes, level), "newPrefix", uint64_t{arrays.leaf_count} + 1);
  }
  const napi_value levels = get(env, source, "topLevels");
  for (uint32_t level = 0; level < std::min(arrays.level_count, 2u); level++) {
    const napi_value from = element(env, levels, level);
    esp_top_level &to = arrays.top_levels[level];
    const size_t node_count = elements(env, get(env, from, "codes"), "codes").length;
    if (node_count > ESP_MAX_ROWS) fail(ESP_STATUS_SHAPE, "too many nodes");
    to.node_count = static_cast<uint32_t>(node_count);
    to.codes = codes(env, get(env, from, "codes"), "codes", arrays.is_wide, node_count);
    to.leaf_start = array<uint32_t>(env, get(env, from, "leafStart"), "leafStart", node_count + 1);
    if (level == 0 && arrays.level_count > 1) {
      to.first_child = array<uint32_t>(env, get(env, from, "firstChild"), "firstChild", node_count + 1);
    }
  }
  const napi_value masks = get(env, source, "childMasks");
  if (!is_nullish(env, masks) && arrays.level_count > 1) {
    const size_t count = elements(env, get(env, masks, "nodes"), "nodes").length;
    const uint64_t words = (uint64_t{arrays.codebook_sizes[1]} + 63) / 64;
    arrays.mask_count = static_cast<uint32_t>(count);
    arrays.mask_nodes = array<uint32_t>(env, get(env, masks, "nodes"), "nodes", count);
    arrays.mask_bits = bits(env, get(env, masks, "bits"), "bits", count * words * 64);
    arrays.mask_ranks = array<uint32_t>(env, get(env, masks, "ranks"), "ranks", count * words);
  }
  const std::vector<esp_memory *> memories = shown_memories(env);
  esp_trie *trie = nullptr;
  check(esp_trie_attach(&arrays, memories.data(), memories.size(), &trie));
  return make_trie_handle(env, trie);
}

napi_value dispose_trie(const Arguments &arguments) {
  release(arguments.env(), handle_of(arguments.env(), arguments[0]));
  return nullptr;
}

napi_value trie_byte_size(const Arguments &arguments) {
  return number(arguments.env(), static_cast<double>(esp_trie_byte_size(trie_of(arguments.env(), arguments[0]))));
}

napi_value levels(const Arguments &arguments) {
  napi_env env = arguments.env();
  napi_value usable;
  check(env, napi_create_array(env, &usable));
  uint32_t count = 0;
  for (int level = 0; level < ESP_LEVEL_COUNT; level++) {
    if (!esp_level_usable(static_cast<esp_level>(level))) continue;
    napi_value entry;
    check(env, napi_create_object(env, &entry));
    napi_value name;
    check(env, napi_create_string_utf8(env, esp_level_name(static_cast<esp_level>(level)), NAPI_AUTO_LENGTH, &name));
    set(env, entry, "name", name);
    set(env, entry, "level", number(env, level));
    check(env, napi_set_element(env, usable, count++, entry));
  }
  return usable;
}

}  // namespace

esp_trie *trie_of(napi_env env, napi_value handle) {
  esp_trie *trie = handle_of(env, handle).trie;
  if (trie == nullptr) fail(ESP_STATUS_SHAPE, "the static trie has been disposed");
  return trie;
}

napi_value make_trie_handle(napi_env env, esp_trie *trie) {
  TrieHandle *handle = new TrieHandle{trie, static_cast<int64_t>(esp_trie_byte_size(trie))};
  const auto finalize = [](napi_env finalized, void *data, void *) {
    TrieHandle *finished = static_cast<TrieHandle *>(data);
    release(finalized, *finished);
    delete finished;
  };
  napi_value object;
  napi_status status = napi_create_object(env, &object);
  if (status == napi_ok) status = napi_wrap(env, object, handle, finalize, nullptr, nullptr);
  if (status != napi_ok) {
    esp_trie_release(trie);
    delete handle;
    check(env, status);
  }
  check(env, napi_type_tag_object(env, object, &kTrieTag));
  int64_t ignored = 0;
  napi_adjust_external_memory(env, handle->reported_bytes, &ignored);
  return object;
}

void define_tries(napi_env env, napi_value exports) {
  define<levels>(env, exports, "levels");
  define<map_file>(env, exports, "mapFile");
  define<built_arrays>(env, exports, "builtArrays");
  define<attach_trie>(env, exports, "attachTrie");
  define<dispose_trie>(env, exports, "disposeTrie");
  define<trie_byte_size>(env, exports, "trieByteSize");
}

}  // namespace binding
