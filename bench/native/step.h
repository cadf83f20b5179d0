// The decode step that all rivals share: what each does with a beam is its own, how winners are kept is not.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cstdint>
#include <vector>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace rivals {

// A batch of requests as src/kernels/step-batch.ts has it. What a node's two numbers mean is each rival's own.
struct Batch {
  const float *scores;
  const uint32_t *node_lo;
  const uint32_t *node_hi;
  const float *normalizers;
  float *child_scores;
  uint32_t *parent_beams;
  uint32_t *codes;
  uint32_t *child_lo;
  uint32_t *child_hi;
};

// The step of one request. Its beams, rows of logits and children begin at these places.
struct Call {
  Batch batch;
  const float *logits;
  uint32_t vocab_size;
  uint32_t depth;
  uint32_t beam_count;
  uint32_t beam_width;

  float score(uint32_t beam, float logit) const { return batch.scores[beam] + (logit - batch.normalizers[beam]); }
  const float *row(uint32_t beam) const { return logits + static_cast<size_t>(beam) * vocab_size; }
};

struct Candidate {
  float score;
  uint32_t beam;
  uint32_t code;
  // Where the rival found it.
  uint32_t place;
};

// Ties keep the smaller beam, then the smaller code; -0 equals +0.
inline bool is_better(const Candidate &a, const Candidate &b) {
  if (a.score != b.score) return a.score > b.score;
  if (a.beam != b.beam) return a.beam < b.beam;
  return a.code < b.code;
}

// Keeps the best of what is offered: a buffer of four times as many, thinned out whenever it is full.
class Best {
 public:
  explicit Best(uint32_t width) : width_(width), capacity_(std::max(4 * width, 256u)) { kept_.reserve(capacity_); }

  // What scores below it has lost. A child whose logit is -infinity does not exist, and scores below it, too.
  float bound() const { return bound_; }

  void offer(const Candidate &candidate) {
    if (!(candidate.score >= bound_)) return;
    kept_.push_back(candidate);
    if (kept_.size() == capacity_) thin_out();
  }

  // Best first.
  const std::vector<Candidate> &finish() {
    const size_t count = std::min<size_t>(width_, kept_.size());
    std::partial_sort(kept_.begin(), kept_.begin() + count, kept_.end(), is_better);
    kept_.resize(count);
    return kept_;
  }

  void clear() {
    kept_.clear();
    bound_ = -FLT_MAX;
  }

 private:
  void thin_out() {
    std::nth_element(kept_.begin(), kept_.begin() + (width_ - 1), kept_.end(), is_better);
    kept_.resize(width_);
    bound_ = kept_.back().score;
  }

  uint32_t width_;
  size_t capacity_;
  float bound_ = -FLT_MAX;
  std::vector<Candidate> kept_;
};

constexpr uint32_t kBlock = 64;

// Which of up to 64 logits of a beam still score at least `bound`: bit i for logits[i].
inline uint64_t reaching(const float *logits, uint32_t count, float score, float normalizer, float bound) {
  uint64_t reached = 0;
  uint32_t first = 0;
#if defined(__AVX512F__)
  const __m512 scores = _mm512_set1_ps(score), normalizers = _mm512_set1_ps(normalizer), bounds = _mm512_set1_ps(bound);
  for (; first + 16 <= count; first += 16) {
    const __m512 found = _mm512_add_ps(scores, _mm512_sub_ps(_mm512_loadu_ps(logits + first), normalizers));
    reached |= static_cast<uint64_t>(_mm512_cmp_ps_mask(found, bounds, _CMP_GE_OQ)) << first;
  }
#elif defined(__AVX2__)
  const __m256 scores = _mm256_set1_ps(score), normalizers = _mm256_set1_ps(normalizer), bounds = _mm256_set1_ps(bound);
  for (; first + 8 <= count; first += 8) {
    const __m256 found = _mm256_add_ps(scores, _mm256_sub_ps(_mm256_loadu_ps(logits + first), normalizers));
    const uint32_t lanes = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(found, bounds, _CMP_GE_OQ)));
    reached |= static_cast<uint64_t>(lanes) << first;
  }
#endif
  for (; first < count; first++) {
    reached |= static_cast<uint64_t>(score + (logits[first] - normalizer) >= bound) << first;
  }
  return reached;
}

// Calls visit(first code, bits) for every block of a row in which something can still win.
template <class Visit>
void for_each_block(const Call &call, uint32_t beam, const Best &best, Visit visit) {
  const float *row = call.row(beam);
  for (uint32_t first = 0; first < call.vocab_size; first += kBlock) {
    const uint32_t count = std::min(kBlock, call.vocab_size - first);
    const uint64_t bits =
        reaching(row + first, count, call.batch.scores[beam], call.batch.normalizers[beam], best.bound());
    if (bits != 0) visit(first, bits);
  }
}

// Offers the codes first + i of the set bits i; place_of(i) says where each was found.
template <class PlaceOf>
void offer_bits(const Call &call, uint32_t beam, uint32_t first, uint64_t bits, Best &best, PlaceOf place_of) {
  const float *row = call.row(beam);
  for (; bits != 0; bits &= bits - 1) {
    const uint32_t index = static_cast<uint32_t>(__builtin_ctzll(bits));
    // Adding 0 makes -0 +0.
    const float score = call.score(beam, row[first + index]) + 0.0f;
    best.offer({score, beam, first + index, place_of(index)});
  }
}

struct Node {
  uint32_t lo;
  uint32_t hi;
};

// What a rival is: it looks at a beam's children, and knows where a winner leads; false takes the winner away.
class Rival {
 public:
  virtual ~Rival() = default;
  // Before any beam: loads that wait for memory can overlap.
  virtual void look_ahead(const Call &) {}
  virtual void offer(const Call &call, uint32_t beam, Best &best) = 0;
  virtual bool lead(const Call &call, const Candidate &winner, Node &to) = 0;
};

inline uint32_t step(Rival &rival, const Call &call) {
  thread_local std::vector<std::pair<uint32_t, Best>> made;
  auto found = std::find_if(made.begin(), made.end(), [&](const auto &one) { return one.first == call.beam_width; });
  if (found == made.end()) found = made.insert(made.end(), {call.beam_width, Best(call.beam_width)});
  Best &best = found->second;
  best.clear();
  rival.look_ahead(call);
  for (uint32_t beam = 0; beam < call.beam_count; beam++) rival.offer(call, beam, best);
  uint32_t count = 0;
  for (const Candidate &winner : best.finish()) {
    Node to = {0, 0};
    if (!rival.lead(call, winner, to)) continue;
    call.batch.child_scores[count] = winner.score;
    call.batch.parent_beams[count] = winner.beam;
    call.batch.codes[count] = winner.code;
    call.batch.child_lo[count] = to.lo;
    call.batch.child_hi[count] = to.hi;
    count++;
  }
  return count;
}

}  // namespace rivals
