// The addon: what src/kernels/native/addon.ts loads. Each JavaScript thread that does has a state of its own.
#include "js.h"

namespace {

napi_value init(napi_env env, napi_value exports) {
  try {
    binding::EnvState *state = new binding::EnvState();
    const auto finalize = [](napi_env, void *data, void *) { delete static_cast<binding::EnvState *>(data); };
    binding::check(env, napi_set_instance_data(env, state, finalize, nullptr));
    // A thread that ends waits for its builds; they need not go on to the end.
    binding::check(env, napi_add_env_cleanup_hook(
                            env, [](void *data) { binding::cancel_jobs(*static_cast<binding::EnvState *>(data)); }, state));
    binding::define_tries(env, exports);
    binding::define_build(env, exports);
    binding::define_sets(env, exports);
    binding::define_scan(env, exports);
    binding::define_step(env, exports);
    binding::define_cuda_objects(env, exports);
    binding::define_cuda_step(env, exports);
  } catch (const binding::JsFailure &failure) {
    napi_throw_error(env, nullptr, failure.message.c_str());
  }
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
