// Beams whose children have a mask are compared as whole rows: the pass that sums their logits also keeps the largest
// live logit of each group of codes. The M-th largest of those is a bound that the M-th best child reaches for
// certain, so that only groups above it are looked at again. Exact: nothing is cut that could win.
#pragma once

#include "best.inl.h"
#include "step_view.inl.h"

namespace espalier {
namespace {

struct MaskedRows : StepView {
  using StepView::StepView;

  uint64_t *mask_of(uint32_t beam) const { return scratch.masks + size_t{beam} * word_count; }
  float *maxima_of(uint32_t beam) const { return scratch.group_maxima + size_t{beam} * word_count * kLanes; }
  float *row_maxima_of(uint32_t beam) const { return scratch.row_maxima + size_t{beam} * kLanes; }

  // Reads of a beam at depth 1 what fill_mask will. @return what must not be optimized away
  uint64_t bring_mask(uint32_t beam) const {
    const uint32_t parent = scratch.parents[beam];
    const uint32_t mask = reach.roots.mask_of_node[parent];
    if (mask == kNoMask) return 0;
    uint64_t touched = 0;
    const uint64_t *bits = trie.mask_bits + size_t{mask} * word_count;
    for (uint32_t word = 0; word < word_count; word += kLineWords) touched += bits[word];
    if (reach.node_bits == nullptr) return touched;
    const uint32_t *first_child = trie.top_levels[0].first_child + parent;
    const uint64_t words = (uint64_t{trie.top_levels[1].node_count} + 63) / 64;
    const uint64_t end = first_child[1] / 64 < words ? first_child[1] / 64 : words - 1;
    for (uint64_t word = first_child[0] / 64; word <= end; word += kLineWords) touched += reach.node_bits[word];
    return touched;
  }

  void fill_mask(uint32_t beam) const {
    uint64_t *mask = mask_of(beam);
    if (task.depth == 0) {
      memcpy(mask, reach.root_mask, word_count * sizeof(uint64_t));
      return;
    }
    const uint32_t parent = scratch.parents[beam];
    const size_t at = size_t{reach.roots.mask_of_node[parent]} * word_count;
    const uint64_t *children = trie.mask_bits + at;
    const uint32_t first = trie.top_levels[0].first_child[parent];
    const uint32_t end = trie.top_levels[0].first_child[parent + 1];
    if (reach.node_bits == nullptr) {
      memcpy(mask, children, word_count * sizeof(uint64_t));
    } else {
      const uint64_t words = (uint64_t{trie.top_levels[1].node_count} + 63) / 64;
      uint64_t node = first;
      for (uint32_t word = 0; word < word_count; word++) {
        // A damaged trie's masks may have more children than there are nodes.
        mask[word] = node / 64 < words ? scatter_bits(bits_at(reach.node_bits, words, node), children[word]) : 0;
        node += static_cast<uint64_t>(__builtin_popcountll(children[word]));
      }
    }
    if (code_count % 64 != 0) mask[word_count - 1] &= low_bits(code_count % 64);
    for (uint32_t dead = lower_bound(reach.dead_nodes, reach.dead_node_count, first);
         dead < reach.dead_node_count && reach.dead_nodes[dead] < end; dead++) {
      const uint32_t code = code_of(trie.top_levels[1].codes, trie.is_wide, reach.dead_nodes[dead]);
      mask[code / 64] &= ~(uint64_t{1} << (code % 64));
    }
  }

  // Logits by code, converted into scratch where they can't be read where they lie.
  const float *values_of(const Row &row) const {
    if (row.is_plain() && task.token_table == nullptr) return row.plain() + task.token_offset;
    if (task.token_table == nullptr) {
      row.convert(task.token_offset, code_count, scratch.values);
    } else {
      for (uint32_t code = 0; code < code_count; code++) scratch.values[code] = row.at(task.token_table[code]);
    }
    return scratch.values;
  }

  // One chunk's logits; the last one's are padded, for it may end the caller's memory.
  const float *chunk_of(const float *values, uint32_t chunk, float *padded) const {
    const uint32_t from = chunk * kChunkCodes;
    if (from + kChunkCodes <= code_count) return values + from;
    for (uint32_t code = 0; code < kChunkCodes; code++) {
      padded[code] = from + code < code_count ? values[from + code] : kNegativeInfinity;
    }
    return padded;
  }

  // The live maxima of all groups of a row, and with kSums the sum of exp over all its codes.
  template <bool kSums>
  double scan(uint32_t beam, const float *values) const {
    const uint64_t *mask = mask_of(beam);
    float *maxima = maxima_of(beam);
    Lanes row_maximum = splat(kNegativeInfinity);
    double sum = 0;
    for (uint32_t block = 0; block < word_count; block += kBlock / kChunkCodes) {
      const uint32_t end = block + kBlock / kChunkCodes < word_count ? block + kBlock / kChunkCodes : word_count;
      Lanes sums[4] = {splat(0), splat(0), splat(0), splat(0)};
      for (uint32_t chunk = block; chunk < end; chunk++) {
        float padded[kChunkCodes];
        const float *logits = chunk_of(values, chunk, padded);
        Lanes maximum = splat(kNegativeInfinity);
        for (uint32_t part = 0; part < 4; part++) {
          const float *from = logits + part * kLanes;
          prefetch(from + kAhead);
          const Lanes lanes = load(from);
          if (kSums) sums[part] = add(sums[part], exponential(lanes));
          maximum = max_where(static_cast<uint16_t>(mask[chunk] >> (part * kLanes)), maximum, lanes);
        }
        store(maxima + chunk * kLanes, maximum);
        row_maximum = max(row_maximum, maximum);
      }
      if (kSums) sum += sum_of_four(sums);
    }
    store(row_maxima_of(beam), row_maximum);
    return sum;
  }

  Lanes scores(Lanes logits, uint32_t beam) const {
    return add(sub(logits, splat(task.normalizers[beam])), splat(task.scores[beam]));
  }

  // A score that M groups' maxima reach, and so the M-th best child; -infinity where there are fewer groups.
  float bound() const {
    // Lanes of whole rows are groups enough where there are many rows.
    uint32_t masked = 0;
    for (uint32_t beam = 0; beam < task.beam_count; beam++) masked += is_masked(beam);
    const bool is_fine = masked * kLanes < 2 * task.beam_width;
    const uint32_t groups = is_fine ? word_count * kLanes : kLanes;
    const Lanes dead = splat(kNegativeInfinity);
    uint32_t count = 0;
    uint32_t finite_count = 0;
    for (uint32_t beam = 0; beam < task.beam_count; beam++) {
      if (!is_masked(beam)) continue;
      const float *maxima = is_fine ? maxima_of(beam) : row_maxima_of(beam);
      for (uint32_t group = 0; group < groups; group += kLanes, count += kLanes) {
        const Lanes lanes = load(maxima + group);
        // A row of only -infinity has no score at all, and a finite logit's score may be too low for a float.
        const Lanes found = max_where(static_cast<uint16_t>(above(lanes, dead)), dead, scores(lanes, beam));
        finite_count += static_cast<uint32_t>(__builtin_popcount(above(found, dead)));
        store(scratch.group_scores + count, found);
      }
    }
    if (finite_count < task.beam_width) return kNegativeInfinity;
    for (uint32_t group = 0; group < count; group++) scratch.group_keys[group] = order_key(scratch.group_scores[group]);
    // The exact one would cost twice as many passes, and save few candidates.
    return score_of(key_of_rank(scratch.group_keys, count, task.beam_width, task.beam_width / 8, kDeadKey));
  }

  // Offers the children of a masked row that reach the bound.
  void offer(uint32_t beam, Best &best) const {
    const Lanes dead = splat(kNegativeInfinity);
    Lanes bound = splat(best.bound());
    if (at_least(scores(load(row_maxima_of(beam)), beam), bound) == 0) return;
    const float *maxima = maxima_of(beam);
    const float *values = values_of(Row(task, beam));
    const uint64_t *mask = mask_of(beam);
    for (uint32_t chunk = 0; chunk < word_count; chunk++) {
      const Lanes group_maxima = load(maxima + chunk * kLanes);
      const uint32_t hot = at_least(scores(group_maxima, beam), bound) & above(group_maxima, dead);
      if (hot == 0) continue;
      float padded[kChunkCodes];
      const float *logits = chunk_of(values, chunk, padded);
      for (uint32_t part = 0; part < kChunkCodes / kLanes; part++) {
        const uint32_t live = static_cast<uint32_t>(mask[chunk] >> (part * kLanes)) & hot;
        if (live == 0) continue;
        const Lanes lanes = load(logits + part * kLanes);
        uint32_t reach_it = live & at_least(scores(lanes, beam), bound) & above(lanes, dead);
        for (; reach_it != 0; reach_it &= reach_it - 1) {
          const uint32_t lane = static_cast<uint32_t>(__builtin_ctz(reach_it));
          const float found = score(logits[part * kLanes + lane], beam);
          if (!(found >= best.bound())) continue;
          best.push(found, beam, chunk * kChunkCodes + part * kLanes + lane, 0, 0);
        }
        bound = splat(best.bound());
      }
    }
  }

  // The child's number among the nodes of its level: children of masked rows are looked up once they have won.
  uint32_t node_of(uint32_t beam, uint32_t code) const {
    if (task.depth == 0) return root_node(reach.roots, code);
    const uint32_t parent = scratch.parents[beam];
    const size_t at = size_t{reach.roots.mask_of_node[parent]} * word_count + code / 64;
    return trie.top_levels[0].first_child[parent] + trie.mask_ranks[at] +
           static_cast<uint32_t>(__builtin_popcountll(trie.mask_bits[at] & low_bits(code % 64)));
  }
};

}  // namespace
}  // namespace espalier
