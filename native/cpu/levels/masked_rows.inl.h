// Beams whose children have a mask: the pass that sums their logits also keeps the largest logit of each group of
// codes, so that only groups that reach the bound of the best are looked at again. Exact: nothing is cut that could
// win.
#pragma once

#include "best.inl.h"
#include "step_view.inl.h"

namespace espalier {
namespace {

struct MaskedRows : StepView {
  using StepView::StepView;

  float *maxima_of(uint32_t beam) const { return scratch.group_maxima + size_t{beam} * word_count * kLanes; }

  // Lists the live children of beams that have few, and brings the masks of the others. Everything lies elsewhere in
  // memory, so that all of it is asked for before any is waited for.
  void find_live(uint32_t from, uint32_t to) const {
    uint64_t touched = 0;
    for (uint32_t beam = from; beam < to && reach.node_bits != nullptr; beam++) {
      if (is_masked(beam)) touched += bring_node_bits(scratch.parents[beam]);
    }
    for (uint32_t beam = from; beam < to; beam++) {
      if (is_masked(beam)) touched += find_live(beam);
    }
    keep(touched);
  }

  // Finds the mask of a beam's live children: the trie's own where nothing is kept from it.
  void find_mask(uint32_t beam) const {
    LiveChildren &live = scratch.live[beam];
    if (task.depth == 0) {
      live.mask = reach.root_mask;
      return;
    }
    const uint32_t parent = scratch.parents[beam];
    live.mask = trie.mask_bits + size_t{reach.roots.mask_of_node[parent]} * word_count;
    const uint32_t first = trie.top_levels[0].first_child[parent];
    const uint32_t end = trie.top_levels[0].first_child[parent + 1];
    const uint32_t dead = lower_bound(reach.dead_nodes, reach.dead_node_count, first);
    const bool has_dead = dead < reach.dead_node_count && reach.dead_nodes[dead] < end;
    if (reach.node_bits == nullptr && !has_dead) return;
    uint64_t *mask = scratch.masks + size_t{beam} * word_count;
    if (reach.node_bits == nullptr) memcpy(mask, live.mask, word_count * sizeof(uint64_t));
    else keep_live(live.mask, first, end, mask);
    if (has_dead) clear_dead(dead, end, mask);
    live.mask = mask;
  }

  // The sum of exp over the level's logits of a row that is compared; keeps the maxima of its groups. Without kSums
  // just that.
  template <bool kSums>
  double scan(uint32_t beam, const float *values) const {
    return has_live_maxima(beam) ? scan_row<kSums, true>(beam, values) : scan_row<kSums, false>(beam, values);
  }

  // Logits by code, converted into scratch where they can't be read where they lie.
  const float *values_of(const Row &row) const {
    if (row.is_plain() && task.token_table == nullptr) return row.plain() + task.token_offset;
    convert(row, 0, code_count, scratch.values);
    return scratch.values;
  }

  // Whether a masked beam's few children are offered one by one.
  bool is_listed(uint32_t beam) const { return task.depth == 1 && scratch.live[beam].count <= kListed; }

  // Offers the live children of a beam that reach the bound.
  void offer_masked(uint32_t beam, Best &best) const {
    if (task.normalizers[beam] == kNegativeInfinity) return;
    const Row row(task, beam);
    if (is_listed(beam)) {
      const uint32_t *nodes = scratch.listed + size_t{beam} * kListed;
      for (uint32_t index = 0; index < scratch.live[beam].count; index++) {
        const uint32_t code = code_of(trie.top_levels[1].codes, trie.is_wide, nodes[index]);
        if (code < code_count) offer_child(beam, code, row.at(token_of(code)), nodes[index] + 1, best);
      }
      return;
    }
    if (best.bound() == kNegativeInfinity) best.raise_bound(bound_of_groups(beam));
    const float *maxima = maxima_of(beam);
    for (uint32_t block = 0; block < word_count; block += kBlockChunks) {
      const Lanes threshold = splat(threshold_of(best.bound(), beam));
      const uint32_t end = block + kBlockChunks < word_count ? block + kBlockChunks : word_count;
      // Which groups these are is anybody's guess: no branches.
      uint64_t hot = 0;
      for (uint32_t chunk = block; chunk < end; chunk++) {
        hot |= uint64_t{at_least(load(maxima + chunk * kLanes), threshold) != 0} << (chunk - block);
      }
      for (; hot != 0; hot &= hot - 1) {
        const uint32_t chunk = block + static_cast<uint32_t>(__builtin_ctzll(hot));
        float buffer[kChunkCodes];
        offer_hits(beam, chunk, chunk_of(row, chunk, buffer), threshold, best);
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

 private:
  static constexpr uint32_t kParts = kChunkCodes / kLanes;
  static constexpr uint32_t kBlockChunks = 64;
  // Beams whose groups make a bound have so many children for each that is kept: more would raise it little.
  static constexpr uint32_t kBoundChildren = 64;

  uint64_t find_live(uint32_t beam) const {
    const uint32_t parent = scratch.parents[beam];
    const uint32_t first = trie.top_levels[0].first_child[parent];
    const uint32_t end = trie.top_levels[0].first_child[parent + 1];
    uint32_t &count = scratch.live[beam].count;
    uint32_t *nodes = scratch.listed + size_t{beam} * kListed;
    count = reach.node_bits == nullptr ? list_all(first, end, nodes) : list_live(first, end, nodes);
    uint64_t touched = 0;
    if (is_listed(beam)) {
      for (uint32_t index = 0; index < count; index++) touched += code_of(trie.top_levels[1].codes, trie.is_wide, nodes[index]);
      return touched;
    }
    count = reach.node_bits == nullptr ? end - first : count_node_bits(first, end);
    const uint64_t *mask = trie.mask_bits + size_t{reach.roots.mask_of_node[parent]} * word_count;
    for (uint32_t word = 0; word < word_count; word += kLineWords) touched += mask[word];
    return touched;
  }

  bool is_dead(uint32_t node) const {
    const uint32_t at = lower_bound(reach.dead_nodes, reach.dead_node_count, node);
    return at < reach.dead_node_count && reach.dead_nodes[at] == node;
  }

  // Lists the live ones of nodes [first, end). @return how many; more than kListed where these were too many
  uint32_t list_all(uint32_t first, uint32_t end, uint32_t *nodes) const {
    uint32_t count = 0;
    if (first < end && end - first > kListed) return kListed + 1;
    for (uint32_t node = first; node < end; node++) {
      if (!is_dead(node)) nodes[count++] = node;
    }
    return count;
  }

  // The same by the set's bits.
  uint32_t list_live(uint32_t first, uint32_t end, uint32_t *nodes) const {
    if (first >= end) return 0;
    const uint32_t last_word = (end - 1) / 64;
    uint32_t count = 0;
    for (uint32_t block = first / 64; block <= last_word; block += 64) {
      const uint32_t words = last_word - block < 64 ? last_word - block + 1 : 64;
      // Which words have bits is anybody's guess: only those are branched to.
      uint64_t filled = 0;
      for (uint32_t word = 0; word < words; word++) filled |= uint64_t{reach.node_bits[block + word] != 0} << word;
      // Two of them may have others' bits only.
      if (__builtin_popcountll(filled) > static_cast<int>(kListed + 2)) return kListed + 1;
      for (; filled != 0; filled &= filled - 1) {
        const uint32_t word = block + static_cast<uint32_t>(__builtin_ctzll(filled));
        uint64_t left = reach.node_bits[word];
        if (word == first / 64) left &= ~low_bits(first % 64);
        if (word == last_word) left &= low_bits((end - 1) % 64 + 1);
        for (; left != 0; left &= left - 1) {
          const uint32_t node = word * 64 + static_cast<uint32_t>(__builtin_ctzll(left));
          if (is_dead(node)) continue;
          if (count == kListed) return kListed + 1;
          nodes[count++] = node;
        }
      }
    }
    return count;
  }

  uint64_t bring_node_bits(uint32_t parent) const {
    const uint32_t *first_child = trie.top_levels[0].first_child + parent;
    const uint64_t end = (uint64_t{first_child[1]} + 63) / 64;
    uint64_t touched = 0;
    for (uint64_t word = first_child[0] / 64; word < end; word += kLineWords) touched += reach.node_bits[word];
    return touched;
  }

  // A few too many where the words have others' bits.
  uint32_t count_node_bits(uint32_t first, uint32_t end) const {
    uint64_t count = 0;
    for (uint32_t word = first / 64; uint64_t{word} * 64 < end; word++) {
      count += static_cast<uint64_t>(__builtin_popcountll(reach.node_bits[word]));
    }
    return static_cast<uint32_t>(count);
  }

  // Writes those of a level-0 node's children [first, end) that the set keeps.
  void keep_live(const uint64_t *children, uint32_t first, uint32_t end, uint64_t *mask) const {
    const uint64_t words = (uint64_t{trie.top_levels[1].node_count} + 63) / 64;
    uint64_t node = first;
    // Most nodes are far from the end of the bits. A damaged trie's masks may have more children than there are nodes.
    const bool is_near_end = (uint64_t{first} + uint64_t{word_count} * 64) / 64 + 2 > words;
    for (uint32_t word = 0; word < word_count; word++) {
      uint64_t bits;
      if (!is_near_end) bits = two_words_at(reach.node_bits, node);
      else bits = node < end ? bits_at(reach.node_bits, words, node) : 0;
      mask[word] = scatter_bits(bits, children[word]);
      node += static_cast<uint64_t>(__builtin_popcountll(children[word]));
    }
  }

  void clear_dead(uint32_t dead, uint32_t end, uint64_t *mask) const {
    for (; dead < reach.dead_node_count && reach.dead_nodes[dead] < end; dead++) {
      const uint32_t code = code_of(trie.top_levels[1].codes, trie.is_wide, reach.dead_nodes[dead]);
      if (code < code_count) mask[code / 64] &= ~(uint64_t{1} << (code % 64));
    }
  }

  template <bool kSums, bool kMasked>
  double scan_row(uint32_t beam, const float *values) const {
    const uint64_t *mask = scratch.live[beam].mask;
    float *maxima = maxima_of(beam);
    const uint32_t whole = code_count / kChunkCodes;
    double sum = 0;
    for (uint32_t from = 0; from < whole; from += kBlock / kChunkCodes) {
      const uint32_t to = from + kBlock / kChunkCodes < whole ? from + kBlock / kChunkCodes : whole;
      sum += scan_chunks<kSums, kMasked>(values + size_t{from} * kChunkCodes, to - from, mask + from,
                                         maxima + size_t{from} * kLanes);
    }
    if (whole == word_count) return sum;
    float padded[kChunkCodes];
    return sum + scan_chunks<kSums, kMasked>(chunk_of(values, whole, padded), 1, mask + whole, maxima + size_t{whole} * kLanes);
  }

  template <bool kSums, bool kMasked>
  static double scan_chunks(const float *values, uint32_t count, const uint64_t *mask, float *maxima) {
    Lanes sums[kParts] = {splat(0), splat(0), splat(0), splat(0)};
    for (uint32_t chunk = 0; chunk < count; chunk++, values += kChunkCodes, maxima += kLanes) {
      Lanes maximum = splat(kNegativeInfinity);
      for (uint32_t part = 0; part < kParts; part++) {
        prefetch(values + part * kLanes + kAhead);
        const Lanes lanes = load(values + part * kLanes);
        if (kSums) sums[part] = add(sums[part], exponential(lanes));
        if (kMasked) maximum = max_where(static_cast<uint16_t>(mask[chunk] >> (part * kLanes)), maximum, lanes);
        else maximum = part == 0 ? lanes : max(maximum, lanes);
      }
      store(maxima, maximum);
    }
    return kSums ? sum_of_four(sums) : 0;
  }

  // Codes [from, from + count) converted.
  void convert(const Row &row, uint32_t from, uint32_t count, float *to) const {
    if (task.token_table == nullptr) return row.convert(task.token_offset + from, count, to);
    for (uint32_t code = 0; code < count; code++) to[code] = row.at(task.token_table[from + code]);
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

  const float *chunk_of(const Row &row, uint32_t chunk, float *buffer) const {
    const uint32_t from = chunk * kChunkCodes;
    const uint32_t count = from + kChunkCodes <= code_count ? kChunkCodes : code_count - from;
    if (count == kChunkCodes && row.is_plain() && task.token_table == nullptr) return row.plain() + task.token_offset + from;
    for (uint32_t code = count; code < kChunkCodes; code++) buffer[code] = kNegativeInfinity;
    convert(row, from, count, buffer);
    return buffer;
  }

  // Whether the groups' maxima are of live codes only. Where most codes are live it costs more to look at each than to
  // look again at groups that only seem to reach the bound.
  bool has_live_maxima(uint32_t beam) const { return scratch.live[beam].count < code_count / 4; }

  Lanes live_maxima(uint32_t beam, const Row &row, uint32_t chunk) const {
    if (has_live_maxima(beam)) return load(maxima_of(beam) + chunk * kLanes);
    const uint64_t mask = scratch.live[beam].mask[chunk];
    float buffer[kChunkCodes];
    const float *logits = chunk_of(row, chunk, buffer);
    Lanes maximum = splat(kNegativeInfinity);
    for (uint32_t part = 0; part < kParts; part++) {
      maximum = max_where(static_cast<uint16_t>(mask >> (part * kLanes)), maximum, load(logits + part * kLanes));
    }
    return maximum;
  }

  // The M-th best of what the groups of some beams, this one the first, reach: M children reach it for certain.
  // -infinity where there are fewer groups.
  float bound_of_groups(uint32_t first) const {
    const Lanes dead = splat(kNegativeInfinity);
    const uint64_t enough = uint64_t{task.beam_width} * kBoundChildren;
    uint32_t count = 0;
    uint32_t finite_count = 0;
    uint64_t children = 0;
    uint32_t beams = 0;
    for (uint32_t beam = first; beam < task.beam_count && beams < kBoundBeams && children < enough; beam++) {
      if (!is_masked(beam) || is_listed(beam)) continue;
      const Row row(task, beam);
      children += scratch.live[beam].count;
      beams++;
      for (uint32_t chunk = 0; chunk < word_count; chunk++, count += kLanes) {
        const Lanes maximum = live_maxima(beam, row, chunk);
        // A row of only -infinity has no score at all, and a finite logit's score may be too low for a float.
        const Lanes found = max_where(static_cast<uint16_t>(above(maximum, dead)), dead, scores(maximum, beam));
        finite_count += static_cast<uint32_t>(__builtin_popcount(above(found, dead)));
        float lanes[kLanes];
        store(lanes, found);
        for (uint32_t lane = 0; lane < kLanes; lane++) scratch.group_keys[count + lane] = order_key(lanes[lane]);
      }
    }
    if (finite_count < task.beam_width) return kNegativeInfinity;
    // The exact one would cost twice as many passes, and save few candidates.
    return score_of(key_of_rank(scratch.group_keys, count, task.beam_width, task.beam_width / 8, kDeadKey));
  }

  Lanes scores(Lanes logits, uint32_t beam) const {
    return add(sub(logits, splat(task.normalizers[beam])), splat(task.scores[beam]));
  }

  // A logit that every child of the beam has at least whose score reaches the bound: twice over, and more, what two
  // roundings of the score can be off.
  float threshold_of(float bound, uint32_t beam) const {
    if (bound == kNegativeInfinity) return kNegativeInfinity;
    const double gap = static_cast<double>(bound) - task.scores[beam];
    const double slack = 0x1p-22 * (std::fabs(bound) + std::fabs(gap));
    // Beams of score -infinity have no children above the bound.
    if (!(slack < std::numeric_limits<double>::infinity())) return kInfinity;
    const double exact = gap + task.normalizers[beam] - slack;
    return static_cast<float>(exact - 0x1p-22 * std::fabs(exact) - std::numeric_limits<float>::min());
  }

  // Offers what has a logit of at least the threshold.
  void offer_hits(uint32_t beam, uint32_t chunk, const float *logits, Lanes threshold, Best &best) const {
    uint64_t hits = 0;
    for (uint32_t part = 0; part < kParts; part++) {
      hits |= uint64_t{at_least(load(logits + part * kLanes), threshold)} << (part * kLanes);
    }
    for (hits &= scratch.live[beam].mask[chunk]; hits != 0; hits &= hits - 1) {
      const uint32_t code = static_cast<uint32_t>(__builtin_ctzll(hits));
      offer_child(beam, chunk * kChunkCodes + code, logits[code], 0, best);
    }
  }

  // @param node_after the child's number among the nodes of its level, and one more; 0 where it isn't known yet
  void offer_child(uint32_t beam, uint32_t code, float logit, uint32_t node_after, Best &best) const {
    const float found = score(logit, beam);
    if (found >= best.bound() && logit > kNegativeInfinity) best.push(found, beam, code, node_after, 0);
  }
};

}  // namespace
}  // namespace espalier
