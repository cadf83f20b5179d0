// How a row's codes and its number pack into one 128-bit key: the SID's bits on top, level 0 first, the row's
// number at the bottom. Keys sort as SIDs do, equal SIDs by row, and the permutation rides along.
#pragma once

#include <cstdint>

#include "../include/espalier.h"

namespace espalier {

using Key = unsigned __int128;

struct KeyLayout {
  // The levels that the key holds: [first_level, first_level + level_count) of the rows' row_stride levels.
  uint32_t first_level;
  uint32_t level_count;
  uint32_t row_stride;
  uint32_t sid_bits;
  uint32_t row_mask;
  uint32_t bits[ESP_MAX_LEVELS];
  // [row_stride] the largest code that each level of a row allows.
  uint32_t max_code[ESP_MAX_LEVELS];
  // How far each level's code lies above bit 0.
  uint32_t position[ESP_MAX_LEVELS];
  // The level of a key's n-th bit from the top: where two keys first differ; level_count beyond the SID.
  uint8_t level_of_bit[129];

  // Codes move in groups that fill a 64-bit word: [log2 of the code's bytes] says how.
  struct Groups {
    uint32_t count;
    // The low bits of each code, first code on top.
    uint64_t mask[ESP_MAX_LEVELS];
    uint32_t bits[ESP_MAX_LEVELS];
    uint32_t position[ESP_MAX_LEVELS];
  } groups[4];

  KeyLayout(const uint32_t *codebook_sizes, uint32_t levels, uint32_t from, uint32_t to) {
    first_level = from;
    level_count = to - from;
    row_stride = levels;
    sid_bits = 0;
    for (uint32_t level = 0; level < levels; level++) max_code[level] = codebook_sizes[level] - 1;
    for (uint32_t level = 0; level < level_count; level++) {
      bits[level] = bits_for(max_code[from + level]);
      sid_bits += bits[level];
    }
    row_mask = sid_bits <= 96 ? UINT32_MAX : (1u << (128 - sid_bits)) - 1;
    uint32_t above = 0;
    for (uint32_t level = 0; level < level_count; level++) {
      above += bits[level];
      position[level] = 128 - above;
    }
    uint32_t level = 0;
    for (uint32_t bit = 0; bit <= 128; bit++) {
      while (level < level_count && 128 - bit <= position[level]) level++;
      level_of_bit[bit] = static_cast<uint8_t>(level);
    }
    for (uint32_t size = 0; size < 4; size++) fill_groups(size);
  }

  // A codebook of one code takes no bits.
  static uint32_t bits_for(uint32_t max) { return max == 0 ? 0 : 32 - static_cast<uint32_t>(__builtin_clz(max)); }

  // A key's row; the bits above it are the SID's, or clear.
  uint32_t row_of(Key key) const { return static_cast<uint32_t>(key) & row_mask; }
  bool same_sid(Key a, Key b) const { return sid_bits == 0 || (a ^ b) >> (128 - sid_bits) == 0; }

 private:
  void fill_groups(uint32_t size) {
    const uint32_t per_group = 8u >> size;
    const uint32_t lane_bits = 8u << size;
    Groups &group = groups[size];
    group.count = (level_count + per_group - 1) / per_group;
    for (uint32_t index = 0; index < group.count; index++) {
      group.mask[index] = 0;
      group.bits[index] = 0;
      for (uint32_t lane = 0; lane < per_group; lane++) {
        const uint32_t level = index * per_group + lane;
        if (level >= level_count) break;
        group.mask[index] |= ((uint64_t{1} << bits[level]) - 1) << (64 - (lane + 1) * lane_bits);
        group.bits[index] += bits[level];
        group.position[index] = position[level];
      }
    }
  }
};

}  // namespace espalier
