#include "step_arguments.h"

namespace binding {

namespace {

template <class T>
T *field(napi_env env, napi_value batch, const char *name, size_t length) {
  return array<T>(env, get(env, batch, name), name, length);
}

}  // namespace

BatchArrays batch_arrays(napi_env env, napi_value source) {
  const uint32_t requests =
      static_cast<uint32_t>(to_count(env, get(env, source, "requestCapacity"), "requestCapacity", UINT32_MAX));
  const uint32_t beams = static_cast<uint32_t>(to_count(env, get(env, source, "beamCapacity"), "beamCapacity", UINT32_MAX));
  BatchArrays batch;
  batch.requests = requests;
  batch.beams = beams;
  batch.beam_counts = field<uint32_t>(env, source, "beamCounts", requests);
  batch.beam_widths = field<uint32_t>(env, source, "beamWidths", requests);
  batch.first_rows = field<uint32_t>(env, source, "firstRows", requests);
  batch.normalizations = field<uint32_t>(env, source, "normalizations", requests);
  batch.temperatures = field<float>(env, source, "temperatures", requests);
  batch.scores = field<float>(env, source, "scores", beams);
  batch.node_lo = field<uint32_t>(env, source, "nodeLo", beams);
  batch.node_hi = field<uint32_t>(env, source, "nodeHi", beams);
  batch.out.counts = field<uint32_t>(env, source, "counts", requests);
  batch.out.scores = field<float>(env, source, "childScores", beams);
  batch.out.parent_beams = field<uint32_t>(env, source, "parentBeams", beams);
  batch.out.codes = field<uint32_t>(env, source, "codes", beams);
  batch.out.node_lo = field<uint32_t>(env, source, "childLo", beams);
  batch.out.node_hi = field<uint32_t>(env, source, "childHi", beams);
  batch.out.normalizers = field<float>(env, source, "normalizers", beams);
  batch.out.bad_beams = field<int32_t>(env, source, "badBeams", requests);
  batch.out.bad_tokens = field<uint32_t>(env, source, "badTokens", requests);
  batch.out.bad_values = field<float>(env, source, "badValues", requests);
  return batch;
}

Logits logits_of(napi_env env, napi_value value, uint32_t vocab_size) {
  const Elements found = elements(env, value, "logits");
  if (found.type != napi_float32_array && found.type != napi_uint16_array) {
    fail(ESP_STATUS_SHAPE, "logits must be a Float32Array, or a Uint16Array of float16");
  }
  if (vocab_size == 0) fail(ESP_STATUS_SHAPE, "vocabSize must be at least 1");
  return {found.data, found.type == napi_float32_array ? ESP_LOGITS_F32 : ESP_LOGITS_F16, found.length / vocab_size};
}

LiveBits live_bits(napi_env env, napi_value live, const esp_trie_arrays &trie) {
  if (is_nullish(env, live)) return {};
  return {bits(env, get(env, live, "leafBits"), "leafBits", trie.leaf_count),
          bits(env, get(env, live, "rootMask"), "rootMask", trie.codebook_sizes[0]),
          bits(env, get(env, live, "nodeBits"), "nodeBits", trie.top_levels[1].node_count)};
}

LeafList leaf_list(napi_env env, napi_value value, const char *name) {
  if (is_nullish(env, value)) return {};
  const size_t count = elements(env, value, name).length;
  return {array<uint32_t>(env, value, name, count), count};
}

std::vector<napi_value> handle_list(napi_env env, napi_value list, const char *name, uint32_t most) {
  uint32_t count = 0;
  if (napi_get_array_length(env, list, &count) != napi_ok || count > most) {
    fail(ESP_STATUS_SHAPE, std::string(name) + " must be an array of at most " + std::to_string(most));
  }
  std::vector<napi_value> handles(count);
  for (uint32_t index = 0; index < count; index++) check(env, napi_get_element(env, list, index, &handles[index]));
  return handles;
}

}  // namespace binding
