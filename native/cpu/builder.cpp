// Building a static trie: rows → keys in buckets → sorted keys → the trie's arrays. Keys that don't fit 128 bits
// are sorted by a few levels at a time (sort_wide), everything else is the same.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <mutex>

#include "levels/level.h"
#include "trie.h"

namespace espalier {

namespace {

// Below this the keys fit the cache, and buckets are not worth their overhead.
constexpr uint64_t kCachedKeys = 1u << 15;
// Rows between two looks at the progress callback.
constexpr uint64_t kProgressRows = 1u << 18;

uint32_t size_index(esp_dtype dtype) {
  switch (dtype) {
    case ESP_U8:
      return 0;
    case ESP_U16:
      return 1;
    case ESP_U32:
    case ESP_I32:
      return 2;
    case ESP_I64:
      return 3;
  }
  fail(ESP_STATUS_SHAPE, "unknown dtype %d", static_cast<int>(dtype));
}

// Passes progress on, one thread at a time, and throws when the build is cancelled.
class Progress {
 public:
  explicit Progress(const esp_build_options &options) : options_(options) {}

  void begin(esp_phase phase, uint64_t total) {
    std::lock_guard<std::mutex> lock(mutex_);
    phase_ = phase;
    total_ = total;
    done_ = 0;
    report();
  }

  void advance(uint64_t count) {
    std::lock_guard<std::mutex> lock(mutex_);
    done_ += count;
    report();
  }

 private:
  void report() {
    if (options_.progress == nullptr) return;
    const double fraction = total_ == 0 ? 0.0 : static_cast<double>(done_) / static_cast<double>(total_);
    if (is_cancelled_ || options_.progress(options_.user, phase_, fraction) != 0) {
      is_cancelled_ = true;
      fail(ESP_STATUS_CANCELLED, "the build was cancelled");
    }
  }

  const esp_build_options &options_;
  std::mutex mutex_;
  esp_phase phase_ = ESP_PHASE_READ;
  uint64_t total_ = 0;
  uint64_t done_ = 0;
  bool is_cancelled_ = false;
};

struct Build {
  const esp_rows &rows;
  const esp_build_options &options;
  const LevelKernels &kernels;
  const LevelKernels::Rows &row_kernels;
  Progress &progress;
  uint32_t threads;
};

[[noreturn]] void fail_bad_code(const esp_rows &rows, const BadCode &bad) {
  const uint64_t index = bad.row * rows.level_count + bad.level;
  long long code = 0;
  switch (rows.dtype) {
    case ESP_U8:
      code = static_cast<const uint8_t *>(rows.codes)[index];
      break;
    case ESP_U16:
      code = static_cast<const uint16_t *>(rows.codes)[index];
      break;
    case ESP_U32:
      code = static_cast<const uint32_t *>(rows.codes)[index];
      break;
    case ESP_I32:
      code = static_cast<const int32_t *>(rows.codes)[index];
      break;
    case ESP_I64:
      code = static_cast<const int64_t *>(rows.codes)[index];
      break;
  }
  fail(ESP_STATUS_SHAPE, "row %llu, level %u: code %lld must be %s %u", static_cast<unsigned long long>(bad.row),
       bad.level, code, code < 0 ? "from 0 to" : "< codebook size",
       code < 0 ? rows.codebook_sizes[bad.level] - 1 : rows.codebook_sizes[bad.level]);
}

// A queue of stretches of keys that still need sorting; a stretch may put smaller ones back.
struct Stretch {
  uint64_t begin;
  uint64_t count;
};

class Stretches {
 public:
  void push(Stretch stretch) {
    std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(stretch);
  }

  // False when nothing is left; stretches that others still work on are theirs to finish.
  bool pop(Stretch &stretch) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (waiting_.empty()) return false;
    stretch = waiting_.front();
    waiting_.pop_front();
    return true;
  }

 private:
  std::mutex mutex_;
  std::deque<Stretch> waiting_;
};

uint32_t highest_differing_bit(const Key *keys, uint64_t count) {
  Key difference = 0;
  for (uint64_t index = 1; index < count; index++) difference |= keys[index] ^ keys[0];
  const uint64_t high = static_cast<uint64_t>(difference >> 64);
  if (high != 0) return 128 - static_cast<uint32_t>(__builtin_clzll(high));
  const uint64_t low = static_cast<uint64_t>(difference);
  return low == 0 ? 0 : 64 - static_cast<uint32_t>(__builtin_clzll(low));
}

// Sorts the keys in each of the given stretches.
void sort_stretches(const Build &build, Key *keys, Stretches &stretches) {
  parallel(build.threads, [&](uint32_t) {
    const Memory scratch = Memory::allocate(kCachedKeys * sizeof(Key));
    uint64_t sorted = 0;
    Stretch stretch;
    while (stretches.pop(stretch)) {
      Key *begin = keys + stretch.begin;
      if (stretch.count <= kCachedKeys) {
        build.kernels.sort(begin, stretch.count, scratch.as<Key>());
        sorted += stretch.count;
        if (sorted >= kProgressRows) {
          build.progress.advance(sorted);
          sorted = 0;
        }
        continue;
      }
      // In place: a second array for the largest bucket could be as large as all keys.
      const uint32_t bits = highest_differing_bit(begin, stretch.count);
      if (bits == 0) continue;
      const uint32_t width = std::min(8u, bits);
      uint64_t ends[256];
      build.kernels.partition(begin, stretch.count, bits - width, width, ends);
      uint64_t start = 0;
      for (uint32_t digit = 0; digit < 1u << width; digit++) {
        if (ends[digit] - start > 1) stretches.push({stretch.begin + start, ends[digit] - start});
        start = ends[digit];
      }
    }
    build.progress.advance(sorted);
  });
}

// Rows whose SID and number fit a key: the keys in order.
Memory sort_narrow(const Build &build, const KeyLayout &layout) {
  const uint64_t row_count = build.rows.row_count;
  const uint32_t threads = build.threads;
  const auto part = [&](uint32_t thread) { return row_count * thread / threads; };
  uint32_t digit_bits = 0;
  while (digit_bits < kDigitBits && digit_bits < layout.sid_bits && row_count >> digit_bits > kCachedKeys / 4) digit_bits++;

  const uint32_t digits = 1u << digit_bits;
  std::vector<uint64_t> next(uint64_t{threads} * digits, 0);
  std::vector<BadCode> bad(threads);
  build.progress.begin(ESP_PHASE_READ, 2 * row_count);
  parallel(threads, [&](uint32_t thread) {
    for (uint64_t from = part(thread); from < part(thread + 1); from += kProgressRows) {
      const uint64_t to = std::min(from + kProgressRows, part(thread + 1));
      bad[thread] = build.row_kernels.count(build.rows.codes, from, to, layout, digit_bits, &next[uint64_t{thread} * digits]);
      if (bad[thread].row < to) return;
      build.progress.advance(to - from);
    }
    bad[thread] = {row_count, 0};
  });
  for (const BadCode &code : bad) {
    if (code.row < row_count) fail_bad_code(build.rows, code);
  }

  Stretches stretches;
  uint64_t start = 0;
  for (uint32_t digit = 0; digit < digits; digit++) {
    const uint64_t bucket = start;
    for (uint32_t thread = 0; thread < threads; thread++) {
      uint64_t &count = next[uint64_t{thread} * digits + digit];
      const uint64_t size = count;
      count = start;
      start += size;
    }
    if (start - bucket > 1) stretches.push({bucket, start - bucket});
  }

  Memory keys = Memory::allocate(row_count * sizeof(Key));
  parallel(threads, [&](uint32_t thread) {
    const Memory buffers = Memory::allocate(uint64_t{digits} * 4 * sizeof(Key));
    build.row_kernels.scatter(build.rows.codes, row_count, part(thread), part(thread + 1), layout, digit_bits,
                              &next[uint64_t{thread} * digits], keys.as<Key>(), buffers.as<Key>());
    build.progress.advance(part(thread + 1) - part(thread));
  });
  build.progress.begin(ESP_PHASE_SORT, row_count);
  sort_stretches(build, keys.as<Key>(), stretches);
  return keys;
}

// Where each thread's stretch of sorted keys begins: at a leaf, so that no leaf is split.
std::vector<uint64_t> leaf_aligned_parts(const Key *keys, uint64_t count, uint32_t threads, const KeyLayout &layout) {
  std::vector<uint64_t> parts(threads + 1, count);
  parts[0] = 0;
  for (uint32_t thread = 1; thread < threads; thread++) {
    uint64_t at = std::max(count * thread / threads, parts[thread - 1]);
    while (at > 0 && at < count && layout.same_sid(keys[at - 1], keys[at])) at++;
    parts[thread] = at;
  }
  return parts;
}

// Allocates the arrays of a trie with so many leaves and nodes, and those that say where the rows went.
// @param keys  taken over for the rows where each row is as long as its key and in its place; else left alone
EmitTarget allocate_arrays(esp_trie &trie, const esp_rows &rows, const EmitCounts &totals, Memory *keys) {
  esp_trie_arrays &arrays = trie.arrays;
  arrays.leaf_count = static_cast<uint32_t>(totals.leaves);
  arrays.level_count = rows.level_count;
  std::copy_n(rows.codebook_sizes, rows.level_count, arrays.codebook_sizes);
  arrays.is_wide = is_wide(rows.level_count, rows.codebook_sizes);
  const uint64_t code_bytes = arrays.is_wide ? 4 : 2;

  EmitTarget target = {};
  const bool in_place =
      keys != nullptr && rows.level_count * code_bytes == sizeof(Key) && totals.leaves == rows.row_count;
  if (in_place) {
    target.rows = keys->as<char>();
    trie.memories.push_back(std::move(*keys));
  } else {
    target.rows = trie.allocate<char>(totals.leaves * rows.level_count * code_bytes);
  }
  arrays.rows = target.rows;
  for (uint32_t level = 0; level < rows.level_count; level++) {
    arrays.new_prefix[level] = target.new_prefix[level] = trie.allocate<uint64_t>(words_for(totals.leaves + 1));
  }
  for (uint32_t level = 0; level < std::min(rows.level_count, 2u); level++) {
    esp_top_level &top = arrays.top_levels[level];
    top.node_count = static_cast<uint32_t>(totals.nodes[level]);
    top.codes = target.codes[level] = trie.allocate<char>(totals.nodes[level] * code_bytes);
    top.leaf_start = target.leaf_start[level] = trie.allocate<uint32_t>(totals.nodes[level] + 1);
    target.leaf_start[level][totals.nodes[level]] = arrays.leaf_count;
  }
  if (rows.level_count > 1) {
    arrays.top_levels[0].first_child = target.first_child = trie.allocate<uint32_t>(totals.nodes[0] + 1);
    target.first_child[totals.nodes[0]] = arrays.top_levels[1].node_count;
  }
  trie.built.row_count = rows.row_count;
  trie.built.sorted_rows = target.sorted_rows = trie.allocate<uint32_t>(rows.row_count);
  trie.built.shared_count = static_cast<uint32_t>(totals.shared_leaves);
  trie.built.shared_leaves = target.shared_leaves = trie.allocate<uint32_t>(totals.shared_leaves);
  trie.built.shared_start = target.shared_start = trie.allocate<uint32_t>(totals.shared_leaves + 1);
  target.shared_start[totals.shared_leaves] = static_cast<uint32_t>(totals.shared_rows);
  return target;
}

void finish_prefixes(const EmitTarget &target, uint32_t level_count, uint64_t leaf_count) {
  for (uint32_t level = 0; level < level_count; level++) {
    target.new_prefix[level][leaf_count / 64] |= uint64_t{1} << (leaf_count % 64);
  }
}

EmitCounts operator+(const EmitCounts &a, const EmitCounts &b) {
  return {a.leaves + b.leaves,
          {a.nodes[0] + b.nodes[0], a.nodes[1] + b.nodes[1]},
          a.shared_leaves + b.shared_leaves,
          a.shared_rows + b.shared_rows};
}

void emit_narrow(const Build &build, const KeyLayout &layout, Memory keys, esp_trie &trie) {
  const uint64_t row_count = build.rows.row_count;
  Key *sorted = keys.as<Key>();
  const std::vector<uint64_t> parts = leaf_aligned_parts(sorted, row_count, build.threads, layout);
  std::vector<EmitCounts> positions(build.threads + 1);
  build.progress.begin(ESP_PHASE_WRITE, row_count);
  parallel(build.threads, [&](uint32_t thread) {
    positions[thread + 1] = build.kernels.count_emitted(sorted, parts[thread], parts[thread + 1], layout);
  });
  for (uint32_t thread = 0; thread < build.threads; thread++) positions[thread + 1] = positions[thread] + positions[thread + 1];
  const EmitCounts &totals = positions[build.threads];
  // Before any of them may be overwritten.
  std::vector<Key> before(build.threads, 0);
  for (uint32_t thread = 0; thread < build.threads; thread++) {
    if (parts[thread] > 0) before[thread] = sorted[parts[thread] - 1];
  }
  const EmitTarget target = allocate_arrays(trie, build.rows, totals, &keys);
  const bool in_place = target.rows == sorted;
  parallel(build.threads, [&](uint32_t thread) {
    // In pieces, so that keys go back to the system while the arrays grow: both together set the peak.
    EmitCounts position = positions[thread];
    for (uint64_t from = parts[thread]; from < parts[thread + 1];) {
      uint64_t to = std::min(from + kProgressRows, parts[thread + 1]);
      while (to < parts[thread + 1] && layout.same_sid(sorted[to - 1], sorted[to])) to++;
      build.kernels.emit[trie.arrays.is_wide ? 1 : 0](sorted, from, to, layout, position,
                                                       positions[thread + 1].leaves, before[thread], target);
      // Not the last key, by which this loop finds the end of the next piece.
      if (!in_place) Memory::discard(sorted + from, sorted + to - 1);
      build.progress.advance(to - from);
      from = to;
    }
  });
  finish_prefixes(target, build.rows.level_count, totals.leaves);
}

uint32_t code_of(const esp_rows &rows, uint64_t row, uint32_t level) {
  const uint64_t index = row * rows.level_count + level;
  switch (size_index(rows.dtype)) {
    case 0:
      return static_cast<const uint8_t *>(rows.codes)[index];
    case 1:
      return static_cast<const uint16_t *>(rows.codes)[index];
    case 2:
      return static_cast<const uint32_t *>(rows.codes)[index];
    default:
      return static_cast<uint32_t>(static_cast<const int64_t *>(rows.codes)[index]);
  }
}

// The levels of a SID in groups that each fit a key beside the row's number: where each group ends.
std::vector<uint32_t> key_groups(const esp_rows &rows, uint32_t row_bits) {
  std::vector<uint32_t> ends;
  uint32_t bits = 0;
  for (uint32_t level = 0; level < rows.level_count; level++) {
    const uint32_t more = KeyLayout::bits_for(rows.codebook_sizes[level] - 1);
    if (bits + more + row_bits > 128) {
      ends.push_back(level);
      bits = 0;
    }
    bits += more;
  }
  ends.push_back(rows.level_count);
  return ends;
}

// Rows whose SID is too wide for one key. They are sorted by their first levels; each run of rows that agree in
// those is sorted by the next levels, and so on. @param begins a bit where a sorted row differs from the one before
void sort_wide(const Build &build, const std::vector<uint32_t> &group_ends, uint32_t *order, uint64_t *begins) {
  const esp_rows &rows = build.rows;
  const uint64_t count = rows.row_count;
  const KeyLayout first(rows.codebook_sizes, rows.level_count, 0, group_ends[0]);
  build.progress.begin(ESP_PHASE_READ, count);
  uint64_t ignored = 0;
  const BadCode bad = build.row_kernels.count(rows.codes, 0, count, first, 0, &ignored);
  if (bad.row < count) fail_bad_code(rows, bad);

  const Memory keys_memory = Memory::allocate(count * sizeof(Key));
  const Memory scratch = Memory::allocate(kCachedKeys * sizeof(Key));
  Key *keys = keys_memory.as<Key>();
  for (uint64_t row = 0; row < count; row++) order[row] = static_cast<uint32_t>(row);
  begins[0] |= 1;
  for (size_t group = 0; group < group_ends.size(); group++) {
    const KeyLayout layout(rows.codebook_sizes, rows.level_count, group == 0 ? 0 : group_ends[group - 1], group_ends[group]);
    build.progress.begin(ESP_PHASE_SORT, count);
    for (uint64_t from = 0, to; from < count; from = to) {
      for (to = from + 1; to < count && (begins[to / 64] >> (to % 64) & 1) == 0;) to++;
      if (to - from > 1) {
        build.row_kernels.pack(rows.codes, count, order + from, to - from, layout, keys + from);
        if (to - from <= kCachedKeys) {
          build.kernels.sort(keys + from, to - from, scratch.as<Key>());
        } else {
          Stretches stretches;
          stretches.push({from, to - from});
          sort_stretches(build, keys, stretches);
        }
        for (uint64_t at = from; at < to; at++) {
          order[at] = layout.row_of(keys[at]);
          if (at > from && !layout.same_sid(keys[at - 1], keys[at])) begins[at / 64] |= uint64_t{1} << (at % 64);
        }
      }
    }
  }
}

void build_wide(const Build &build, const std::vector<uint32_t> &group_ends, esp_trie &trie) {
  const esp_rows &rows = build.rows;
  const Memory order_memory = Memory::allocate(rows.row_count * sizeof(uint32_t));
  const Memory begins_memory = Memory::allocate(words_for(rows.row_count) * sizeof(uint64_t));
  uint32_t *order = order_memory.as<uint32_t>();
  uint64_t *begins = begins_memory.as<uint64_t>();
  sort_wide(build, group_ends, order, begins);

  // The level at which each sorted row differs from the one before; level_count for the same SID again.
  const Memory levels_memory = Memory::allocate(rows.row_count);
  uint8_t *levels = levels_memory.as<uint8_t>();
  EmitCounts totals = {};
  build.progress.begin(ESP_PHASE_WRITE, rows.row_count);
  for (uint64_t at = 0; at < rows.row_count; at++) {
    uint32_t level = at == 0 ? 0 : rows.level_count;
    if (at > 0 && (begins[at / 64] >> (at % 64) & 1) != 0) {
      for (level = 0; code_of(rows, order[at - 1], level) == code_of(rows, order[at], level);) level++;
    }
    levels[at] = static_cast<uint8_t>(level);
    totals.nodes[0] += level == 0;
    totals.nodes[1] += level <= 1;
    totals.leaves += level < rows.level_count;
    if (level == rows.level_count) {
      const bool is_second = levels[at - 1] < rows.level_count;
      totals.shared_leaves += is_second;
      totals.shared_rows += is_second ? 2 : 1;
    }
  }

  const EmitTarget target = allocate_arrays(trie, rows, totals, nullptr);
  uint64_t leaf = 0;
  uint64_t node[2] = {0, 0};
  uint64_t shared_leaf = 0;
  uint64_t shared_row = 0;
  for (uint64_t at = 0; at < rows.row_count; at++) {
    target.sorted_rows[at] = order[at];
    if (levels[at] == rows.level_count) {
      if (levels[at - 1] < rows.level_count) {
        target.shared_leaves[shared_leaf] = static_cast<uint32_t>(leaf - 1);
        target.shared_start[shared_leaf++] = static_cast<uint32_t>(shared_row++);
      }
      shared_row++;
      continue;
    }
    const auto put = [&](void *codes, uint64_t index, uint32_t code) {
      if (trie.arrays.is_wide) {
        static_cast<uint32_t *>(codes)[index] = code;
      } else {
        static_cast<uint16_t *>(codes)[index] = static_cast<uint16_t>(code);
      }
    };
    for (uint32_t level = 0; level < rows.level_count; level++) {
      const uint32_t code = code_of(rows, order[at], level);
      put(target.rows, leaf * rows.level_count + level, code);
      if (level < levels[at]) continue;
      target.new_prefix[level][leaf / 64] |= uint64_t{1} << (leaf % 64);
      if (level > 1) continue;
      put(target.codes[level], node[level], code);
      target.leaf_start[level][node[level]] = static_cast<uint32_t>(leaf);
      if (level == 0) target.first_child[node[0]] = static_cast<uint32_t>(node[1]);
      node[level]++;
    }
    leaf++;
  }
  finish_prefixes(target, rows.level_count, totals.leaves);
}

void build_trie(const esp_rows &rows, const esp_build_options &options, esp_trie &trie) {
  check_codebooks(rows.level_count, rows.codebook_sizes);
  if (rows.row_count < 1 || rows.row_count > ESP_MAX_ROWS) {
    fail(ESP_STATUS_SHAPE, "rows must be 1 to %u, found %llu", ESP_MAX_ROWS,
         static_cast<unsigned long long>(rows.row_count));
  }
  if (options.threads < 1) fail(ESP_STATUS_SHAPE, "threads must be at least 1, found 0");
  const LevelKernels &kernels = kernels_of(options.level);
  Progress progress(options);
  // A thread for fewer rows than fill the cache would cost more than it brings.
  const uint64_t useful = rows.row_count / kCachedKeys + 1;
  const uint32_t threads = static_cast<uint32_t>(std::min<uint64_t>(options.threads, useful));
  const Build build = {rows, options, kernels, kernels.rows[size_index(rows.dtype)], progress, threads};

  const uint32_t row_bits = KeyLayout::bits_for(static_cast<uint32_t>(rows.row_count - 1));
  const std::vector<uint32_t> group_ends = key_groups(rows, row_bits);
  if (group_ends.size() == 1) {
    const KeyLayout layout(rows.codebook_sizes, rows.level_count, 0, rows.level_count);
    emit_narrow(build, layout, sort_narrow(build, layout), trie);
  } else {
    build_wide(build, group_ends, trie);
  }
  add_child_masks(trie, options.mask_budget_bytes);
  trie.roots = make_root_tables(trie.arrays);
}

}  // namespace
}  // namespace espalier

esp_status esp_trie_build(const esp_rows *rows, const esp_build_options *options, esp_trie **out) {
  return espalier::guarded([&] {
    espalier::TriePointer trie(new esp_trie());
    espalier::build_trie(*rows, *options, *trie);
    *out = trie.release();
  });
}
