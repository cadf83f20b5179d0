// Random catalogs in the shapes that tries have.
#pragma once

#include <algorithm>
#include <vector>

#include "../../tests/testing.h"

namespace checking {

using testing::Random;

// SIDs in any order, some of them twice.
struct Rows {
  const char *shape;
  std::vector<uint32_t> sizes;
  // [rows, levels]
  std::vector<uint32_t> codes;

  uint32_t level_count() const { return static_cast<uint32_t>(sizes.size()); }
  uint64_t row_count() const { return codes.size() / sizes.size(); }
};

// `least` rows or more, up to `least` times a random factor, so that most catalogs are small and some aren't.
inline uint64_t random_count(Random &random, uint64_t most) {
  uint64_t count = most;
  for (int halvings = static_cast<int>(random.below(8)); halvings > 0 && count > 8; halvings--) count /= 2;
  return 1 + random.below(count);
}

template <class CodeOf>
Rows fill(const char *shape, std::vector<uint32_t> sizes, uint64_t rows, CodeOf &&code_of) {
  Rows made = {shape, std::move(sizes), {}};
  made.codes.reserve(rows * made.sizes.size());
  for (uint64_t row = 0; row < rows; row++) {
    for (uint32_t level = 0; level < made.level_count(); level++) made.codes.push_back(code_of(row, level));
  }
  return made;
}

inline std::vector<uint32_t> random_sizes(Random &random, uint32_t levels, const std::vector<uint32_t> &choices) {
  std::vector<uint32_t> sizes;
  for (uint32_t level = 0; level < levels; level++) sizes.push_back(random.pick(choices));
  return sizes;
}

inline Rows uniform_rows(Random &random, uint64_t most) {
  const std::vector<uint32_t> sizes = random_sizes(random, random.pick<uint32_t>({1, 2, 3, 5, 8, 32}), {1, 2, 50, 128, 770, 2048});
  return fill("uniform", sizes, random_count(random, most), [&](uint64_t, uint32_t level) { return static_cast<uint32_t>(random.below(sizes[level])); });
}

// A heavy head at every level: code = size * u^3.
inline Rows skewed_rows(Random &random, uint64_t most) {
  const std::vector<uint32_t> sizes = random_sizes(random, random.pick<uint32_t>({2, 3, 8}), {64, 256, 2048});
  return fill("skewed", sizes, random_count(random, most), [&](uint64_t, uint32_t level) {
    const double unit = static_cast<double>(random.below(1u << 30)) * 0x1p-30;
    return static_cast<uint32_t>(sizes[level] * unit * unit * unit);
  });
}

// One prefix for all, then many children at a single level: deep nodes with thousands of leaves.
inline Rows chain_rows(Random &random, uint64_t most) {
  const uint32_t levels = random.pick<uint32_t>({3, 4, 8});
  const uint32_t wide = static_cast<uint32_t>(random.below(levels));
  std::vector<uint32_t> sizes(levels, 64);
  sizes[wide] = 2048;
  return fill("chain", sizes, random_count(random, most), [&](uint64_t, uint32_t level) -> uint32_t {
    if (level == wide) return static_cast<uint32_t>(random.below(2048));
    return level > wide ? static_cast<uint32_t>(random.below(3)) : 17;
  });
}

// Nearly every pair of the first two codes begins an item.
inline Rows dense_rows(Random &random, uint64_t most) {
  const uint32_t size = random.pick<uint32_t>({16, 50, 64, 100});
  const std::vector<uint32_t> sizes = {size, size, 2048};
  return fill("dense top", sizes, std::min<uint64_t>(most, uint64_t{size} * size * 2),
              [&](uint64_t, uint32_t level) { return static_cast<uint32_t>(random.below(sizes[level])); });
}

// Shared prefixes and chains as published item -> SID files have them: rows go on from another row's prefix.
inline Rows real_rows(Random &random, uint64_t most) {
  const uint32_t levels = random.pick<uint32_t>({3, 4, 8});
  Rows made = {"real-shaped", std::vector<uint32_t>(levels, random.pick<uint32_t>({256, 2048})), {}};
  const uint64_t rows = random_count(random, most);
  for (uint64_t row = 0; row < rows; row++) {
    const uint64_t dice = random.below(100);
    const uint32_t kept = row == 0 || dice < 30 ? 0 : dice < 80 ? 1 : dice < 92 ? 2 : dice < 97 ? 3 : levels;
    const uint64_t other = row == 0 ? 0 : random.below(row) * levels;
    for (uint32_t level = 0; level < levels; level++) {
      const uint32_t fresh = static_cast<uint32_t>(random.below(made.sizes[level]));
      made.codes.push_back(level < kept ? made.codes[other + level] : fresh);
    }
  }
  return made;
}

// Codebooks at and beyond 16 bits, up to the largest.
inline Rows wide_rows(Random &random, uint64_t most) {
  std::vector<uint32_t> sizes = random_sizes(random, random.pick<uint32_t>({1, 2, 3}), {2, 65536, 70000, ESP_MAX_CODEBOOK_SIZE});
  return fill("wide", sizes, random_count(random, most), [&](uint64_t, uint32_t level) {
    const uint32_t code = static_cast<uint32_t>(random.below(random.chance(0.5) ? sizes[level] : std::min(sizes[level], 90u)));
    return random.chance(0.5) ? code : sizes[level] - 1 - code;
  });
}

inline Rows random_rows(Random &random, uint64_t most) {
  switch (random.below(12)) {
    case 0: return wide_rows(random, most);
    case 1:
    case 2: return dense_rows(random, most);
    case 3:
    case 4: return chain_rows(random, most);
    case 5:
    case 6: return skewed_rows(random, most);
    case 7:
    case 8:
    case 9: return real_rows(random, most);
    default: return uniform_rows(random, most);
  }
}

}  // namespace checking
