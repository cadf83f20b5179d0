// Decode steps. What is the same from step to step is bound once, so that a call touches few JavaScript values.
#include "handles.h"
#include "step_arguments.h"

namespace binding {

namespace {

// The requests of a StepBatch.
struct Batch {
  BatchArrays arrays;
  // What each request may reach: retained.
  std::vector<const esp_constraint *> constraints;
  std::vector<esp_step_request> used;

  void release_constraints() {
    for (const esp_constraint *constraint : constraints) esp_constraint_release(const_cast<esp_constraint *>(constraint));
    constraints.clear();
  }
};

}  // namespace

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

namespace {

// createConstraint(trie, {leafBits, rootMask, nodeBits} | null, deadLeaves | null); the set's arrays are borrowed for as
// long as the handle lives
napi_value create_constraint(const Arguments &arguments) {
  napi_env env = arguments.env();
  esp_trie *trie = trie_of(env, arguments[0]);
  const LiveBits live = live_bits(env, arguments[1], *esp_trie_view(trie));
  const LeafList dead = leaf_list(env, arguments[2], "deadLeaves");
  esp_constraint *constraint = nullptr;
  check(esp_constraint_create(trie, live.leaf_bits, live.root_mask, live.node_bits, dead.leaves, dead.count, &constraint));
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

// bindBatch(batch: StepBatch)
napi_value bind_batch(const Arguments &arguments) {
  napi_env env = arguments.env();
  return make_handle(env, new Batch{batch_arrays(env, arguments[0]), {}, {}});
}

// setConstraints(batch, constraints), for the steps to come
napi_value set_constraints(const Arguments &arguments) {
  napi_env env = arguments.env();
  Batch &batch = of_handle<Batch>(env, arguments[0]);
  std::vector<const esp_constraint *> constraints;
  for (napi_value handle : handle_list(env, arguments[1], "constraints", batch.arrays.requests)) {
    constraints.push_back(&of_handle<esp_constraint>(env, handle));
  }
  for (const esp_constraint *constraint : constraints) esp_constraint_retain(const_cast<esp_constraint *>(constraint));
  batch.release_constraints();
  batch.constraints = std::move(constraints);
  return nullptr;
}

// step(stepper, batch, depth, logits, vocabSize, tokenOffset | tokenTable), of as many requests as there are constraints
napi_value step(const Arguments &arguments) {
  napi_env env = arguments.env();
  esp_stepper &stepper = of_handle<esp_stepper>(env, arguments[0]);
  Batch &batch = of_handle<Batch>(env, arguments[1]);
  esp_step_input input = {};
  input.request_count = static_cast<uint32_t>(batch.constraints.size());
  read_requests(batch.arrays, batch.constraints, batch.used);
  input.requests = batch.used.data();
  read_step(arguments, batch.arrays, input);
  check(esp_step(&stepper, &input, &batch.arrays.out));
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
