#include "../internal.h"
#include "level.h"

namespace espalier {

namespace {

const LevelKernels *built(esp_level level) {
  switch (level) {
    case ESP_LEVEL_SCALAR:
      return scalar_kernels();
#if defined(__aarch64__)
    case ESP_LEVEL_NEON:
      return neon_kernels();
#endif
#if defined(__x86_64__)
    case ESP_LEVEL_AVX2:
      return avx2_kernels();
    case ESP_LEVEL_AVX512:
      return avx512_kernels();
#endif
    default:
      return nullptr;
  }
}

bool runs_here(esp_level level) {
#if defined(__x86_64__)
  // GCC's builtin also asks whether the operating system saves the wide registers.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
                    __builtin_cpu_supports("lzcnt");
  if (level == ESP_LEVEL_AVX2) return avx2;
  if (level == ESP_LEVEL_AVX512) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("avx512vpopcntdq");
  }
#endif
  return level == ESP_LEVEL_SCALAR || level == ESP_LEVEL_NEON;
}

}  // namespace

const LevelKernels &kernels_of(esp_level level) {
  if (!esp_level_usable(level)) {
    fail(ESP_STATUS_UNSUPPORTED, "this machine or build has no %s kernels", esp_level_name(level));
  }
  return *built(level);
}

}  // namespace espalier

int esp_level_usable(esp_level level) {
  return espalier::built(level) != nullptr && espalier::runs_here(level);
}

esp_level esp_level_best(void) {
  for (int level = ESP_LEVEL_COUNT - 1; level > 0; level--) {
    if (esp_level_usable(static_cast<esp_level>(level))) return static_cast<esp_level>(level);
  }
  return ESP_LEVEL_SCALAR;
}

const char *esp_level_name(esp_level level) {
  static const char *const names[] = {"scalar", "neon", "avx2", "avx512"};
  return level >= 0 && level < ESP_LEVEL_COUNT ? names[level] : "unknown";
}
