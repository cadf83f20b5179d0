// What each instruction set provides: one table of functions, filled by levels/<name>.cpp, which compile the
// same sources with their own flags. Nothing in them may come out as a shared inline function or template
// instance, or the linker could hand AVX-512 code to a machine without it: they live in unnamed namespaces and
// use no standard containers.
#pragma once

#include "../key_layout.h"
#include "step_types.h"

namespace espalier {

// Up to 2^kDigitBits buckets at once: more, and the write-combining buffers leave the cache.
constexpr uint32_t kDigitBits = 11;
constexpr uint32_t kMaxDigits = 1u << kDigitBits;

// What the first pass over rows [from, to) found; row is `to` when every code is in range.
struct BadCode {
  uint64_t row;
  uint32_t level;
};

// Where a sorted stretch of keys goes, one for each thread; see emit.h.
struct EmitCounts {
  uint64_t leaves;
  uint64_t nodes[2];
  uint64_t shared_leaves;
  uint64_t shared_rows;
};

struct EmitTarget {
  void *rows;
  uint64_t *new_prefix[ESP_MAX_LEVELS];
  void *codes[2];
  uint32_t *leaf_start[2];
  uint32_t *first_child;
  uint32_t *sorted_rows;
  uint32_t *shared_leaves;
  uint32_t *shared_start;
};

// Of item starts: the leaves that they begin, and the items on leaves of several.
struct ItemCounts {
  uint64_t leaves;
  uint64_t shared;
};

struct LevelKernels {
  // [log2 of the code's bytes]
  struct Rows {
    // Counts rows by the top `digit_bits` bits of their keys.
    BadCode (*count)(const void *codes, uint64_t from, uint64_t to, const KeyLayout &layout, uint32_t digit_bits,
                     uint64_t *counts);
    // Writes the keys of rows [from, to) to their buckets; next[digit] is where a digit's next key goes.
    void (*scatter)(const void *codes, uint64_t row_count, uint64_t from, uint64_t to, const KeyLayout &layout,
                    uint32_t digit_bits, uint64_t *next, Key *keys, Key *buffers);
    // The keys of the given rows, in their order; a key's lowest bits are its row.
    void (*pack)(const void *codes, uint64_t row_count, const uint32_t *rows, uint64_t count,
                 const KeyLayout &layout, Key *keys);
  } rows[4];

  // Sorts keys that fit the cache; scratch has room for as many.
  void (*sort)(Key *keys, uint64_t count, Key *scratch);
  // Groups keys in place by their `bits` bits above bit `low`; ends[digit] is where a digit's keys end.
  void (*partition)(Key *keys, uint64_t count, uint32_t low, uint32_t bits, uint64_t *ends);

  EmitCounts (*count_emitted)(const Key *keys, uint64_t from, uint64_t to, const KeyLayout &layout);
  // [0: uint16 rows, 1: uint32] Writes the leaves of a stretch to where `positions` says, and moves it on. No leaf
  // from leaf_end on is this thread's. `before` is the key before the stretch, and becomes its last: a row may take
  // the place of its own key.
  void (*emit[2])(const Key *keys, uint64_t from, uint64_t to, const KeyLayout &layout, EmitCounts &positions,
                  uint64_t leaf_end, Key &before, const EmitTarget &target);

  void (*combine)(esp_bit_operation operation, const uint64_t *a, const uint64_t *b, uint64_t *out, size_t words);
  uint64_t (*count_bits)(const uint64_t *words, size_t count);
  // One bit a node, in order: whether a leaf of it is set. Returns the number of such nodes; bits may be null.
  uint64_t (*live_nodes)(const uint64_t *starts, const uint64_t *leaf_bits, uint64_t leaf_count, uint64_t *bits);

  ItemCounts (*count_items)(const uint64_t *starts, uint64_t item_count);
  // The bits of the items on leaves of several, in order.
  void (*shared_items)(const uint64_t *starts, const uint64_t *item_bits, uint64_t item_count, uint64_t *shared_bits);

  // Tests 64 codes at a time; `out` takes words words.
  struct Scan {
    void (*range[4])(const void *codes, double low, double high, uint64_t *out, size_t words);
    void (*flags[3])(const void *codes, const uint64_t *flags, uint64_t flag_count, uint64_t *out, size_t words);
  } scan;

  // One request's step.
  StepOutcome (*step_request)(const StepTask &task, const StepScratch &scratch, uint32_t &count, BadLogit &bad);
  // Its first half, for threads that share the beams: normalizers and maxima of beams [from, to). False where one is no
  // node of the trie.
  bool (*prepare_beams)(const StepTask &task, const StepScratch &scratch, uint32_t from, uint32_t to);
  // The second half, after all beams have been prepared with the same scratch.
  StepOutcome (*select_children)(const StepTask &task, const StepScratch &scratch, uint32_t &count, BadLogit &bad);
  void (*log_sum_exp)(const float *logits, uint32_t vocab_size, uint64_t rows, float *out);
};

const LevelKernels *scalar_kernels();
const LevelKernels *neon_kernels();
const LevelKernels *avx2_kernels();
const LevelKernels *avx512_kernels();

// @throws Failure ESP_STATUS_UNSUPPORTED
const LevelKernels &kernels_of(esp_level level);

}  // namespace espalier
