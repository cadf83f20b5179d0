// Rules over columns: blocks of items small enough that all bitmaps between two columns stay in the cache.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "internal.h"
#include "levels/level.h"

namespace espalier {

namespace {

constexpr size_t kBlockWords = 64;
constexpr size_t kBlockItems = kBlockWords * 64;
// A block's lists are tested entry by entry first where they have no more entries than this.
constexpr size_t kEntryWords = 2048;
// So many bits lie within 8 bytes, wherever they begin; the machines that this runs on are little-endian.
constexpr uint64_t kShortList = 57;

struct Program {
  const LevelKernels &kernels;
  const esp_scan_leaf *leaves;
  const int32_t *postfix;
  size_t postfix_length;
  uint64_t item_count;
  size_t depth;
};

// Of one thread.
struct Scratch {
  explicit Scratch(size_t depth) : stack(depth * kBlockWords) {}
  // Bitmaps of a block's items, and one of the entries of their lists with a word to be read along.
  std::vector<uint64_t> stack;
  std::vector<uint64_t> entries;
};

size_t code_bytes(esp_code_type type) {
  switch (type) {
    case ESP_CODES_U8:
      return 1;
    case ESP_CODES_U16:
      return 2;
    case ESP_CODES_U32:
      return 4;
    case ESP_CODES_F64:
      return 8;
  }
  fail(ESP_STATUS_SHAPE, "unknown code type %d", static_cast<int>(type));
}

double largest_code(esp_code_type type) {
  return type == ESP_CODES_U8 ? 255.0 : type == ESP_CODES_U16 ? 65535.0 : 4294967295.0;
}

void check_leaf(const esp_scan_leaf &leaf, size_t index, uint64_t item_count) {
  switch (leaf.kind) {
    case ESP_LEAF_BITS:
      return;
    case ESP_LEAF_ANY_FLAG:
      if (leaf.code_type == ESP_CODES_F64) fail(ESP_STATUS_SHAPE, "leaf %zu: flags need integer codes", index);
      if (leaf.offsets[0] != 0 || leaf.offsets[item_count] != leaf.code_count) {
        fail(ESP_STATUS_SHAPE, "leaf %zu: offsets must run from 0 to %llu", index,
             static_cast<unsigned long long>(leaf.code_count));
      }
      return;
    case ESP_LEAF_FLAGS:
      if (leaf.code_type == ESP_CODES_F64) fail(ESP_STATUS_SHAPE, "leaf %zu: flags need integer codes", index);
      break;
    case ESP_LEAF_RANGE:
      break;
    default:
      fail(ESP_STATUS_SHAPE, "leaf %zu: unknown kind %d", index, static_cast<int>(leaf.kind));
  }
  if (leaf.code_count != item_count) {
    fail(ESP_STATUS_SHAPE, "leaf %zu: expected %llu codes, found %llu", index,
         static_cast<unsigned long long>(item_count), static_cast<unsigned long long>(leaf.code_count));
  }
}

// The deepest stack that the postfix needs.
size_t check_postfix(const int32_t *postfix, size_t length, size_t leaf_count) {
  size_t depth = 0;
  size_t deepest = 0;
  for (size_t at = 0; at < length; at++) {
    if (postfix[at] >= 0 && static_cast<size_t>(postfix[at]) < leaf_count) {
      deepest = std::max(deepest, ++depth);
    } else if ((postfix[at] == ESP_SCAN_AND || postfix[at] == ESP_SCAN_OR) && depth >= 2) {
      depth--;
    } else {
      fail(ESP_STATUS_SHAPE, "postfix entry %zu: %d does not fit a program of %zu leaves", at, postfix[at], leaf_count);
    }
  }
  if (depth != 1) fail(ESP_STATUS_SHAPE, "the postfix must leave one result, found %zu", depth);
  if (deepest > ESP_SCAN_MAX_DEPTH) fail(ESP_STATUS_SHAPE, "the postfix needs more than %d bitmaps", ESP_SCAN_MAX_DEPTH);
  return deepest;
}

template <class Code>
bool list_flagged(const esp_scan_leaf &leaf, uint64_t from, uint64_t to) {
  const Code *codes = static_cast<const Code *>(leaf.codes);
  for (uint64_t at = from; at < to; at++) {
    const uint64_t code = codes[at];
    if (code < leaf.flag_count && (leaf.flags[code / 64] >> (code % 64) & 1) != 0) return true;
  }
  return false;
}

// A test over codes that fill whole words; `codes` may be a copy of a column's last codes.
void scan_words(const LevelKernels &kernels, const esp_scan_leaf &leaf, const void *codes, uint64_t *out, size_t words) {
  if (leaf.kind == ESP_LEAF_FLAGS) {
    kernels.scan.flags[leaf.code_type](codes, leaf.flags, std::min<uint64_t>(leaf.flag_count, UINT32_MAX), out, words);
    return;
  }
  double low = leaf.low;
  double high = leaf.high;
  if (leaf.code_type != ESP_CODES_F64) {
    low = std::ceil(std::max(low, 0.0));
    high = std::floor(std::min(high, largest_code(leaf.code_type)));
  }
  // Also where one of them is NaN.
  if (!(low <= high)) {
    memset(out, 0, words * sizeof(uint64_t));
    return;
  }
  kernels.scan.range[leaf.code_type](codes, low, high, out, words);
}

void scan_codes(const LevelKernels &kernels, const esp_scan_leaf &leaf, uint64_t first, uint64_t count, uint64_t *out) {
  const size_t size = code_bytes(leaf.code_type);
  const char *codes = static_cast<const char *>(leaf.codes) + first * size;
  const size_t whole = count / 64;
  if (whole > 0) scan_words(kernels, leaf, codes, out, whole);
  if (count % 64 != 0) {
    alignas(64) char rest[64 * sizeof(double)] = {0};
    memcpy(rest, codes + whole * 64 * size, count % 64 * size);
    scan_words(kernels, leaf, rest, out + whole, 1);
  }
}

template <class Code>
void scan_lists(const LevelKernels &kernels, const esp_scan_leaf &leaf, uint64_t first, uint64_t count,
                std::vector<uint64_t> &entries, uint64_t *out) {
  // Offsets that lie about their order must not lead out of the codes.
  const auto offset = [&](uint64_t item) { return std::min<uint64_t>(leaf.offsets[item], leaf.code_count); };
  const uint64_t begin = offset(first);
  uint64_t end = offset(first + count);
  entries.resize(kEntryWords + 1);
  if (begin < end && end - begin <= kEntryWords * 64) {
    esp_scan_leaf flags = leaf;
    flags.kind = ESP_LEAF_FLAGS;
    scan_codes(kernels, flags, begin, end - begin, entries.data());
  } else {
    end = begin;
  }
  const char *tested = reinterpret_cast<const char *>(entries.data());
  uint64_t from = begin;
  for (uint64_t index = 0; index < count; index++) {
    const uint64_t to = offset(first + index + 1);
    uint64_t hits;
    if (begin <= from && from <= to && to <= end && to - from <= kShortList) {
      memcpy(&hits, tested + (from - begin) / 8, sizeof hits);
      hits = hits >> ((from - begin) % 8) & ((uint64_t{1} << (to - from)) - 1);
    } else {
      hits = list_flagged<Code>(leaf, from, to);
    }
    out[index / 64] |= uint64_t{hits != 0} << (index % 64);
    from = to;
  }
}

// The bits of one leaf for `count` items from `first` on, which is a multiple of 64.
void scan_leaf(const Program &program, const esp_scan_leaf &leaf, uint64_t first, uint64_t count,
               std::vector<uint64_t> &entries, uint64_t *out) {
  const size_t words = words_for(count);
  const uint64_t first_word = first / 64;
  if (leaf.kind == ESP_LEAF_BITS) {
    memcpy(out, leaf.bits + first_word, words * sizeof(uint64_t));
  } else if (leaf.kind == ESP_LEAF_ANY_FLAG) {
    memset(out, 0, words * sizeof(uint64_t));
    switch (leaf.code_type) {
      case ESP_CODES_U8:
        scan_lists<uint8_t>(program.kernels, leaf, first, count, entries, out);
        break;
      case ESP_CODES_U16:
        scan_lists<uint16_t>(program.kernels, leaf, first, count, entries, out);
        break;
      default:
        scan_lists<uint32_t>(program.kernels, leaf, first, count, entries, out);
    }
  } else {
    scan_codes(program.kernels, leaf, first, count, out);
  }
  if (leaf.negate) {
    for (size_t word = 0; word < words; word++) out[word] = ~out[word];
  }
  if (leaf.present != nullptr) program.kernels.combine(ESP_AND, out, leaf.present + first_word, out, words);
}

void scan_block(const Program &program, uint64_t first, uint64_t count, Scratch &scratch, uint64_t *out) {
  uint64_t *stack = scratch.stack.data();
  size_t depth = 0;
  const size_t words = words_for(count);
  for (size_t at = 0; at < program.postfix_length; at++) {
    const int32_t entry = program.postfix[at];
    if (entry >= 0) {
      scan_leaf(program, program.leaves[entry], first, count, scratch.entries, stack + depth++ * kBlockWords);
      continue;
    }
    uint64_t *top = stack + (--depth - 1) * kBlockWords;
    program.kernels.combine(entry == ESP_SCAN_AND ? ESP_AND : ESP_OR, top, top + kBlockWords, top, words);
  }
  memcpy(out + first / 64, stack, words * sizeof(uint64_t));
  // Negated bits reach beyond the last item.
  if (count % 64 != 0) out[first / 64 + words - 1] &= (uint64_t{1} << (count % 64)) - 1;
}

}  // namespace
}  // namespace espalier

esp_status esp_scan(esp_level level, uint32_t threads, const esp_scan_leaf *leaves, size_t leaf_count,
                    const int32_t *postfix, size_t postfix_length, uint64_t item_count, uint64_t *out) {
  using namespace espalier;
  return guarded([&] {
    const LevelKernels &kernels = kernels_of(level);
    if (threads < 1) fail(ESP_STATUS_SHAPE, "threads must be at least 1, found 0");
    for (size_t index = 0; index < leaf_count; index++) check_leaf(leaves[index], index, item_count);
    const size_t depth = check_postfix(postfix, postfix_length, leaf_count);
    const Program program = {kernels, leaves, postfix, postfix_length, item_count, depth};
    const uint64_t blocks = (item_count + kBlockItems - 1) / kBlockItems;
    const uint32_t useful = static_cast<uint32_t>(std::min<uint64_t>(threads, blocks / 64 + 1));
    parallel(useful, [&](uint32_t thread) {
      Scratch scratch(depth);
      for (uint64_t block = blocks * thread / useful; block < blocks * (thread + 1) / useful; block++) {
        const uint64_t first = block * kBlockItems;
        scan_block(program, first, std::min<uint64_t>(kBlockItems, item_count - first), scratch, out);
      }
    });
  });
}
