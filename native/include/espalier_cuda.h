/*
 * Decode steps on a GPU: libespalier_cuda.so, which is never required. It exports espalier.h as well, so that a program
 * without Node builds its tries and sets with the same library.
 *
 * Conventions are espalier.h's. Handles belong to their context and are reference-counted: what a running step reads
 * stays until that step has ended, whoever releases it. "Device" pointers are addresses in the context's GPU memory.
 * Functions may be called from any thread; one batch or stepper is for one caller at a time.
 */
#ifndef ESPALIER_CUDA_H
#define ESPALIER_CUDA_H

#include "espalier.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Grows with every change of what this header lays out; callers refuse a library that says another number. */
#define ESP_CUDA_ABI 2u
uint32_t esp_cuda_abi(void);

/* ---- the device -------------------------------------------------------------------------------------- */

typedef struct esp_cuda_device {
  char name[128];
  uint32_t compute_major;
  uint32_t compute_minor;
  uint32_t multiprocessor_count;
  /* 1000 * major + 10 * minor, as CUDA counts; 0 where there is none. */
  uint32_t driver_version;
  uint32_t runtime_version;
  uint64_t total_bytes;
  uint64_t free_bytes;
} esp_cuda_device;

/*
 * Looks for a device and runs a small kernel on it. A broken driver may take the process along: ask in a child first.
 * @return ESP_STATUS_UNSUPPORTED where there is no driver, an old one, no device, or one that this build has no code
 *   for; esp_last_error() says which in one line. What is known of `out` is filled in all the same.
 */
esp_status esp_cuda_probe(uint32_t device, esp_cuda_device *out);

/* A device with what lies on it. */
typedef struct esp_cuda_context esp_cuda_context;
/* @return as esp_cuda_probe does */
esp_status esp_cuda_open(uint32_t device, esp_cuda_context **out);
/*
 * Waits for calls of esp_cuda_step that run; what batches have launched goes on. Handles that are still held keep their
 * memory; releasing them stays allowed.
 */
void esp_cuda_close(esp_cuda_context *context);

/* Bytes of device memory by what they are for; staging is pinned host memory. */
typedef struct esp_cuda_memory {
  uint64_t trie_bytes;
  uint64_t set_bytes;
  uint64_t exclusion_bytes;
  uint64_t scratch_bytes;
  uint64_t staging_bytes;
  uint64_t total_bytes;
  uint64_t free_bytes;
} esp_cuda_memory;
esp_status esp_cuda_memory_of(esp_cuda_context *context, esp_cuda_memory *out);

/* ---- what lies on the device ------------------------------------------------------------------------- */

/* A static trie. Each upload is a copy of its own, also of the same arrays. */
typedef struct esp_cuda_trie esp_cuda_trie;
/*
 * @param arrays what esp_trie_view gives; its top levels and masks are borrowed until the trie is released, the rest
 *   for the call
 * @return ESP_STATUS_MEMORY, with what is needed and what is free, where the device has no room; nothing stays behind
 */
esp_status esp_cuda_trie_upload(esp_cuda_context *context, const esp_trie_arrays *arrays, esp_cuda_trie **out);
uint64_t esp_cuda_trie_bytes(const esp_cuda_trie *trie);
void esp_cuda_trie_release(esp_cuda_trie *trie);

/* A constraint set's leaves. Uploads go beside running steps. */
typedef struct esp_cuda_set esp_cuda_set;
/* @param leaf_bits, root_mask, node_bits as esp_constraint_create takes them; leaf_bits is borrowed until the release */
esp_status esp_cuda_set_upload(esp_cuda_trie *trie, const uint64_t *leaf_bits, const uint64_t *root_mask,
                               const uint64_t *node_bits, esp_cuda_set **out);
uint64_t esp_cuda_set_bytes(const esp_cuda_set *set);
void esp_cuda_set_release(esp_cuda_set *set);

/* What one request may reach: esp_constraint on the device. Retains its trie and set. */
typedef struct esp_cuda_constraint esp_cuda_constraint;
/* @param set null: all leaves. @param dead_leaves as esp_constraint_create takes them; copied */
esp_status esp_cuda_constraint_create(esp_cuda_trie *trie, esp_cuda_set *set, const uint32_t *dead_leaves,
                                      size_t dead_count, esp_cuda_constraint **out);
void esp_cuda_constraint_release(esp_cuda_constraint *constraint);

/* ---- steps from host memory -------------------------------------------------------------------------- */

typedef struct esp_cuda_step_request {
  const esp_cuda_constraint *constraint;
  uint32_t beam_count;
  uint32_t beam_width;
  uint32_t first_row;
  esp_normalize normalize;
  float temperature;
} esp_cuda_step_request;

/* esp_step_input, but for the constraints and where the logits lie. */
typedef struct esp_cuda_step_input {
  uint32_t depth;
  uint32_t request_count;
  const esp_cuda_step_request *requests;
  const float *scores;
  const uint32_t *node_lo;
  const uint32_t *node_hi;
  const void *logits;
  /* Whether `logits` is a device pointer, aligned to 16 bytes; else they are copied through pinned memory. */
  int on_device;
  esp_logit_type logit_type;
  uint64_t row_count;
  uint32_t vocab_size;
  uint32_t token_offset;
  const uint32_t *token_table;
  uint32_t token_table_length;
} esp_cuda_step_input;

/*
 * A stream with scratch and staging memory, which grow to what the largest step needed: scratch by the requests, times the
 * most beams that one of them has, times the largest beam width.
 */
typedef struct esp_cuda_stepper esp_cuda_stepper;
esp_status esp_cuda_stepper_create(esp_cuda_context *context, esp_cuda_stepper **out);
/* Waits for its step, where one runs. */
void esp_cuda_stepper_release(esp_cuda_stepper *stepper);

/*
 * esp_step on the device; returns when the output is there. Same results, given the same log-sum-exp; but beams that are no
 * nodes of the trie are refused at every depth. The requests' tries have the same codebook at this depth. Logits on the device are there when it is called.
 * @return ESP_STATUS_SHAPE as esp_step does, and on null or misaligned pointers; ESP_STATUS_MEMORY; ESP_STATUS_SYSTEM
 *   where the device fails, after which every call of the context does
 */
esp_status esp_cuda_step(esp_cuda_stepper *stepper, const esp_cuda_step_input *input, const esp_step_output *output);

/* ---- steps that stay on the device ------------------------------------------------------------------- */

/* Requests whose beams stay on the device from step to step. A step is one launch, and may be captured. */
typedef struct esp_cuda_batch esp_cuda_batch;

/* All requests have room for `beam_width` beams; request r's lie from r * beam_width on. */
typedef struct esp_cuda_batch_options {
  uint32_t request_count;
  uint32_t beam_width;
  esp_logit_type logit_type;
  uint32_t vocab_size;
  esp_normalize normalize;
  float temperature;
} esp_cuda_batch_options;

/* @param constraints [request_count], of tries with the same levels and codebooks; retained */
esp_status esp_cuda_batch_create(esp_cuda_context *context, const esp_cuda_batch_options *options,
                                 esp_cuda_constraint *const *constraints, esp_cuda_batch **out);
/*
 * Waits for the batch's own runs, and for nothing else on the device: captures of other steps go on. What a capture of the
 * batch's steps reads stays until the graph, what was made of it and its replays have gone; it is freed in the next call
 * that makes or releases a batch, uploads, asks for memory or closes a context.
 */
void esp_cuda_batch_release(esp_cuda_batch *batch);
/*
 * From the next step on `stream` on, which may be the replay of a captured one; itself it cannot be captured.
 * @param stream a cudaStream_t; null: the default
 */
esp_status esp_cuda_batch_set_constraint(esp_cuda_batch *batch, uint32_t request, esp_cuda_constraint *constraint,
                                         void *stream);

/* All pointers are device pointers, and stay the caller's. */
typedef struct esp_cuda_batch_step {
  uint32_t depth;
  /* [rows, vocab_size], aligned to 16 bytes; depth 0: a row a request, else beam_width rows a request. */
  const void *logits;
  uint32_t token_offset;
  /* [codebook_sizes[depth]] or null, of tokens below vocab_size, which the caller has checked. */
  const uint32_t *token_table;
  /* [requests] live beams, and [requests, beam_width] of the beams; unused at depth 0. */
  const uint32_t *counts;
  const float *scores;
  const uint32_t *node_lo;
  const uint32_t *node_hi;
  /* [requests] and [requests, beam_width]; not the arrays that are read. Entries beyond a count are left alone. */
  uint32_t *out_counts;
  float *out_scores;
  uint32_t *out_parent_beams;
  uint32_t *out_codes;
  uint32_t *out_node_lo;
  uint32_t *out_node_hi;
  /* [requests] the first beam with a logit that is NaN or +infinity, or -1; such a request keeps no children. */
  int32_t *out_bad_beams;
} esp_cuda_batch_step;

/*
 * Launches one step on `stream` and returns. Outside of captures an event of the batch's follows it.
 * @return ESP_STATUS_SHAPE on a depth, a null or a misaligned pointer that doesn't fit. Beams that are not the leaves
 *   of one node of the trie at that depth keep no children: out_bad_beams is -2.
 */
esp_status esp_cuda_batch_run(esp_cuda_batch *batch, const esp_cuda_batch_step *step, void *stream);

#ifdef __cplusplus
}
#endif
#endif
