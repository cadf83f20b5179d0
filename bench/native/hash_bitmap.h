// A bit for the hash of every prefix. Prefixes that nobody has may meet a set bit.
#pragma once

#include "step.h"

namespace rivals {

constexpr uint64_t kEmptyPrefix = 0x9e3779b97f4a7c15u;

// A prefix's hash from that of the prefix before.
inline uint64_t extend_hash(uint64_t prefix, uint32_t code) {
  uint64_t hash = (prefix ^ (code + 1ull) * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
  hash ^= hash >> 32;
  hash *= 0x94d049bb133111ebu;
  return hash ^ hash >> 29;
}

class HashBitmap : public Rival {
 public:
  // [2^bits] bits.
  const uint32_t *bitmap;
  uint32_t bits;

  void offer(const Call &call, uint32_t beam, Best &best) override {
    const uint64_t prefix = of_node(call, beam);
    for_each_block(call, beam, best, [&](uint32_t first, uint64_t reached) {
      // All hashes, then all probes: the loads from memory overlap.
      uint64_t hashes[kBlock];
      for (uint32_t lane = 0; lane < kBlock; lane++) hashes[lane] = extend_hash(prefix, first + lane) >> (64 - bits);
      uint64_t found = 0;
      for (uint64_t left = reached; left != 0; left &= left - 1) {
        const uint32_t lane = static_cast<uint32_t>(__builtin_ctzll(left));
        found |= static_cast<uint64_t>(bitmap[hashes[lane] / 32] >> (hashes[lane] % 32) & 1) << lane;
      }
      offer_bits(call, beam, first, found, best, [](uint32_t) { return 0u; });
    });
  }

  bool lead(const Call &call, const Candidate &winner, Node &to) override {
    const uint64_t hash = extend_hash(of_node(call, winner.beam), winner.code);
    to = {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)};
    return true;
  }

 private:
  static uint64_t of_node(const Call &call, uint32_t beam) {
    return call.batch.node_lo[beam] | static_cast<uint64_t>(call.batch.node_hi[beam]) << 32;
  }
};

// Sets the bits of all prefixes of sorted rows, each once.
template <class Code>
void fill_bitmap(const Code *rows, uint32_t row_count, uint32_t levels, uint32_t *bitmap, uint32_t bits) {
  std::vector<uint64_t> hashes(levels + 1, kEmptyPrefix);
  for (uint32_t row = 0; row < row_count; row++) {
    const Code *codes = rows + static_cast<size_t>(row) * levels;
    uint32_t level = 0;
    if (row > 0) while (level < levels && codes[level] == (codes - levels)[level]) level++;
    for (; level < levels; level++) {
      hashes[level + 1] = extend_hash(hashes[level], codes[level]);
      const uint64_t bit = hashes[level + 1] >> (64 - bits);
      bitmap[bit / 32] |= 1u << (bit % 32);
    }
  }
}

}  // namespace rivals
