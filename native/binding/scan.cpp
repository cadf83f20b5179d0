// Rules over columns.
#include "js.h"

namespace binding {

namespace {

esp_leaf_kind kind_of(napi_env env, napi_value value) {
  char name[16] = {0};
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, name, sizeof name, &length) == napi_ok) {
    const std::string kind(name, length);
    if (kind == "range") return ESP_LEAF_RANGE;
    if (kind == "flags") return ESP_LEAF_FLAGS;
    if (kind == "anyFlag") return ESP_LEAF_ANY_FLAG;
    if (kind == "bits") return ESP_LEAF_BITS;
  }
  fail(ESP_STATUS_SHAPE, "a leaf's kind must be range, flags, anyFlag or bits");
}

esp_code_type code_type_of(napi_typedarray_type type) {
  switch (type) {
    case napi_uint8_array:
      return ESP_CODES_U8;
    case napi_uint16_array:
      return ESP_CODES_U16;
    case napi_uint32_array:
      return ESP_CODES_U32;
    case napi_float64_array:
      return ESP_CODES_F64;
    default:
      fail(ESP_STATUS_SHAPE, "codes must be a Uint8Array, Uint16Array, Uint32Array or Float64Array");
  }
}

esp_scan_leaf leaf_of(napi_env env, napi_value source, uint64_t item_count) {
  esp_scan_leaf leaf = {};
  leaf.kind = kind_of(env, get(env, source, "kind"));
  bool negate = false;
  check(env, napi_get_value_bool(env, get(env, source, "negate"), &negate));
  leaf.negate = negate;
  const napi_value present = get(env, source, "present");
  if (!is_nullish(env, present)) leaf.present = bits(env, present, "present", item_count);
  if (leaf.kind == ESP_LEAF_BITS) {
    leaf.bits = bits(env, get(env, source, "bits"), "bits", item_count);
    return leaf;
  }
  const Elements codes = elements(env, get(env, source, "codes"), "codes");
  leaf.code_type = code_type_of(codes.type);
  leaf.codes = codes.data;
  leaf.code_count = codes.length;
  if (leaf.kind == ESP_LEAF_RANGE) {
    leaf.low = to_number(env, get(env, source, "low"), "low");
    leaf.high = to_number(env, get(env, source, "high"), "high");
    return leaf;
  }
  const napi_value flags = get(env, source, "flags");
  leaf.flag_count = uint64_t{elements(env, flags, "flags").length} * 32;
  leaf.flags = bits(env, flags, "flags", leaf.flag_count);
  if (leaf.kind == ESP_LEAF_ANY_FLAG) {
    leaf.offsets = array<uint32_t>(env, get(env, source, "offsets"), "offsets", item_count + 1);
  }
  return leaf;
}

// scan(level, threads, leaves, postfix, itemCount, out)
napi_value scan(const Arguments &arguments) {
  napi_env env = arguments.env();
  const uint64_t threads = to_count(env, arguments[1], "threads", 1024);
  const uint64_t item_count = to_count(env, arguments[4], "itemCount", ESP_MAX_ROWS);
  uint32_t leaf_count = 0;
  if (napi_get_array_length(env, arguments[2], &leaf_count) != napi_ok) fail(ESP_STATUS_SHAPE, "leaves must be a list");
  std::vector<esp_scan_leaf> leaves;
  leaves.reserve(leaf_count);
  for (uint32_t index = 0; index < leaf_count; index++) {
    napi_value source;
    check(env, napi_get_element(env, arguments[2], index, &source));
    leaves.push_back(leaf_of(env, source, item_count));
  }
  const size_t length = elements(env, arguments[3], "postfix").length;
  const int32_t *postfix = array<int32_t>(env, arguments[3], "postfix", length);
  uint64_t *out = bits(env, arguments[5], "out", item_count);
  check(esp_scan(to_level(env, arguments[0]), static_cast<uint32_t>(threads), leaves.data(), leaves.size(), postfix,
                 length, item_count, out));
  return nullptr;
}

}  // namespace

void define_scan(napi_env env, napi_value exports) { define<scan>(env, exports, "scan"); }

}  // namespace binding
