// Bitmaps, a word at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__BMI2__)
#include <immintrin.h>
#endif

#include "level.h"

namespace espalier {
namespace {

void combine(esp_bit_operation operation, const uint64_t *a, const uint64_t *b, uint64_t *out, size_t words) {
  switch (operation) {
    case ESP_AND:
      for (size_t word = 0; word < words; word++) out[word] = a[word] & b[word];
      break;
    case ESP_OR:
      for (size_t word = 0; word < words; word++) out[word] = a[word] | b[word];
      break;
    case ESP_AND_NOT:
      for (size_t word = 0; word < words; word++) out[word] = a[word] & ~b[word];
      break;
  }
}

uint64_t count_bits(const uint64_t *words, size_t count) {
  uint64_t bits = 0;
  for (size_t word = 0; word < count; word++) bits += static_cast<uint64_t>(__builtin_popcountll(words[word]));
  return bits;
}

// Collects bits into words.
struct BitWriter {
  uint64_t *out;
  uint64_t word;
  uint32_t filled;
  void push(uint64_t bits, uint32_t count) {
    word |= bits << filled;
    if (filled + count < 64) {
      filled += count;
      return;
    }
    *out++ = word;
    const uint32_t taken = 64 - filled;
    word = taken == 64 ? 0 : bits >> taken;
    filled = count - taken;
  }
  void finish() {
    if (filled > 0) *out = word;
  }
};

#if !defined(__BMI2__)
// So many are gathered faster one by one.
constexpr int kFewBits = 16;

// All at once, in six rounds: in round i those bits move down by 2^i that have an odd number of 2^i's of gaps below them.
// After Warren, Hacker's Delight, "compress".
uint64_t compress_bits(uint64_t bits, uint64_t mask) {
  bits &= mask;
  uint64_t gaps = ~mask << 1;
  for (uint32_t round = 0; round < 6; round++) {
    uint64_t odd = gaps;
    for (uint32_t shift = 1; shift < 64; shift *= 2) odd ^= odd << shift;
    const uint64_t movers = odd & mask;
    mask = (mask ^ movers) | movers >> (1u << round);
    const uint64_t moved = bits & movers;
    bits = (bits ^ moved) | moved >> (1u << round);
    gaps &= ~odd;
  }
  return bits;
}
#endif

inline uint64_t gather_bits(uint64_t bits, uint64_t mask) {
#if defined(__BMI2__)
  return _pext_u64(bits, mask);
#else
  if (__builtin_popcountll(mask) > kFewBits) return compress_bits(bits, mask);
  uint64_t gathered = 0;
  for (uint32_t at = 0; mask != 0; mask &= mask - 1, at++) {
    gathered |= static_cast<uint64_t>((bits & mask & -mask) != 0) << at;
  }
  return gathered;
#endif
}

// A node is a field of leaf bits that ends where the next one starts. Within a word, adding all ones below a
// field's end carries into the end bit exactly when the field has a bit set: all fields in a few operations.
uint64_t live_nodes(const uint64_t *starts, const uint64_t *leaf_bits, uint64_t leaf_count, uint64_t *bits) {
  const uint64_t leaf_words = (leaf_count + 63) / 64;
  const uint64_t start_words = (leaf_count + 64) / 64;
  BitWriter writer = {bits, 0, 0};
  uint64_t live = 0;
  bool carried = false;
  for (uint64_t word = 0; word < leaf_words; word++) {
    const uint64_t begins = starts[word];
    const uint64_t next = word + 1 < start_words ? starts[word + 1] : 0;
    const uint64_t ends = begins >> 1 | next << 63;
    uint64_t leaves = leaf_bits[word];
    // A field that goes on from the word before has no start here.
    if (carried) leaves |= 1;
    const uint64_t hits = (((leaves & ~ends) + ~ends) | leaves) & ends;
    const uint32_t open_from = ends == 0 ? 0 : 64 - static_cast<uint32_t>(__builtin_clzll(ends));
    carried = open_from < 64 && leaves >> open_from != 0;
    live += static_cast<uint64_t>(__builtin_popcountll(hits));
    if (bits != nullptr) {
      writer.push(gather_bits(hits, ends), static_cast<uint32_t>(__builtin_popcountll(ends)));
    }
  }
  if (bits != nullptr) writer.finish();
  return live;
}

// Calls visit(word, the items that are the last on their leaves, those on leaves of several).
template <class Visit>
void visit_shared(const uint64_t *starts, uint64_t item_count, Visit &&visit) {
  const uint64_t words = (item_count + 63) / 64;
  const uint64_t start_words = (item_count + 64) / 64;
  for (uint64_t word = 0; word < words; word++) {
    const uint64_t next = word + 1 < start_words ? starts[word + 1] : 0;
    const uint64_t ends = starts[word] >> 1 | next << 63;
    const uint64_t left = item_count - word * 64;
    const uint64_t items = left < 64 ? (uint64_t{1} << left) - 1 : ~uint64_t{0};
    // Alone on its leaf is who begins it and ends it.
    visit(word, ends, ~(starts[word] & ends) & items);
  }
}

ItemCounts count_items(const uint64_t *starts, uint64_t item_count) {
  ItemCounts counts = {0, 0};
  visit_shared(starts, item_count, [&](uint64_t, uint64_t ends, uint64_t shared) {
    counts.leaves += static_cast<uint64_t>(__builtin_popcountll(ends));
    counts.shared += static_cast<uint64_t>(__builtin_popcountll(shared));
  });
  return counts;
}

void shared_items(const uint64_t *starts, const uint64_t *item_bits, uint64_t item_count, uint64_t *shared_bits) {
  BitWriter writer = {shared_bits, 0, 0};
  visit_shared(starts, item_count, [&](uint64_t word, uint64_t, uint64_t shared) {
    writer.push(gather_bits(item_bits[word], shared), static_cast<uint32_t>(__builtin_popcountll(shared)));
  });
  writer.finish();
}

}  // namespace
}  // namespace espalier
