// One request's decode step. Rows whose children have a mask are compared as a whole: the pass that sums their
// logits also keeps the largest live logit of each group of codes. The M-th largest of those is a bound that the
// M-th best child reaches for certain, so that only groups above it are looked at again. Exact: nothing is cut that
// could win.
#pragma once

#include "best.inl.h"
#include "children.inl.h"
#include "normalizer.inl.h"

namespace espalier {
namespace {

struct Step {
  const StepTask &task;
  const StepScratch &scratch;
  const Reach &reach;
  const esp_trie_arrays &trie;
  uint32_t code_count;
  uint32_t chunk_count;
  uint32_t word_count;

  Step(const StepTask &one, const StepScratch &memory)
      : task(one),
        scratch(memory),
        reach(*one.reach),
        trie(*one.reach->trie),
        code_count(trie.codebook_sizes[one.depth]),
        chunk_count((code_count + kChunkCodes - 1) / kChunkCodes),
        word_count((code_count + 63) / 64) {}

  uint32_t token_of(uint32_t code) const {
    return task.token_table != nullptr ? task.token_table[code] : task.token_offset + code;
  }

  // Whether a beam's children are compared as a whole row.
  bool is_masked(uint32_t beam) const {
    if (task.normalize == ESP_LIVE) return false;
    if (task.depth == 0) return trie.top_levels[0].node_count * 64u >= code_count;
    return task.depth == 1 && reach.roots.mask_of_node[scratch.parents[beam]] != kNoMask;
  }

  uint64_t *mask_of(uint32_t beam) const { return scratch.masks + size_t{beam} * (chunk_count * 2); }
  float *maxima_of(uint32_t beam) const { return scratch.group_maxima + size_t{beam} * chunk_count * kLanes; }

  void fill_mask(uint32_t beam) const {
    uint64_t *mask = mask_of(beam);
    // Whole chunks are read.
    for (uint32_t word = word_count; word < chunk_count * 2; word++) mask[word] = 0;
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
      const uint32_t *ranks = trie.mask_ranks + at;
      const uint64_t words = (uint64_t{trie.top_levels[1].node_count} + 63) / 64;
      for (uint32_t word = 0; word < word_count; word++) {
        const uint64_t node = uint64_t{first} + ranks[word];
        // A damaged trie's ranks may lead anywhere.
        mask[word] = node / 64 < words ? scatter_bits(bits_at(reach.node_bits, words, node), children[word]) : 0;
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
  double scan_row(uint32_t beam, const float *values) const {
    const uint64_t *mask = mask_of(beam);
    float *maxima = maxima_of(beam);
    Lanes row_maximum = splat(kNegativeInfinity);
    Lanes sums[4] = {splat(0), splat(0), splat(0), splat(0)};
    double sum = 0;
    for (uint32_t chunk = 0; chunk < chunk_count; chunk++) {
      float padded[kChunkCodes];
      const float *logits = chunk_of(values, chunk, padded);
      Lanes maximum = splat(kNegativeInfinity);
      for (uint32_t half = 0; half < 2; half++) {
        const uint64_t live = mask[chunk * 2 + half];
        for (uint32_t part = 0; part < 4; part++) {
          const float *from = logits + half * 64 + part * kLanes;
          prefetch(from + kAhead);
          const Lanes lanes = load(from);
          maximum = max_where(static_cast<uint16_t>(live >> (part * kLanes)), maximum, lanes);
          if (kSums) sums[part] = add(sums[part], exponential(lanes));
        }
      }
      store(maxima + chunk * kLanes, maximum);
      row_maximum = max(row_maximum, maximum);
      if (kSums && (chunk % (kBlock / kChunkCodes) == kBlock / kChunkCodes - 1 || chunk + 1 == chunk_count)) {
        sum += sum_of_four(sums);
        for (Lanes &part : sums) part = splat(0);
      }
    }
    store(scratch.row_maxima + beam * kLanes, row_maximum);
    return sum;
  }

  // The first half of a step for one beam: its normalizer, and where it has a mask its groups' maxima.
  // @return false where the beam is no node of the trie
  bool prepare(uint32_t beam) const {
    if (task.depth == 0 && (task.node_lo[beam] != 0 || task.node_hi[beam] != trie.leaf_count)) return false;
    if (task.depth == 1) {
      scratch.parents[beam] = find_root_node(reach, task.node_lo[beam], task.node_hi[beam]);
      if (scratch.parents[beam] == UINT32_MAX) return false;
    }
    // The live children's must be listed first.
    if (task.normalize == ESP_LIVE) return true;
    const Row row(task, beam);
    const auto sum_between = [&](uint32_t from, uint32_t to) {
      double sum = 0;
      row.visit(from, to, [&](const float *values, size_t count, uint32_t) { sum += sum_exp<false>(values, count, 0); });
      return sum;
    };
    double sum = 0;
    if (is_masked(beam)) {
      fill_mask(beam);
      const float *values = values_of(row);
      if (task.normalize == ESP_LEVEL_TOKENS) {
        sum = scan_row<true>(beam, values);
      } else if (task.token_table != nullptr) {
        scan_row<false>(beam, values);
        sum = sum_between(0, task.vocab_size);
      } else {
        sum = sum_between(0, task.token_offset) + scan_row<true>(beam, values) +
              sum_between(task.token_offset + code_count, task.vocab_size);
      }
    } else if (task.normalize == ESP_VOCABULARY) {
      sum = sum_between(0, task.vocab_size);
    } else {
      visit_normalized(task, row, code_count, nullptr, 0, nullptr,
                       [&](const float *values, size_t count, auto &&) { sum += sum_exp<false>(values, count, 0); });
    }
    task.normalizers[beam] = normalizer_of(sum, [&] { return careful_normalizer(task, row, code_count); });
    return true;
  }

  float score(float logit, uint32_t beam) const { return task.scores[beam] + (logit - task.normalizers[beam]); }

  Lanes scores(Lanes logits, uint32_t beam) const {
    return add(sub(logits, splat(task.normalizers[beam])), splat(task.scores[beam]));
  }

  // The M-th largest score of all groups' maxima, which the M-th best child reaches; -infinity where there are fewer.
  float bound_of_groups() const {
    // Lanes of whole rows are groups enough where there are many rows.
    uint32_t masked = 0;
    for (uint32_t beam = 0; beam < task.beam_count; beam++) masked += is_masked(beam);
    const bool is_fine = masked * kLanes < 2 * task.beam_width;
    uint32_t count = 0;
    uint32_t finite = 0;
    for (uint32_t beam = 0; beam < task.beam_count; beam++) {
      if (!is_masked(beam)) continue;
      const float *maxima = is_fine ? maxima_of(beam) : scratch.row_maxima + beam * kLanes;
      const uint32_t groups = is_fine ? chunk_count * kLanes : kLanes;
      for (uint32_t group = 0; group < groups; group++) {
        const bool is_live = maxima[group] > kNegativeInfinity;
        scratch.groups[count++] = is_live ? order_key(score(maxima[group], beam)) : 0;
        finite += is_live;
      }
    }
    return finite < task.beam_width ? kNegativeInfinity : score_of(kth_largest(scratch.groups, count, task.beam_width));
  }

  // Offers the children of a masked row that reach the bound.
  void offer_masked(uint32_t beam, Best &best) const {
    const Lanes dead = splat(kNegativeInfinity);
    Lanes bound = splat(best.bound());
    if (at_least(scores(load(scratch.row_maxima + beam * kLanes), beam), bound) == 0) return;
    const float *maxima = maxima_of(beam);
    const float *values = values_of(Row(task, beam));
    const uint64_t *mask = mask_of(beam);
    for (uint32_t chunk = 0; chunk < chunk_count; chunk++) {
      const Lanes group_maxima = load(maxima + chunk * kLanes);
      const uint32_t hot = at_least(scores(group_maxima, beam), bound) & above(group_maxima, dead);
      if (hot == 0) continue;
      float padded[kChunkCodes];
      const float *logits = chunk_of(values, chunk, padded);
      for (uint32_t part = 0; part < kChunkCodes / kLanes; part++) {
        const uint32_t live = static_cast<uint32_t>(mask[chunk * 2 + part / 4] >> (part % 4 * kLanes)) & hot;
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

  // Calls visit(code, lo, hi) for each live child of a beam.
  template <class Visit>
  void visit_children(uint32_t beam, Visit &&visit) const {
    if (task.depth == 0) visit_root(reach, visit);
    else if (task.depth == 1) visit_top(reach, scratch.parents[beam], visit);
    else visit_deep(reach, task.depth, task.node_lo[beam], task.node_hi[beam], visit);
  }

  // Offers the children of a beam one by one. @return false where a code is none of the codebook's
  bool offer_each(uint32_t beam, Best &best) const {
    const Row row(task, beam);
    bool is_fine = true;
    visit_children(beam, [&](uint32_t code, uint32_t lo, uint32_t hi) {
      if (code >= code_count) {
        is_fine = false;
        return;
      }
      const float logit = row.at(token_of(code));
      const float found = score(logit, beam);
      if (found >= best.bound() && logit > kNegativeInfinity) best.push(found, beam, code, lo, hi);
    });
    return is_fine;
  }

  // The same where the live children share the probability among themselves.
  StepOutcome offer_live(uint32_t beam, Best &best, BadLogit &bad) const {
    const Row row(task, beam);
    uint32_t count = 0;
    bool is_fine = true;
    visit_children(beam, [&](uint32_t code, uint32_t lo, uint32_t hi) {
      if (code >= code_count || count == code_count) {
        is_fine = false;
        return;
      }
      scratch.child_codes[count] = code;
      scratch.child_lo[count] = lo;
      scratch.child_hi[count] = hi;
      scratch.child_logits[count++] = row.at(token_of(code));
    });
    if (!is_fine) return StepOutcome::kBadTrie;
    const float *logits = scratch.child_logits;
    task.normalizers[beam] = normalizer_of(sum_exp<false>(logits, count, 0), [&] {
      return careful_normalizer(task, row, code_count, logits, count, scratch.child_codes);
    });
    if (task.normalizers[beam] != task.normalizers[beam]) {
      bad = find_bad_logit(task, beam, code_count, logits, count, scratch.child_codes);
      return StepOutcome::kBadLogit;
    }
    for (uint32_t child = 0; child < count; child++) {
      if (!(logits[child] > kNegativeInfinity)) continue;
      const float found = score(logits[child], beam);
      if (!(found >= best.bound())) continue;
      best.push(found, beam, scratch.child_codes[child], scratch.child_lo[child], scratch.child_hi[child]);
    }
    return StepOutcome::kDone;
  }

  // What the offers will read, fetched for all beams at once instead of one after the other.
  void fetch_ahead() const {
    if (task.depth < 2) return;
    const size_t code_bytes = trie.is_wide ? 4 : 2;
    const char *rows = static_cast<const char *>(trie.rows);
    for (uint32_t beam = 0; beam < task.beam_count; beam++) {
      const uint64_t lo = task.node_lo[beam];
      prefetch(rows + (lo * trie.level_count + task.depth) * code_bytes);
      if (reach.leaf_bits != nullptr) prefetch(reach.leaf_bits + lo / 64);
      prefetch(trie.new_prefix[task.depth] + lo / 64);
    }
  }

  // The second half: the M best children of all beams. @param count how many there are
  StepOutcome select(uint32_t &count, BadLogit &bad) const {
    count = 0;
    fetch_ahead();
    Best best(scratch.candidates, task.beam_width);
    if (task.normalize != ESP_LIVE) {
      for (uint32_t beam = 0; beam < task.beam_count; beam++) {
        if (task.normalizers[beam] == task.normalizers[beam]) continue;
        bad = find_bad_logit(task, beam, code_count);
        return StepOutcome::kBadLogit;
      }
      if (task.depth < 2) best.raise_bound(bound_of_groups());
    }
    for (uint32_t beam = 0; beam < task.beam_count; beam++) {
      if (task.normalize == ESP_LIVE) {
        const StepOutcome outcome = offer_live(beam, best, bad);
        if (outcome != StepOutcome::kDone) return outcome;
      } else if (is_masked(beam)) {
        offer_masked(beam, best);
      } else if (!offer_each(beam, best)) {
        return StepOutcome::kBadTrie;
      }
    }
    best.keep_best();
    return write(best, count) ? StepOutcome::kDone : StepOutcome::kBadTrie;
  }

  bool write(const Best &best, uint32_t &count) const {
    uint16_t order[ESP_MAX_BEAM_WIDTH];
    best.rank(order);
    for (uint32_t rank = 0; rank < best.count(); rank++) {
      const uint32_t index = order[rank];
      const uint32_t beam = best.beam(index);
      const uint32_t code = best.code(index);
      task.out_scores[rank] = score_of(best.key(index));
      task.out_parents[rank] = beam;
      task.out_codes[rank] = code;
      task.out_lo[rank] = best.lo(index);
      task.out_hi[rank] = best.hi(index);
      // Children of masked rows are looked up once they have won.
      if (best.hi(index) == 0 && !find_child(beam, code, task.out_lo[rank], task.out_hi[rank])) return false;
    }
    count = best.count();
    return true;
  }

  bool find_child(uint32_t beam, uint32_t code, uint32_t &lo, uint32_t &hi) const {
    const esp_top_level &level = trie.top_levels[task.depth];
    uint32_t node = 0;
    if (task.depth == 0) {
      node = root_node(reach.roots, code);
    } else {
      const size_t at = size_t{reach.roots.mask_of_node[scratch.parents[beam]]} * word_count + code / 64;
      node = trie.top_levels[0].first_child[scratch.parents[beam]] + trie.mask_ranks[at] +
             static_cast<uint32_t>(__builtin_popcountll(trie.mask_bits[at] & low_bits(code % 64)));
    }
    if (node >= level.node_count) return false;
    lo = level.leaf_start[node];
    hi = level.leaf_start[node + 1];
    return true;
  }
};

// Beams [from, to); false where one is no node of the trie.
inline bool prepare_beams(const StepTask &task, const StepScratch &scratch, uint32_t from, uint32_t to) {
  const Step step(task, scratch);
  for (uint32_t beam = from; beam < to; beam++) {
    if (!step.prepare(beam)) return false;
  }
  return true;
}

inline StepOutcome select_children(const StepTask &task, const StepScratch &scratch, uint32_t &count, BadLogit &bad) {
  return Step(task, scratch).select(count, bad);
}

}  // namespace
}  // namespace espalier
