// What bench/baselines/native-rivals.ts loads. Arrays are borrowed as long as the handle that was made of them lives;
// the TypeScript side keeps them, and is trusted: this addon is built and used by the benchmarks alone.
#include <node_api.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "array_trie.h"
#include "dense_mask.h"
#include "hash_bitmap.h"
#include "static_csr.h"
#include "unconstrained.h"

namespace {

using namespace rivals;

struct Arguments {
  napi_env env;
  napi_value values[12];
  size_t count = 12;

  Arguments(napi_env env, napi_callback_info info) : env(env) {
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  uint32_t number(size_t index) const { return number_of(env, values[index]); }
  static uint32_t number_of(napi_env env, napi_value value) {
    uint32_t found = 0;
    if (napi_get_value_uint32(env, value, &found) != napi_ok) throw std::runtime_error("a number was expected");
    return found;
  }
  std::string text(size_t index) const {
    char found[64];
    size_t length = 0;
    if (napi_get_value_string_utf8(env, values[index], found, sizeof found, &length) != napi_ok) {
      throw std::runtime_error("a string was expected");
    }
    return std::string(found, length);
  }
};

struct Elements {
  void *data = nullptr;
  size_t length = 0;
  napi_typedarray_type type = napi_uint8_array;
};

Elements elements_of(napi_env env, napi_value value) {
  Elements found;
  if (napi_get_typedarray_info(env, value, &found.type, &found.length, &found.data, nullptr, nullptr) != napi_ok) {
    throw std::runtime_error("a typed array was expected");
  }
  return found;
}

// An array of JavaScript's, element by element.
template <class Read>
void read_list(napi_env env, napi_value list, Read read) {
  uint32_t length = 0;
  if (napi_get_array_length(env, list, &length) != napi_ok) throw std::runtime_error("an array was expected");
  for (uint32_t index = 0; index < length; index++) {
    napi_value value;
    napi_get_element(env, list, index, &value);
    read(value);
  }
}

template <class T>
napi_value hold(napi_env env, T *object) {
  napi_value handle;
  napi_create_external(env, object, [](napi_env, void *data, void *) { delete static_cast<T *>(data); }, nullptr, &handle);
  return handle;
}

template <class T>
T &held(napi_env env, napi_value handle) {
  void *object = nullptr;
  if (napi_get_value_external(env, handle, &object) != napi_ok) throw std::runtime_error("a handle was expected");
  return *static_cast<T *>(object);
}

SortedSids sorted_sids(const std::vector<Elements> &arrays, size_t levels, uint32_t count) {
  SortedSids sids;
  for (size_t level = 0; level < levels; level++) sids.columns.push_back(static_cast<const uint32_t *>(arrays[level].data));
  sids.count = count;
  return sids;
}

Rival *make_rival(const std::string &kind, const std::vector<Elements> &arrays, const std::vector<uint32_t> &numbers) {
  const auto at = [&](size_t index) { return arrays.at(index).data; };
  if (kind == "static-csr") {
    auto *csr = new StaticCsr();
    csr->packed_csr = static_cast<const int32_t *>(at(0));
    csr->indptr = static_cast<const int32_t *>(at(1));
    csr->start_mask = static_cast<const uint8_t *>(at(2));
    csr->dense_mask = static_cast<const uint8_t *>(at(3));
    csr->dense_states = static_cast<const int32_t *>(at(4));
    csr->max_branches = static_cast<const int32_t *>(at(5));
    csr->dense_layers = numbers.at(0);
    return csr;
  }
  if (kind == "array-trie") {
    auto *trie = new ArrayTrie();
    trie->child_start = static_cast<const uint32_t *>(at(0));
    trie->child_codes = static_cast<const uint32_t *>(at(1));
    trie->child_nodes = static_cast<const uint32_t *>(at(2));
    return trie;
  }
  if (kind == "ppv-exact") {
    auto *ppv = new PpvExact();
    ppv->sids = sorted_sids(arrays, arrays.size(), numbers.at(0));
    return ppv;
  }
  if (kind == "ppv-approximate") {
    auto *ppv = new PpvApproximate(numbers.at(1));
    ppv->sids = sorted_sids(arrays, arrays.size(), numbers.at(0));
    return ppv;
  }
  if (kind == "hash-bitmap") {
    auto *hashed = new HashBitmap();
    hashed->bitmap = static_cast<const uint32_t *>(at(0));
    hashed->bits = numbers.at(0);
    return hashed;
  }
  if (kind == "dense-mask") {
    auto *dense = new DenseMask();
    for (size_t level = 0; level < arrays.size() / 2; level++) {
      dense->masks.push_back(static_cast<const uint64_t *>(at(2 * level)));
      dense->first_child.push_back(static_cast<const uint32_t *>(at(2 * level + 1)));
    }
    dense->words = numbers.at(0);
    return dense;
  }
  if (kind == "unconstrained") return new Unconstrained();
  if (kind == "post-filter") {
    auto *filter = new PostFilter();
    filter->sids = sorted_sids(arrays, arrays.size() - 1, numbers.at(0));
    filter->prefixes = static_cast<uint32_t *>(arrays.back().data);
    filter->slots = numbers.at(1);
    filter->fixed = filter->next = numbers.at(2);
    return filter;
  }
  throw std::runtime_error("no such rival: " + kind);
}

// createRival(kind, arrays, numbers)
napi_value create_rival(const Arguments &arguments) {
  std::vector<Elements> arrays;
  std::vector<uint32_t> numbers;
  read_list(arguments.env, arguments.values[1], [&](napi_value value) { arrays.push_back(elements_of(arguments.env, value)); });
  read_list(arguments.env, arguments.values[2],
            [&](napi_value value) { numbers.push_back(Arguments::number_of(arguments.env, value)); });
  return hold<Rival>(arguments.env, make_rival(arguments.text(0), arrays, numbers));
}

// bindBatch([scores, nodeLo, nodeHi, normalizers, childScores, parentBeams, codes, childLo, childHi])
napi_value bind_batch(const Arguments &arguments) {
  std::vector<Elements> arrays;
  read_list(arguments.env, arguments.values[0], [&](napi_value value) { arrays.push_back(elements_of(arguments.env, value)); });
  const auto floats = [&](size_t index) { return static_cast<float *>(arrays.at(index).data); };
  const auto words = [&](size_t index) { return static_cast<uint32_t *>(arrays.at(index).data); };
  return hold(arguments.env, new Batch{floats(0), words(1), words(2), floats(3), floats(4), words(5), words(6), words(7), words(8)});
}

// step(rival, batch, logits, vocabSize, depth, firstRow, firstBeam, beamCount, firstChild, beamWidth): children kept
napi_value run_step(const Arguments &arguments) {
  napi_env env = arguments.env;
  const Batch &batch = held<Batch>(env, arguments.values[1]);
  const uint32_t vocab_size = arguments.number(3);
  const uint32_t beam = arguments.number(6);
  const uint32_t child = arguments.number(8);
  Call call;
  call.batch = {batch.scores + beam,      batch.node_lo + beam,       batch.node_hi + beam,
                batch.normalizers + beam, batch.child_scores + child, batch.parent_beams + child,
                batch.codes + child,      batch.child_lo + child,     batch.child_hi + child};
  call.logits = static_cast<const float *>(elements_of(env, arguments.values[2]).data) +
                static_cast<size_t>(arguments.number(5)) * vocab_size;
  call.vocab_size = vocab_size;
  call.depth = arguments.number(4);
  call.beam_count = arguments.number(7);
  call.beam_width = arguments.number(9);
  napi_value count;
  napi_create_uint32(env, step(held<Rival>(env, arguments.values[0]), call), &count);
  return count;
}

// fillBitmap(rows, rowCount, levels, bitmap, bits)
napi_value fill_hash_bitmap(const Arguments &arguments) {
  const Elements rows = elements_of(arguments.env, arguments.values[0]);
  uint32_t *bitmap = static_cast<uint32_t *>(elements_of(arguments.env, arguments.values[3]).data);
  const uint32_t row_count = arguments.number(1), levels = arguments.number(2), bits = arguments.number(4);
  if (rows.type == napi_uint16_array) {
    fill_bitmap(static_cast<const uint16_t *>(rows.data), row_count, levels, bitmap, bits);
  } else {
    fill_bitmap(static_cast<const uint32_t *>(rows.data), row_count, levels, bitmap, bits);
  }
  return nullptr;
}

// hashOf(prefix, out): the hash's low and high half
napi_value hash_of(const Arguments &arguments) {
  const Elements prefix = elements_of(arguments.env, arguments.values[0]);
  uint32_t *out = static_cast<uint32_t *>(elements_of(arguments.env, arguments.values[1]).data);
  uint64_t hash = kEmptyPrefix;
  for (size_t level = 0; level < prefix.length; level++) {
    hash = extend_hash(hash, static_cast<const uint32_t *>(prefix.data)[level]);
  }
  out[0] = static_cast<uint32_t>(hash);
  out[1] = static_cast<uint32_t>(hash >> 32);
  return nullptr;
}

template <napi_value (*function)(const Arguments &)>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    return function(Arguments(env, info));
  } catch (const std::exception &thrown) {
    napi_throw_error(env, nullptr, thrown.what());
  }
  return nullptr;
}

napi_value init(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"createRival", nullptr, guarded<create_rival>, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"bindBatch", nullptr, guarded<bind_batch>, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"step", nullptr, guarded<run_step>, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"fillBitmap", nullptr, guarded<fill_hash_bitmap>, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"hashOf", nullptr, guarded<hash_of>, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
