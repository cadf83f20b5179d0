// One request's decode step: normalizers and maxima of all beams first, then the best of their children. What beams
// lead to lies anywhere in gigabytes, so that all of it is brought at once before any is read in earnest.
#pragma once

#include "masked_rows.inl.h"

namespace espalier {
namespace {

struct Step : MaskedRows {
  using MaskedRows::MaskedRows;

  // Finds beams [from, to) among the explicit nodes. @return false where one is no node
  bool enter(uint32_t from, uint32_t to) const {
    uint64_t touched = 0;
    for (uint32_t beam = from; beam < to && task.depth < 2; beam++) {
      const uint32_t lo = task.node_lo[beam];
      const uint32_t hi = task.node_hi[beam];
      if (task.depth == 0) return lo == 0 && hi == trie.leaf_count;
      scratch.parents[beam] = find_root_node(reach, lo, hi);
      if (scratch.parents[beam] == UINT32_MAX) return false;
      touched += bring_mask(beam);
    }
    keep(touched);
    return true;
  }

  // Reads what the children of all beams will be read from, so that it comes from memory for all of them at once. Loads
  // and not prefetches, which are dropped where the address isn't in the TLB.
  void bring_deep() const {
    const size_t row_bytes = trie.level_count * (trie.is_wide ? size_t{4} : size_t{2});
    const char *rows = static_cast<const char *>(trie.rows);
    const uint64_t *starts = trie.new_prefix[task.depth];
    uint64_t touched = 0;
    for (uint32_t beam = 0; beam < task.beam_count; beam++) {
      const size_t lo = task.node_lo[beam];
      const size_t last = task.node_hi[beam] - size_t{1};
      touched += static_cast<uint8_t>(rows[lo * row_bytes]) + static_cast<uint8_t>(rows[last * row_bytes]);
      if (reach.leaf_bits != nullptr) touched += reach.leaf_bits[lo / 64];
      if (!has_few_leaves(task.node_lo[beam], task.node_hi[beam])) touched += starts[lo / 64];
    }
    keep(touched);
  }

  // One beam's normalizer, and where it has a mask its groups' maxima.
  void sum(uint32_t beam) const {
    // The live children's must be listed first.
    if (task.normalize == ESP_LIVE) return;
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
        sum = scan<true>(beam, values);
      } else if (task.token_table != nullptr) {
        scan<false>(beam, values);
        sum = sum_between(0, task.vocab_size);
      } else {
        sum = sum_between(0, task.token_offset) + scan<true>(beam, values) +
              sum_between(task.token_offset + code_count, task.vocab_size);
      }
    } else if (task.normalize == ESP_VOCABULARY) {
      sum = sum_between(0, task.vocab_size);
    } else {
      visit_normalized(task, row, code_count, nullptr, 0, nullptr,
                       [&](const float *values, size_t count, auto &&) { sum += sum_exp<false>(values, count, 0); });
    }
    task.normalizers[beam] = normalizer_of(sum, [&] { return careful_normalizer(task, row, code_count); });
  }

  // Offers the children of a beam one by one; logit_of(code). @return false where a code is none of the codebook's
  template <class LogitOf>
  bool offer_each(uint32_t beam, Best &best, LogitOf &&logit_of) const {
    const float beam_score = task.scores[beam];
    const float normalizer = task.normalizers[beam];
    bool is_fine = true;
    visit_children(beam, [&](uint32_t code, uint32_t lo, uint32_t hi) {
      if (code >= code_count) {
        is_fine = false;
        return;
      }
      const float logit = logit_of(code);
      const float found = beam_score + (logit - normalizer);
      if (found >= best.bound() && logit > kNegativeInfinity) best.push(found, beam, code, lo, hi);
    });
    return is_fine;
  }

  bool offer_each(uint32_t beam, Best &best) const {
    const Row row(task, beam);
    if (!row.is_plain() || task.token_table != nullptr) {
      return offer_each(beam, best, [&](uint32_t code) { return row.at(token_of(code)); });
    }
    const float *values = row.plain() + task.token_offset;
    return offer_each(beam, best, [values](uint32_t code) { return values[code]; });
  }

  // The same for all beams below the explicit levels, where most nodes are chains: one leaf, one child.
  template <class Code>
  bool offer_deep(Best &best) const {
    const Code *codes = static_cast<const Code *>(trie.rows) + task.depth;
    const bool is_plain = Row(task, 0).is_plain() && task.token_table == nullptr;
    const float *values = static_cast<const float *>(task.logits) + task.token_offset;
    for (uint32_t beam = 0; beam < task.beam_count; beam++, values += task.vocab_size) {
      const uint32_t leaf = task.node_lo[beam];
      if (!is_plain || task.node_hi[beam] - leaf > 1) {
        if (!offer_each(beam, best)) return false;
        continue;
      }
      if (reach.leaf_bits != nullptr && !is_set(reach.leaf_bits, leaf)) continue;
      if (!survives(reach, leaf, leaf + 1)) continue;
      const uint32_t code = codes[size_t{leaf} * trie.level_count];
      if (code >= code_count) return false;
      const float found = score(values[code], beam);
      if (found >= best.bound() && values[code] > kNegativeInfinity) best.push(found, beam, code, leaf, leaf + 1);
    }
    return true;
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

  // The second half: the M best children of all beams. @param count how many there are
  StepOutcome select(uint32_t &count, BadLogit &bad) const {
    count = 0;
    Best best(scratch.candidates, task.beam_width);
    if (task.normalize != ESP_LIVE) {
      for (uint32_t beam = 0; beam < task.beam_count; beam++) {
        if (task.normalizers[beam] == task.normalizers[beam]) continue;
        bad = find_bad_logit(task, beam, code_count);
        return StepOutcome::kBadLogit;
      }
      if (task.depth < 2) best.raise_bound(bound());
    }
    if (task.depth > 1) bring_deep();
    if (task.depth > 1 && task.normalize != ESP_LIVE) {
      if (!(trie.is_wide ? offer_deep<uint32_t>(best) : offer_deep<uint16_t>(best))) return StepOutcome::kBadTrie;
    } else {
      for (uint32_t beam = 0; beam < task.beam_count; beam++) {
        if (task.normalize == ESP_LIVE) {
          const StepOutcome outcome = offer_live(beam, best, bad);
          if (outcome != StepOutcome::kDone) return outcome;
        } else if (is_masked(beam)) {
          offer(beam, best);
        } else if (!offer_each(beam, best)) {
          return StepOutcome::kBadTrie;
        }
      }
    }
    best.keep_best();
    return write(best, count) ? StepOutcome::kDone : StepOutcome::kBadTrie;
  }

  bool write(const Best &best, uint32_t &count) const {
    uint16_t order[ESP_MAX_BEAM_WIDTH];
    best.rank(order);
    count = best.count();
    for (uint32_t rank = 0; rank < count; rank++) {
      const uint32_t index = order[rank];
      task.out_scores[rank] = score_of(best.key(index));
      task.out_parents[rank] = best.beam(index);
      task.out_codes[rank] = best.code(index);
      task.out_lo[rank] = best.lo(index);
      task.out_hi[rank] = best.hi(index);
    }
    return task.depth > 1 || find_children(count);
  }

  // Replaces node numbers that children of masked rows have instead of ranges.
  bool find_children(uint32_t count) const {
    const esp_top_level &level = trie.top_levels[task.depth];
    for (uint32_t child = 0; child < count; child++) {
      if (task.out_hi[child] != 0) continue;
      task.out_lo[child] = node_of(task.out_parents[child], task.out_codes[child]);
      if (task.out_lo[child] >= level.node_count) return false;
    }
    for (uint32_t child = 0; child < count; child++) {
      if (task.out_hi[child] != 0) continue;
      const uint32_t *start = level.leaf_start + task.out_lo[child];
      task.out_lo[child] = start[0];
      task.out_hi[child] = start[1];
    }
    return true;
  }
};

// Beams [from, to); false where one is no node of the trie.
inline bool prepare_beams(const StepTask &task, const StepScratch &scratch, uint32_t from, uint32_t to) {
  const Step step(task, scratch);
  if (!step.enter(from, to)) return false;
  for (uint32_t beam = from; beam < to; beam++) step.sum(beam);
  return true;
}

inline StepOutcome select_children(const StepTask &task, const StepScratch &scratch, uint32_t &count, BadLogit &bad) {
  return Step(task, scratch).select(count, bad);
}

}  // namespace
}  // namespace espalier
