/*
 * Espalier's native kernels: building static tries, deriving constraint sets, scanning columns, decode steps.
 *
 * Conventions. Every function that can fail returns a status; the text of the last failure on the calling
 * thread is esp_last_error(). Arrays are borrowed for the call unless said otherwise. Bit arrays are
 * little-endian 64-bit words: bit i is bit i % 64 of word i / 64, and bits beyond the end are clear.
 * Handles are reference-counted; releasing null does nothing.
 */
#ifndef ESPALIER_H
#define ESPALIER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ESP_MAX_LEVELS 32
#define ESP_MAX_CODEBOOK_SIZE 262144u
/* Rows and leaves are numbered in 32 bits, and one number more must fit. */
#define ESP_MAX_ROWS 4294967294u

typedef enum esp_status {
  ESP_OK = 0,
  /* A length, a count or a value does not fit what is documented. */
  ESP_STATUS_SHAPE = 1,
  ESP_STATUS_MEMORY = 2,
  /* The operating system refused; esp_last_error() has its words. */
  ESP_STATUS_SYSTEM = 3,
  ESP_STATUS_CANCELLED = 4,
  /* The machine lacks the instruction set that was asked for. */
  ESP_STATUS_UNSUPPORTED = 5,
  ESP_STATUS_INTERNAL = 6
} esp_status;

/* Owned by the library; valid until the next failure on this thread. */
const char *esp_last_error(void);

/* ---- instruction sets -------------------------------------------------------------------------------- */

typedef enum esp_level {
  ESP_LEVEL_SCALAR = 0,
  ESP_LEVEL_NEON = 1,
  /* AVX2, FMA, F16C, BMI1, BMI2, LZCNT, POPCNT. */
  ESP_LEVEL_AVX2 = 2,
  /* AVX-512 F, BW, DQ, VL, VBMI, VBMI2, VPOPCNTDQ, and what AVX2 asks for. */
  ESP_LEVEL_AVX512 = 3,
  ESP_LEVEL_COUNT = 4
} esp_level;

/* Whether this build has the level and this machine can run it. */
int esp_level_usable(esp_level level);
esp_level esp_level_best(void);
const char *esp_level_name(esp_level level);

/* ---- memory ------------------------------------------------------------------------------------------ */

/* A reference-counted piece of memory: allocated, or mapped from a file. Counting is thread-safe. */
typedef struct esp_memory esp_memory;

/* Maps bytes [offset, offset + length) of an open file read-only, shared with everyone who maps them. */
esp_status esp_memory_map(int file, uint64_t offset, size_t length, esp_memory **out);
const void *esp_memory_data(const esp_memory *memory);
size_t esp_memory_size(const esp_memory *memory);
void esp_memory_retain(esp_memory *memory);
void esp_memory_release(esp_memory *memory);

/* ---- static tries ------------------------------------------------------------------------------------ */

/* One explicit level: its nodes in lexicographic order. */
typedef struct esp_top_level {
  uint32_t node_count;
  /* [node_count] each node's code; uint16, or uint32 in wide tries. */
  const void *codes;
  /* [node_count + 1] the first leaf below each node; the last entry is the leaf count. */
  const uint32_t *leaf_start;
  /* [node_count + 1] each node's first child on level 1; null on the last explicit level. */
  const uint32_t *first_child;
} esp_top_level;

/*
 * A static trie in the leaf-range layout: leaves are the distinct SIDs in lexicographic order, and a node of
 * depth d is the range of leaves that share d codes.
 */
typedef struct esp_trie_arrays {
  uint32_t leaf_count;
  uint32_t level_count;
  uint32_t codebook_sizes[ESP_MAX_LEVELS];
  /* Codes are uint32 instead of uint16: a codebook exceeds 65,536. */
  int is_wide;
  /* [leaf_count, level_count] */
  const void *rows;
  /* [level_count] of [leaf_count + 1] bits: where a node of depth d + 1 begins; the last bit is set. */
  const uint64_t *new_prefix[ESP_MAX_LEVELS];
  /* Levels 0 and, where there is one, 1. */
  esp_top_level top_levels[2];
  /*
   * Level-0 nodes whose children are worth a mask, ascending [mask_count]; their masks [mask_count] of
   * codebook_sizes[1] bits, rounded up to words; and for each mask word the number of children before it.
   */
  uint32_t mask_count;
  const uint32_t *mask_nodes;
  const uint64_t *mask_bits;
  const uint32_t *mask_ranks;
} esp_trie_arrays;

typedef struct esp_trie esp_trie;

typedef enum esp_dtype { ESP_U8 = 0, ESP_U16 = 1, ESP_U32 = 2, ESP_I32 = 3, ESP_I64 = 4 } esp_dtype;

/* SIDs in any order, with duplicates. */
typedef struct esp_rows {
  /* [row_count, level_count] */
  const void *codes;
  esp_dtype dtype;
  uint64_t row_count;
  uint32_t level_count;
  const uint32_t *codebook_sizes;
} esp_rows;

typedef enum esp_phase { ESP_PHASE_READ = 0, ESP_PHASE_SORT = 1, ESP_PHASE_WRITE = 2 } esp_phase;

/* Called from building threads, one at a time. Returns non-zero to cancel. */
typedef int (*esp_progress)(void *user, esp_phase phase, double fraction);

typedef struct esp_build_options {
  /* 1 or more. */
  uint32_t threads;
  esp_level level;
  /* At most so many bytes of child masks. */
  uint64_t mask_budget_bytes;
  /* May be null. */
  esp_progress progress;
  void *user;
} esp_build_options;

/*
 * Sorts rows into a static trie. Beside the input it holds 16 bytes a row, and what it returns.
 * @return ESP_STATUS_SHAPE naming row and level where a code is not below its codebook's size.
 */
esp_status esp_trie_build(const esp_rows *rows, const esp_build_options *options, esp_trie **out);

/*
 * A trie over arrays that somebody else holds: copied, but for those that lie within one of `memories`, which
 * the trie retains. Checks all that keeps reads inside the arrays, not that the trie is meaningful.
 */
esp_status esp_trie_attach(const esp_trie_arrays *arrays, esp_memory *const *memories, size_t memory_count,
                           esp_trie **out);

/* Valid as long as the trie. */
const esp_trie_arrays *esp_trie_view(const esp_trie *trie);
/* The memory behind one of the trie's own arrays, to be retained by whoever keeps the pointer; or null. */
esp_memory *esp_trie_memory_of(const esp_trie *trie, const void *array);
size_t esp_trie_byte_size(const esp_trie *trie);

/* What a build knows besides the trie; all null and 0 for attached tries. */
typedef struct esp_build_result {
  /* [row_count] the input's rows in the order of their SIDs; equal SIDs keep the input's order. */
  const uint32_t *sorted_rows;
  uint64_t row_count;
  /* [shared_count] leaves that several rows share, ascending. */
  const uint32_t *shared_leaves;
  /* [shared_count + 1] the rows on shared leaves, numbered on their own: first number of each leaf. */
  const uint32_t *shared_start;
  uint32_t shared_count;
} esp_build_result;

const esp_build_result *esp_trie_build_result(const esp_trie *trie);
void esp_trie_retain(esp_trie *trie);
void esp_trie_release(esp_trie *trie);

/* ---- constraint sets --------------------------------------------------------------------------------- */

typedef enum esp_bit_operation { ESP_AND = 0, ESP_OR = 1, ESP_AND_NOT = 2 } esp_bit_operation;

/* out may be a or b. */
esp_status esp_bits_combine(esp_level level, esp_bit_operation operation, const uint64_t *a, const uint64_t *b,
                            uint64_t *out, size_t word_count);
/* Set bits in [0, bit_count). */
esp_status esp_bits_count(esp_level level, const uint64_t *bits, uint64_t bit_count, uint64_t *out);

/*
 * From one bit a leaf, which children of the root are live, by code, and which level-1 nodes, by node.
 * @param root_mask [codebook_sizes[0]] bits, overwritten
 * @param node_bits [nodes of level 1] bits, overwritten; not touched in tries of one level
 */
esp_status esp_set_derive(esp_level level, const esp_trie *trie, const uint64_t *leaf_bits, uint64_t *root_mask,
                          uint64_t *node_bits);

/* Live nodes of each depth 1 ... level_count. @param out [level_count] */
esp_status esp_set_live_nodes(esp_level level, const esp_trie *trie, const uint64_t *leaf_bits, uint64_t *out);

/* Which items lie on which leaf; see esp_build_result. */
typedef struct esp_leaf_items {
  uint32_t leaf_count;
  uint32_t item_count;
  const uint32_t *shared_leaves;
  const uint32_t *shared_start;
  uint32_t shared_count;
} esp_leaf_items;

/*
 * A bit for each item that is the first on its leaf, and one behind the last item: the same as the list of shared leaves,
 * for esp_set_from_items.
 * @param starts [item_count + 1] bits, overwritten
 * @return ESP_STATUS_SHAPE where the shared leaves don't ascend within the leaves and items.
 */
esp_status esp_item_starts(const esp_leaf_items *items, uint64_t *starts);

/*
 * From one bit an item, one bit a leaf and one bit an item on shared leaves; outputs are overwritten.
 * @param starts of esp_item_starts; null where no leaf is shared
 * @return ESP_STATUS_SHAPE where the starts are not those of as many leaves and shared items.
 */
esp_status esp_set_from_items(esp_level level, const esp_leaf_items *items, const uint64_t *starts,
                              const uint64_t *item_bits, uint64_t *leaf_bits, uint64_t *shared_bits);

/*
 * Sets or clears each shared leaf's bit by whether one of its items' bits is set.
 * @param live_count the shared leaves whose bit is set then
 */
esp_status esp_set_settle(const esp_leaf_items *items, const uint64_t *shared_bits, uint64_t *leaf_bits,
                          uint32_t *live_count);

/*
 * The leaves that lose their last allowed item when `excluded` items are taken away.
 * @param excluded     [excluded_count] item numbers, ascending, without duplicates
 * @param leaf_bits    the set's leaves; null for all
 * @param shared_bits  the set's items on shared leaves; null for all
 * @param dead_leaves  [excluded_count] overwritten, ascending
 * @param in_set       how many of the excluded items are in the set
 */
esp_status esp_exclusions_prepare(const esp_leaf_items *items, const uint32_t *excluded, size_t excluded_count,
                                  const uint64_t *leaf_bits, const uint64_t *shared_bits, uint32_t *dead_leaves,
                                  size_t *dead_count, size_t *in_set);

/* ---- rules over columns ------------------------------------------------------------------------------ */

typedef enum esp_leaf_kind {
  /* low <= code <= high, in the codes' own order; NaN is in no range. */
  ESP_LEAF_RANGE = 0,
  /* The code's flag is set; codes beyond flag_count have none. */
  ESP_LEAF_FLAGS = 1,
  /* A flag of the item's list of codes is set. */
  ESP_LEAF_ANY_FLAG = 2,
  ESP_LEAF_BITS = 3
} esp_leaf_kind;

typedef enum esp_code_type { ESP_CODES_U8 = 0, ESP_CODES_U16 = 1, ESP_CODES_U32 = 2, ESP_CODES_F64 = 3 } esp_code_type;

/* One test over one column: an item passes when it has a value and the test, negated or not, holds. */
typedef struct esp_scan_leaf {
  esp_leaf_kind kind;
  esp_code_type code_type;
  /* [item_count], of a list column [offsets[item_count]]; unused by ESP_LEAF_BITS. */
  const void *codes;
  uint64_t code_count;
  double low;
  double high;
  const uint64_t *flags;
  uint64_t flag_count;
  /* [item_count + 1], of list columns: item i has codes [offsets[i], offsets[i + 1]). */
  const uint32_t *offsets;
  const uint64_t *bits;
  int negate;
  /* [item_count] bits; null: every item has a value. */
  const uint64_t *present;
} esp_scan_leaf;

#define ESP_SCAN_AND (-1)
#define ESP_SCAN_OR (-2)
#define ESP_SCAN_MAX_DEPTH 256

/*
 * Evaluates a boolean expression of tests for all items.
 * @param postfix  a number >= 0 pushes that leaf's bits, ESP_SCAN_AND and ESP_SCAN_OR take two
 * @param out      [item_count] bits, overwritten
 */
esp_status esp_scan(esp_level level, uint32_t threads, const esp_scan_leaf *leaves, size_t leaf_count,
                    const int32_t *postfix, size_t postfix_length, uint64_t item_count, uint64_t *out);

/* ---- decode steps ------------------------------------------------------------------------------------ */

#define ESP_MAX_BEAM_WIDTH 1024u

/*
 * What one request may reach: a trie, the live leaves of a set, and leaves that are dead to the request.
 * Handles are reference-counted and may be used by several threads at once.
 */
typedef struct esp_constraint esp_constraint;

/*
 * @param trie        retained
 * @param leaf_bits   the set's leaves, with what esp_set_derive made of them; borrowed until the release. Null: all
 * @param dead_leaves [dead_count] live leaves that must not be reached, ascending, without duplicates; copied
 * @return ESP_STATUS_SHAPE where dead leaves don't ascend within the trie's.
 */
esp_status esp_constraint_create(esp_trie *trie, const uint64_t *leaf_bits, const uint64_t *root_mask,
                                 const uint64_t *node_bits, const uint32_t *dead_leaves, size_t dead_count,
                                 esp_constraint **out);
void esp_constraint_retain(esp_constraint *constraint);
void esp_constraint_release(esp_constraint *constraint);

/* esp_step takes the first two; steps on a GPU take all. */
typedef enum esp_logit_type { ESP_LOGITS_F32 = 0, ESP_LOGITS_F16 = 1, ESP_LOGITS_BF16 = 2 } esp_logit_type;

/* Which logits share the probability mass: all, the level's own tokens, or the live children's. */
typedef enum esp_normalize { ESP_VOCABULARY = 0, ESP_LEVEL_TOKENS = 1, ESP_LIVE = 2 } esp_normalize;

typedef struct esp_step_request {
  const esp_constraint *constraint;
  /* Parent beams; 0: the request has left the batch. */
  uint32_t beam_count;
  /* M: how many children are kept at most, 1 to ESP_MAX_BEAM_WIDTH. */
  uint32_t beam_width;
  /* The row of logits of the first beam; those of the others follow. */
  uint32_t first_row;
  esp_normalize normalize;
  /* Logits are divided by it before anything else; above 0. */
  float temperature;
} esp_step_request;

/* One decode step of a batch. Beams of all requests lie one request after the other. */
typedef struct esp_step_input {
  /* 0 for the first code. */
  uint32_t depth;
  uint32_t request_count;
  const esp_step_request *requests;
  /* [beams] cumulative natural-log scores, and the node of each beam: a range of leaves, one of which is live. */
  const float *scores;
  const uint32_t *node_lo;
  const uint32_t *node_hi;
  /* [row_count, vocab_size] */
  const void *logits;
  esp_logit_type logit_type;
  uint64_t row_count;
  uint32_t vocab_size;
  /* token = token_offset + code; or token_table[code], of as many entries as the codebook, where it is not null. */
  uint32_t token_offset;
  const uint32_t *token_table;
  uint32_t token_table_length;
} esp_step_input;

/* Request r's children lie from the sum of the beam widths before r on, best first. */
typedef struct esp_step_output {
  /* [requests] */
  uint32_t *counts;
  /* [sum of beam widths] */
  float *scores;
  uint32_t *parent_beams;
  uint32_t *codes;
  uint32_t *node_lo;
  uint32_t *node_hi;
  /* [beams] log of the sum of exp over the logits that the normalization reads. */
  float *normalizers;
  /* [requests] the first beam with a logit that is NaN or +infinity, or -1; such a request keeps no children. */
  int32_t *bad_beams;
  /* [requests] its token and value, where there is a bad beam. */
  uint32_t *bad_tokens;
  float *bad_values;
} esp_step_output;

/* Threads and scratch memory for steps; for one caller at a time. */
typedef struct esp_stepper esp_stepper;

/* @param threads the caller's among them */
esp_status esp_stepper_create(esp_level level, uint32_t threads, esp_stepper **out);
void esp_stepper_release(esp_stepper *stepper);

/*
 * The M best live children of each request's beams:
 * score(b, c) = scores[b] + (logit[b][token(c)] / temperature - logsumexp(b)), each operation in float32. Ties keep
 * the smaller parent beam, then the smaller code; -0 is +0. A child whose logit is -infinity does not exist.
 * @return ESP_STATUS_SHAPE on counts, nodes and tokens that don't fit, and on tries whose rows are damaged.
 */
esp_status esp_step(esp_stepper *stepper, const esp_step_input *input, const esp_step_output *output);

/*
 * The floor of every step: log-sum-exp of float32 rows, as esp_step computes it under ESP_VOCABULARY.
 * @param out [row_count]; NaN or +infinity where a row has such a logit
 */
esp_status esp_log_sum_exp(esp_stepper *stepper, const float *logits, uint64_t row_count, uint32_t vocab_size, float *out);

#ifdef __cplusplus
}
#endif
#endif
