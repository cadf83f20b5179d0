// One request's decode step: the logits of all beams are summed first, then the best of their children found. What
// beams lead to lies anywhere in gigabytes, so that all of it is brought at once before any is read in earnest.
#pragma once

#include "masked_rows.inl.h"

namespace espalier {
namespace {

struct Step : MaskedRows {
  using MaskedRows::MaskedRows;

  // Finds beams [from, to) among the explicit nodes. @return false where one is no node
  bool enter(uint32_t from, uint32_t to) const {
    if (task.depth > 1) return true;
    if (task.depth == 0) {
      uint64_t count = 0;
      for (uint32_t word = 0; word < word_count; word++) count += static_cast<uint64_t>(__builtin_popcountll(reach.root_mask[word]));
      scratch.live[0].count = static_cast<uint32_t>(count);
      return task.beam_count == 0 || (task.node_lo[0] == 0 && task.node_hi[0] == trie.leaf_count);
    }
    for (uint32_t beam = from; beam < to; beam++) {
      scratch.parents[beam] = find_root_node(reach, task.node_lo[beam], task.node_hi[beam]);
      if (scratch.parents[beam] == UINT32_MAX) return false;
    }
    if (task.normalize != ESP_LIVE) find_live(from, to);
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
      if (reach.leaf_bits != nullptr && last > lo) touched += reach.leaf_bits[lo / 64];
      if (!has_few_leaves(task.node_lo[beam], task.node_hi[beam])) touched += starts[lo / 64];
    }
    keep(touched);
  }

  // One beam's normalizer, and where its row is compared its groups' maxima. That of live children must wait for their
  // list.
  void sum(uint32_t beam) const {
    if (task.normalize == ESP_LIVE) return;
    const Row row(task, beam);
    const double sum = is_masked(beam) && !is_listed(beam) ? compared_sum(beam, row) : plain_sum(row);
    task.normalizers[beam] = normalizer_of(sum, [&] { return careful_normalizer(task, row, code_count); });
  }

  double plain_sum(const Row &row) const {
    double sum = 0;
    visit_normalized(task, row, code_count, nullptr, 0, nullptr,
                     [&](const float *values, size_t count, auto &&) { sum += sum_exp<false>(values, count, 0); });
    return sum;
  }

  double compared_sum(uint32_t beam, const Row &row) const {
    find_mask(beam);
    const float *values = values_of(row);
    if (task.normalize == ESP_LEVEL_TOKENS) return scan<true>(beam, values);
    if (task.token_table != nullptr) {
      scan<false>(beam, values);
      return plain_sum(row);
    }
    double sum = scan<true>(beam, values);
    const auto add_all = [&](uint32_t from, uint32_t to) {
      row.visit(from, to, [&](const float *some, size_t count, uint32_t) { sum += sum_exp<false>(some, count, 0); });
    };
    add_all(0, task.token_offset);
    add_all(task.token_offset + code_count, task.vocab_size);
    return sum;
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

  // The same of a node of one leaf below the explicit levels: most are, and lead to one child. A beam is a live node, so
  // that its only leaf is: the set's bits, which would come from memory, need not be asked again.
  template <class Code>
  bool offer_chain(uint32_t beam, Best &best) const {
    const uint32_t leaf = task.node_lo[beam];
    if (!survives(reach, leaf, leaf + 1)) return true;
    const uint32_t code = static_cast<const Code *>(trie.rows)[size_t{leaf} * trie.level_count + task.depth];
    if (code >= code_count) return false;
    const float logit = Row(task, beam).at(token_of(code));
    const float found = score(logit, beam);
    if (found >= best.bound() && logit > kNegativeInfinity) best.push(found, beam, code, leaf, leaf + 1);
    return true;
  }

  bool is_chain(uint32_t beam) const { return task.depth > 1 && task.node_hi[beam] - task.node_lo[beam] == 1; }

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

  StepOutcome offer(uint32_t beam, Best &best, BadLogit &bad) const {
    if (task.normalize == ESP_LIVE) return offer_live(beam, best, bad);
    if (is_masked(beam)) {
      offer_masked(beam, best);
      return StepOutcome::kDone;
    }
    bool is_fine;
    if (is_chain(beam)) is_fine = trie.is_wide ? offer_chain<uint32_t>(beam, best) : offer_chain<uint16_t>(beam, best);
    else is_fine = offer_each(beam, best);
    return is_fine ? StepOutcome::kDone : StepOutcome::kBadTrie;
  }

  bool is_bad(uint32_t beam, BadLogit &bad) const {
    if (task.normalize == ESP_LIVE || task.normalizers[beam] == task.normalizers[beam]) return false;
    bad = find_bad_logit(task, beam, code_count);
    return true;
  }

  // The second half: the M best children of all beams. @param count how many there are
  StepOutcome select(uint32_t &count, BadLogit &bad) const {
    if (task.depth > 1) bring_deep();
    return best_of([](uint32_t) {}, count, bad);
  }

  // Both halves. Children that are looked up in the row one by one find it in the cache as long as no other was read.
  StepOutcome run(uint32_t &count, BadLogit &bad) const {
    if (!enter(0, task.beam_count)) return StepOutcome::kBadTrie;
    if (is_looked_up()) return best_of([&](uint32_t beam) { sum(beam); }, count, bad);
    for (uint32_t beam = 0; beam < task.beam_count; beam++) sum(beam);
    return select(count, bad);
  }

  bool is_looked_up() const {
    if (task.depth != 1) return false;
    for (uint32_t beam = 0; beam < task.beam_count; beam++) {
      if (is_masked(beam)) return false;
    }
    return true;
  }

  // @param before is called with each beam before its children are offered
  template <class Before>
  StepOutcome best_of(Before &&before, uint32_t &count, BadLogit &bad) const {
    count = 0;
    Best best(scratch.candidates, task.beam_width);
    for (uint32_t beam = 0; beam < task.beam_count; beam++) {
      before(beam);
      if (is_bad(beam, bad)) return StepOutcome::kBadLogit;
      const StepOutcome outcome = offer(beam, best, bad);
      if (outcome != StepOutcome::kDone) return outcome;
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
      task.out_lo[child] = task.out_lo[child] > 0 ? task.out_lo[child] - 1 : node_of(task.out_parents[child], task.out_codes[child]);
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

inline StepOutcome step_request(const StepTask &task, const StepScratch &scratch, uint32_t &count, BadLogit &bad) {
  return Step(task, scratch).run(count, bad);
}

inline StepOutcome select_children(const StepTask &task, const StepScratch &scratch, uint32_t &count, BadLogit &bad) {
  return Step(task, scratch).select(count, bad);
}

}  // namespace
}  // namespace espalier
