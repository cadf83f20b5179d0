#include "static_step.h"

#include <cstdint>
#include <cstring>

#include "launch.h"

namespace espalier::baseline {

namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kMostBeams = 1024;
constexpr uint32_t kCodeBits = 18;
constexpr float kGone = -INFINITY;

// Scratch of one step.
struct Scratch {
  // [rows, vocab_size]
  float *log_probs;
  float *masked;
  uint8_t *mask;
  // [rows, beam_width] the keys of each row's best.
  uint64_t *row_keys;
};

size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

Scratch lay_out(void *memory, size_t rows, size_t vocab_size) {
  const size_t floats = rounded(rows * vocab_size * sizeof(float));
  char *at = static_cast<char *>(memory);
  Scratch scratch;
  scratch.log_probs = reinterpret_cast<float *>(at);
  scratch.masked = reinterpret_cast<float *>(at + floats);
  scratch.mask = reinterpret_cast<uint8_t *>(at + 2 * floats);
  scratch.row_keys = reinterpret_cast<uint64_t *>(at + 2 * floats + rounded(rows * vocab_size));
  return scratch;
}

__device__ float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

__device__ uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

template <bool kIsHalf>
__device__ float logit_at(const void *logits, size_t at) {
  if (!kIsHalf) return static_cast<const float *>(logits)[at];
  // bfloat16 is the upper half of a float32.
  return float_of(static_cast<uint32_t>(static_cast<const uint16_t *>(logits)[at]) << 16);
}

// Larger is better; ties have the smaller beam and code first; 0 is none.
__device__ uint64_t key_of(float score, uint32_t beam, uint32_t code) {
  if (score == kGone) return 0;
  const uint32_t bits = bits_of(score + 0.0f);
  const uint32_t order = bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
  return static_cast<uint64_t>(order) << 32 | static_cast<uint32_t>(~(beam << kCodeBits | code));
}

__device__ float score_of(uint64_t key) {
  const uint32_t order = static_cast<uint32_t>(key >> 32);
  return float_of((order & 0x80000000u) != 0 ? order ^ 0x80000000u : ~order);
}

// A block's shared memory: what a kernel needs of it.
struct Shared {
  float parts[kThreads];
  uint32_t found[kThreads];
  uint32_t above[kThreads];
  uint32_t digit;
  uint32_t kept;
  uint64_t best[kMostBeams];
};
__device__ Shared &shared_memory() { return *reinterpret_cast<Shared *>(cuda::shared_bytes()); }

// A block a row: x - (max + log(sum of exp(x - max))).
template <bool kIsHalf>
__global__ void log_softmax_rows(const void *logits, uint32_t vocab_size, float *log_probs) {
  float *parts = shared_memory().parts;
  const size_t row = static_cast<size_t>(blockIdx.x) * vocab_size;
  const uint32_t thread = threadIdx.x;
  float maximum = kGone;
  for (uint32_t token = thread; token < vocab_size; token += kThreads) maximum = fmaxf(maximum, logit_at<kIsHalf>(logits, row + token));
  parts[thread] = maximum;
  __syncthreads();
  for (uint32_t half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) parts[thread] = fmaxf(parts[thread], parts[thread + half]);
    __syncthreads();
  }
  maximum = parts[0];
  __syncthreads();
  float sum = 0;
  for (uint32_t token = thread; token < vocab_size; token += kThreads) sum += expf(logit_at<kIsHalf>(logits, row + token) - maximum);
  parts[thread] = sum;
  __syncthreads();
  for (uint32_t half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) parts[thread] += parts[thread + half];
    __syncthreads();
  }
  const float normalizer = maximum + logf(parts[0]);
  for (uint32_t token = thread; token < vocab_size; token += kThreads) log_probs[row + token] = logit_at<kIsHalf>(logits, row + token) - normalizer;
}

// Marks the next tokens of each row: one thread for each of the branches that a state may have.
__global__ void gather_mask(CsrLevel level, const uint32_t *states, const float *scores, uint32_t rows, uint32_t vocab_size, uint8_t *mask) {
  const uint64_t at = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= static_cast<uint64_t>(rows) * level.most_branches) return;
  const uint32_t row = static_cast<uint32_t>(at / level.most_branches);
  if (scores[row] == kGone) return;
  const uint32_t entry = level.indptr[states[row]] + static_cast<uint32_t>(at % level.most_branches);
  if (entry < level.indptr[states[row] + 1]) mask[static_cast<size_t>(row) * vocab_size + level.tokens[entry]] = 1;
}

// Scores of the tokens that the mask has, -infinity elsewhere. The mask is the row's own, or the state's dense one.
__global__ void mask_scores(const float *log_probs, const uint8_t *mask, const uint32_t *dense_states_of_rows, const float *scores, uint32_t rows,
                            uint32_t vocab_size, float *masked) {
  const uint64_t at = static_cast<uint64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= static_cast<uint64_t>(rows) * vocab_size) return;
  const uint32_t row = static_cast<uint32_t>(at / vocab_size);
  const uint32_t token = static_cast<uint32_t>(at % vocab_size);
  const float score = scores == nullptr ? 0.0f : scores[row];
  // A shared mask: the root's for all rows, or one of the dense rows.
  const size_t mask_row = dense_states_of_rows != nullptr ? (score == kGone ? 0 : dense_states_of_rows[row]) : scores == nullptr ? 0 : row;
  masked[at] = mask[mask_row * vocab_size + token] != 0 ? score + log_probs[at] : kGone;
}

// The key that exactly `wanted` of the block's keys reach, or 1 where there are no more. Every thread gets it.
template <class KeyAt>
__device__ uint64_t key_of_rank(uint32_t count, uint32_t wanted, const KeyAt &key_at) {
  Shared &shared = shared_memory();
  uint32_t *found = shared.found;
  uint32_t *above = shared.above;
  const uint32_t thread = threadIdx.x;
  uint64_t prefix = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    found[thread] = 0;
    if (thread == 0) shared.digit = kThreads;
    __syncthreads();
    for (uint32_t index = thread; index < count; index += kThreads) {
      const uint64_t key = key_at(index);
      if (key != 0 && (shift == 56 || key >> (shift + 8) == prefix)) atomicAdd(&found[key >> shift & 255], 1u);
    }
    __syncthreads();
    // How many keys have this digit or a larger one: a scan from the top.
    above[thread] = found[thread];
    __syncthreads();
    for (uint32_t step = 1; step < kThreads; step *= 2) {
      const uint32_t more = thread + step < kThreads ? above[thread + step] : 0;
      __syncthreads();
      above[thread] += more;
      __syncthreads();
    }
    if (above[thread] >= wanted && above[thread] - found[thread] < wanted) shared.digit = thread;
    __syncthreads();
    const uint32_t chosen = shared.digit;
    // Too few keys: only the first digit can find that.
    if (chosen == kThreads) return 1;
    prefix = prefix << 8 | chosen;
    const bool is_exact = above[chosen] == wanted;
    wanted -= above[chosen] - found[chosen];
    __syncthreads();
    if (is_exact) return prefix << shift;
  }
  return prefix;
}

// A block a row: the keys of its best, in no order, filled up with zeros.
__global__ void best_of_rows(const float *masked, uint32_t rows_of_request, uint32_t vocab_size, uint32_t beam_width, uint64_t *row_keys) {
  uint32_t &kept = shared_memory().kept;
  const uint32_t beam = blockIdx.x % rows_of_request;
  const float *row = masked + static_cast<size_t>(blockIdx.x) * vocab_size;
  uint64_t *keys = row_keys + static_cast<size_t>(blockIdx.x) * beam_width;
  if (threadIdx.x == 0) kept = 0;
  const auto key_at = [&](uint32_t code) { return key_of(row[code], beam, code); };
  const uint64_t least = key_of_rank(vocab_size, beam_width, key_at);
  for (uint32_t code = threadIdx.x; code < vocab_size; code += kThreads) {
    const uint64_t key = key_at(code);
    if (key >= least) keys[atomicAdd(&kept, 1u)] = key;
  }
  __syncthreads();
  for (uint32_t index = kept + threadIdx.x; index < beam_width; index += kThreads) keys[index] = 0;
}

// The state that a code leads to.
__device__ uint32_t next_state(const StaticTables &tables, uint32_t depth, uint32_t state, uint32_t code) {
  if (depth == 0) return code;
  if (depth < kDenseLevels) return tables.dense_states[static_cast<size_t>(state) * tables.vocab_size + code];
  const CsrLevel &level = tables.levels[depth];
  uint32_t low = level.indptr[state];
  uint32_t left = level.indptr[state + 1] - low;
  while (left > 1) {
    const uint32_t half = left / 2;
    if (level.tokens[low + half] <= code) low += half;
    left -= half;
  }
  return level.next_states[low];
}

// A block a request: the best of its rows' best, in order. Keys are distinct, so that a key's rank is how many are larger.
__global__ void best_of_requests(StaticTables tables, StaticStep step, uint32_t rows_of_request, const uint64_t *row_keys) {
  uint64_t *best = shared_memory().best;
  uint32_t &kept = shared_memory().kept;
  const uint32_t count = rows_of_request * step.beam_width;
  const uint64_t *keys = row_keys + static_cast<size_t>(blockIdx.x) * count;
  const size_t first = static_cast<size_t>(blockIdx.x) * step.beam_width;
  if (threadIdx.x == 0) kept = 0;
  const uint64_t least = key_of_rank(count, step.beam_width, [&](uint32_t index) { return keys[index]; });
  for (uint32_t index = threadIdx.x; index < count; index += kThreads) {
    if (keys[index] >= least) best[atomicAdd(&kept, 1u)] = keys[index];
  }
  __syncthreads();
  for (uint32_t index = threadIdx.x; index < kept; index += kThreads) {
    uint32_t rank = 0;
    for (uint32_t other = 0; other < kept; other++) rank += best[other] > best[index] ? 1 : 0;
    const uint32_t child = ~static_cast<uint32_t>(best[index]);
    const uint32_t beam = child >> kCodeBits;
    const uint32_t code = child & ((1u << kCodeBits) - 1);
    const uint32_t state = step.depth == 0 ? 0 : step.states[blockIdx.x * rows_of_request + beam];
    step.out_scores[first + rank] = score_of(best[index]);
    step.out_parents[first + rank] = beam;
    step.out_codes[first + rank] = code;
    step.out_states[first + rank] = next_state(tables, step.depth, state, code);
  }
  for (uint32_t index = kept + threadIdx.x; index < step.beam_width; index += kThreads) step.out_scores[first + index] = kGone;
  if (threadIdx.x == 0) step.out_counts[blockIdx.x] = kept;
}

uint32_t blocks_for(uint64_t threads) { return static_cast<uint32_t>((threads + kThreads - 1) / kThreads); }

}  // namespace

size_t static_scratch_bytes(uint32_t rows, uint32_t beam_width, uint32_t vocab_size) {
  const size_t entries = size_t{rows} * vocab_size;
  return 2 * rounded(entries * sizeof(float)) + rounded(entries) + size_t{rows} * beam_width * sizeof(uint64_t);
}

int launch_static_step(const StaticTables &tables, const StaticStep &step, void *stream_pointer) {
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
  const bool is_root = step.depth == 0;
  const uint32_t rows_of_request = is_root ? 1 : step.beam_width;
  const uint32_t rows = step.request_count * rows_of_request;
  const uint32_t vocab = tables.vocab_size;
  const Scratch scratch = lay_out(step.scratch, rows, vocab);
  if (step.logit_type == ESP_LOGITS_F32) {
    LAUNCH(log_softmax_rows<false>, rows, kThreads, sizeof(Shared), stream, step.logits, vocab, scratch.log_probs);
  } else {
    LAUNCH(log_softmax_rows<true>, rows, kThreads, sizeof(Shared), stream, step.logits, vocab, scratch.log_probs);
  }
  const uint8_t *mask = is_root ? tables.start_mask : tables.dense_mask;
  if (step.depth >= kDenseLevels) {
    const CsrLevel &level = tables.levels[step.depth];
    const cudaError_t cleared = cudaMemsetAsync(scratch.mask, 0, size_t{rows} * vocab, stream);
    if (cleared != cudaSuccess) return cleared;
    LAUNCH(gather_mask, blocks_for(uint64_t{rows} * level.most_branches), kThreads, 0, stream, level, step.states, step.scores, rows, vocab, scratch.mask);
    mask = scratch.mask;
  }
  LAUNCH(mask_scores, blocks_for(uint64_t{rows} * vocab), kThreads, 0, stream, scratch.log_probs, mask,
         step.depth > 0 && step.depth < kDenseLevels ? step.states : nullptr, is_root ? nullptr : step.scores, rows, vocab, scratch.masked);
  LAUNCH(best_of_rows, rows, kThreads, sizeof(Shared), stream, scratch.masked, rows_of_request, vocab, step.beam_width, scratch.row_keys);
  LAUNCH(best_of_requests, step.request_count, kThreads, sizeof(Shared), stream, tables, step, rows_of_request, scratch.row_keys);
  return cudaGetLastError();
}

}  // namespace espalier::baseline
