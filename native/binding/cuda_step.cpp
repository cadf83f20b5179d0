// Decode steps on a GPU, from and to the arrays of a StepBatch.
#include "cuda_objects.h"
#include "step_arguments.h"

namespace binding {

namespace {

// The requests of a StepBatch.
struct CudaBatch {
  BatchArrays arrays;
  // What each request may reach.
  std::vector<std::shared_ptr<CudaConstraint>> constraints;
  std::vector<const esp_cuda_constraint *> reached;
  std::vector<esp_cuda_step_request> used;
};

}  // namespace

template <>
struct Kind<CudaBatch> {
  static constexpr napi_type_tag tag = {0x5e7b30c9d2f84a61ull, 0xb1c8e64f07a94d23ull};
  static constexpr const char *name = "a step batch for a GPU";
  static void release(CudaBatch *batch) { delete batch; }
};

namespace {

// cudaBindBatch(batch: StepBatch)
napi_value bind_batch(const Arguments &arguments) {
  napi_env env = arguments.env();
  return make_handle(env, new CudaBatch{batch_arrays(env, arguments[0]), {}, {}, {}});
}

// cudaSetConstraints(batch, constraints), for the steps to come
napi_value set_constraints(const Arguments &arguments) {
  napi_env env = arguments.env();
  CudaBatch &batch = of_handle<CudaBatch>(env, arguments[0]);
  std::vector<std::shared_ptr<CudaConstraint>> constraints;
  for (napi_value handle : handle_list(env, arguments[1], "constraints", batch.arrays.requests)) {
    constraints.push_back(of_shared_handle<CudaConstraint>(env, handle));
  }
  batch.constraints = std::move(constraints);
  return nullptr;
}

// cudaStep(stepper, batch, depth, logits, vocabSize, tokenOffset | tokenTable), of as many requests as there are
// constraints
napi_value step(const Arguments &arguments) {
  napi_env env = arguments.env();
  const CudaStepper &stepper = *of_shared_handle<CudaStepper>(env, arguments[0]);
  if (stepper.stepper == nullptr) fail(ESP_STATUS_SHAPE, "the stepper on the GPU has been disposed");
  CudaBatch &batch = of_handle<CudaBatch>(env, arguments[1]);
  batch.reached.clear();
  for (const std::shared_ptr<CudaConstraint> &constraint : batch.constraints) {
    if (constraint->constraint == nullptr) fail(ESP_STATUS_SHAPE, "a constraint on the GPU has been disposed");
    batch.reached.push_back(constraint->constraint);
  }
  esp_cuda_step_input input = {};
  input.request_count = static_cast<uint32_t>(batch.reached.size());
  read_requests(batch.arrays, batch.reached, batch.used);
  input.requests = batch.used.data();
  read_step(arguments, batch.arrays, input);
  const CudaLibrary &library = *stepper.context->functions;
  library.check(library.step(stepper.stepper, &input, &batch.arrays.out));
  return nullptr;
}

}  // namespace

void define_cuda_step(napi_env env, napi_value exports) {
  define<bind_batch>(env, exports, "cudaBindBatch");
  define<set_constraints>(env, exports, "cudaSetConstraints");
  define<step>(env, exports, "cudaStep");
}

}  // namespace binding
