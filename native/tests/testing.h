// What the native tests share: a seeded generator, and checks that print where they failed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

#include "../include/espalier.h"

namespace testing {

// splitmix64
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t mixed = (state_ += 0x9e3779b97f4a7c15ull);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
  }
  uint64_t below(uint64_t bound) { return next() % bound; }
  bool chance(double probability) { return static_cast<double>(next() >> 11) * 0x1p-53 < probability; }
  template <class T>
  T pick(const std::vector<T> &choices) {
    return choices[below(choices.size())];
  }

 private:
  uint64_t state_;
};

inline int failures = 0;
inline uint64_t checks = 0;

#define CHECK(condition, ...)                                     \
  do {                                                            \
    testing::checks++;                                            \
    if (!(condition) && testing::failures++ < 10) {               \
      fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      fprintf(stderr, __VA_ARGS__);                               \
      fprintf(stderr, "\n");                                      \
    }                                                             \
  } while (false)

inline uint64_t argument(int count, char **values, const char *name, uint64_t otherwise) {
  for (int index = 1; index + 1 < count; index++) {
    if (strcmp(values[index], name) == 0) return strtoull(values[index + 1], nullptr, 10);
  }
  return otherwise;
}

inline std::vector<esp_level> usable_levels() {
  std::vector<esp_level> levels;
  for (int level = 0; level < ESP_LEVEL_COUNT; level++) {
    if (esp_level_usable(static_cast<esp_level>(level))) levels.push_back(static_cast<esp_level>(level));
  }
  return levels;
}

inline bool bit(const uint64_t *bits, uint64_t index) { return bits[index / 64] >> (index % 64) & 1; }
inline void set_bit(std::vector<uint64_t> &bits, uint64_t index) { bits[index / 64] |= uint64_t{1} << (index % 64); }
inline std::vector<uint64_t> bitmap(uint64_t count) { return std::vector<uint64_t>((count + 63) / 64); }

inline int finish(const char *name) {
  printf("%s: %llu checks, %d failed; levels:", name, static_cast<unsigned long long>(checks), failures);
  for (const esp_level level : usable_levels()) printf(" %s", esp_level_name(level));
  printf("\n");
  return failures == 0 ? 0 : 1;
}

}  // namespace testing
