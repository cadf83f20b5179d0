// Decode steps. What is the same from step to step is bound once, so that a call touches few JavaScript values.
#include "js.h"

namespace binding {

namespace {

// The arrays of a StepBatch (src/kernels/step-batch.ts), which keeps them alive.
struct Batch {
  uint32_t requests;
  uint32_t beams;
  uint32_t *beam_counts;
  uint32_t *beam_widths;
  uint32_t *first_rows;
  uint32_t *normalizations;
  float *temperatures;
  float *scores;
  uint32_t *node_lo;
  uint32_t *node_hi;
  esp_step_output out;
  // What each request may reach: retained.
  std::vector<const esp_constraint *> constraints;
  std::vector<esp_step_request> used;

  void release_constraints() {
    for (const esp_constraint *constraint : constraints) esp_constraint_release(const_cast<esp_constraint *>(constraint));
    constraints.clear();
  }
};

template <class T>
struct Kind;
template <>
struct Kind<esp_constraint> {
  static constexpr napi_type_tag tag = {0x5d0c1c8d4f2b4a63ull, 0x8e0f6f6a9fd31b77ull};
  static constexpr const char *name = "a constraint";
  static void release(esp_constraint *constraint) { esp_constraint_release(constraint); }
};
template <>
struct Kind<esp_stepper> {
  static constexpr napi_type_tag tag = {0x1f6b8a1b62d94e0aull, 0xb2a4c3a1d7e84c15ull};
  static constexpr const char *name = "a stepper";
  static void release(esp_stepper *stepper) { esp_stepper_release(stepper); }
};
template <>
struct Kind<Batch> {
  static constexpr napi_type_tag tag = {0x77c2b93e0d51462full, 0x94d1e0a3c6b54d28ull};
  static constexpr const char *name = "a step batch";
  static void release(Batch *batch) {
    batch->release_constraints();
    delete batch;
  }
};

template <class T>
napi_value make_handle(napi_env env, T *object) {
  const auto finalize = [](napi_env, void *data, void *) { Kind<T>::release(static_cast<T *>(data)); };
  napi_value handle;
  napi_status status = napi_create_object(env, &handle);
  if (status == napi_ok) status = napi_wrap(env, handle, object, finalize, nullptr, nullptr);
  if (status != napi_ok) Kind<T>::release(object);
  check(env, status);
  check(env, napi_type_tag_object(env, handle, &Kind<T>::tag));
  return handle;
}

template <class T>
T &of_handle(napi_env env, napi_value handle) {
  napi_valuetype type;
  check(env, napi_typeof(env, handle, &type));
  bool is_kind = false;
  if (type == napi_object) napi_check_object_type_tag(env, handle, &Kind<T>::tag, &is_kind);
  if (!is_kind) fail(ESP_STATUS_SHAPE, std::string("expected the handle of ") + Kind<T>::name);
  void *data = nullptr;
  check(env, napi_unwrap(env, handle, &data));
  return *static_cast<T *>(data);
}

// createConstraint(trie, {leafBits, rootMask, nodeBits} | null, deadLeaves | null); the set's arrays are borrowed for as
// long as the handle lives
napi_value create_constraint(const Arguments &arguments) {
  napi_env env = arguments.env();
  esp_trie *trie = trie_of(env, arguments[0]);
  const esp_trie_arrays &arrays = *esp_trie_view(trie);
  const uint64_t *leaf_bits = nullptr;
  const uint64_t *root_mask = nullptr;
  const uint64_t *node_bits = nullptr;
  if (!is_nullish(env, arguments[1])) {
    leaf_bits = bits(env, get(env, arguments[1], "leafBits"), "leafBits", arrays.leaf_count);
    root_mask = bits(env, get(env, arguments[1], "rootMask"), "rootMask", arrays.codebook_sizes[0]);
    node_bits = bits(env, get(env, arguments[1], "nodeBits"), "nodeBits", arrays.top_levels[1].node_count);
  }
  const uint32_t *dead_leaves = nullptr;
  size_t dead_count = 0;
  if (!is_nullish(env, arguments[2])) {
    dead_count = elements(env, arguments[2], "deadLeaves").length;
    dead_leaves = array<uint32_t>(env, arguments[2], "deadLeaves", dead_count);
  }
  esp_constraint *constraint = nullptr;
  check(esp_constraint_create(trie, leaf_bits, root_mask, node_bits, dead_leaves, dead_count, &constraint));
  return make_handle(env, constraint);
}

// createStepper(level, threads)
napi_value create_stepper(const Arguments &arguments) {
  napi_env env = arguments.env();
  const uint32_t threads = static_cast<uint32_t>(to_count(env, arguments[1], "threads", 1024));
  esp_stepper *stepper = nullptr;
  check(esp_stepper_create(to_level(env, arguments[0]), threads, &stepper));
  return make_handle(env, stepper);
}

template <class T>
T *field(napi_env env, napi_value batch, const char *name, size_t length) {
  return array<T>(env, get(env, batch, name), name, length);
}

// bindBatch(batch: StepBatch)
napi_value bind_batch(const Arguments &arguments) {
  napi_env env = arguments.env();
  const napi_value source = arguments[0];
  const uint32_t requests =
      static_cast<uint32_t>(to_count(env, get(env, source, "requestCapacity"), "requestCapacity", UINT32_MAX));
  const uint32_t beams = static_cast<uint32_t>(to_count(env, get(env, source, "beamCapacity"), "beamCapacity", UINT32_MAX));
  Batch batch = {};
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
  return make_handle(env, new Batch(batch));
}

// setConstraints(batch, constraints), for the steps to come
napi_value set_constraints(const Arguments &arguments) {
  napi_env env = arguments.env();
  Batch &batch = of_handle<Batch>(env, arguments[0]);
  uint32_t count = 0;
  if (napi_get_array_length(env, arguments[1], &count) != napi_ok || count > batch.requests) {
    fail(ESP_STATUS_SHAPE, "constraints must be an array of at most " + std::to_string(batch.requests));
  }
  std::vector<const esp_constraint *> constraints;
  for (uint32_t index = 0; index < count; index++) {
    napi_value handle;
    check(env, napi_get_element(env, arguments[1], index, &handle));
    constraints.push_back(&of_handle<esp_constraint>(env, handle));
  }
  for (const esp_constraint *constraint : constraints) esp_constraint_retain(const_cast<esp_constraint *>(constraint));
  batch.release_constraints();
  batch.constraints = std::move(constraints);
  return nullptr;
}

// The logits of a call: float32, or float16 in a Uint16Array.
struct Logits {
  const void *data;
  esp_logit_type type;
  uint64_t rows;
};

Logits logits_of(napi_env env, napi_value value, uint32_t vocab_size) {
  const Elements found = elements(env, value, "logits");
  if (found.type != napi_float32_array && found.type != napi_uint16_array) {
    fail(ESP_STATUS_SHAPE, "logits must be a Float32Array, or a Uint16Array of float16");
  }
  if (vocab_size == 0) fail(ESP_STATUS_SHAPE, "vocabSize must be at least 1");
  return {found.data, found.type == napi_float32_array ? ESP_LOGITS_F32 : ESP_LOGITS_F16, found.length / vocab_size};
}

// step(stepper, batch, depth, logits, vocabSize, tokenOffset | tokenTable), of as many requests as there are constraints
napi_value step(const Arguments &arguments) {
  napi_env env = arguments.env();
  esp_stepper &stepper = of_handle<esp_stepper>(env, arguments[0]);
  Batch &batch = of_handle<Batch>(env, arguments[1]);
  esp_step_input input = {};
  input.request_count = static_cast<uint32_t>(batch.constraints.size());
  batch.used.resize(input.request_count);
  uint64_t beams = 0;
  uint64_t children = 0;
  for (uint32_t index = 0; index < input.request_count; index++) {
    batch.used[index] = {batch.constraints[index],
                         batch.beam_counts[index],
                         batch.beam_widths[index],
                         batch.first_rows[index],
                         static_cast<esp_normalize>(batch.normalizations[index]),
                         batch.temperatures[index]};
    beams += batch.beam_counts[index];
    children += batch.beam_widths[index];
  }
  if (beams > batch.beams || children > batch.beams) {
    fail(ESP_STATUS_SHAPE, "the batch has room for " + std::to_string(batch.beams) + " beams, found " +
                               std::to_string(beams) + ", of which " + std::to_string(children) + " are to be kept");
  }
  input.requests = batch.used.data();
  input.depth = static_cast<uint32_t>(to_count(env, arguments[2], "depth", ESP_MAX_LEVELS));
  input.scores = batch.scores;
  input.node_lo = batch.node_lo;
  input.node_hi = batch.node_hi;
  input.vocab_size = static_cast<uint32_t>(to_count(env, arguments[4], "vocabSize", INT32_MAX));
  const Logits logits = logits_of(env, arguments[3], input.vocab_size);
  input.logits = logits.data;
  input.logit_type = logits.type;
  input.row_count = logits.rows;
  napi_valuetype token_type;
  check(env, napi_typeof(env, arguments[5], &token_type));
  if (token_type == napi_number) {
    input.token_offset = static_cast<uint32_t>(to_count(env, arguments[5], "tokenOffset", INT32_MAX));
  } else if (input.request_count > 0) {
    // All requests of a batch have the same codebooks; the library checks.
    const size_t length = elements(env, arguments[5], "tokenTable").length;
    input.token_table = array<uint32_t>(env, arguments[5], "tokenTable", length);
    input.token_table_length = static_cast<uint32_t>(length);
  }
  check(esp_step(&stepper, &input, &batch.out));
  return nullptr;
}

// logSumExp(stepper, logits, vocabSize, out)
napi_value log_sum_exp(const Arguments &arguments) {
  napi_env env = arguments.env();
  const uint32_t vocab_size = static_cast<uint32_t>(to_count(env, arguments[2], "vocabSize", INT32_MAX));
  const Logits logits = logits_of(env, arguments[1], vocab_size);
  if (logits.type != ESP_LOGITS_F32) fail(ESP_STATUS_SHAPE, "logits must be a Float32Array");
  float *out = array<float>(env, arguments[3], "out", logits.rows);
  check(esp_log_sum_exp(&of_handle<esp_stepper>(env, arguments[0]), static_cast<const float *>(logits.data), logits.rows,
                        vocab_size, out));
  return nullptr;
}

}  // namespace

void define_step(napi_env env, napi_value exports) {
  define<create_constraint>(env, exports, "createConstraint");
  define<create_stepper>(env, exports, "createStepper");
  define<bind_batch>(env, exports, "bindBatch");
  define<set_constraints>(env, exports, "setConstraints");
  define<step>(env, exports, "step");
  define<log_sum_exp>(env, exports, "logSumExp");
}

}  // namespace binding
