#include "step_checks.h"

#include <algorithm>

namespace espalier {

namespace {

void check_codes(const AskedStep &step, uint32_t codes) {
  if (step.token_table != nullptr && step.token_table_length != codes) {
    fail(ESP_STATUS_SHAPE, "the token table must have %u entries, one for each code, found %u", codes,
         step.token_table_length);
  }
  if (step.token_table == nullptr && uint64_t{step.token_offset} + codes > step.vocab_size) {
    fail(ESP_STATUS_SHAPE, "tokens %u to %llu must be < %u, the vocabulary", step.token_offset,
         static_cast<unsigned long long>(uint64_t{step.token_offset} + codes - 1), step.vocab_size);
  }
}

void check_beams(const AskedStep &step, const AskedRequest &request, uint32_t index) {
  for (uint32_t beam = 0; beam < request.beam_count; beam++) {
    const uint32_t lo = request.node_lo[beam];
    const uint32_t hi = request.node_hi[beam];
    if (lo >= hi || hi > request.trie->leaf_count) {
      fail(ESP_STATUS_SHAPE, "request %u, beam %u: node [%u, %u) must be a range of the %u leaves", index, beam, lo, hi,
           request.trie->leaf_count);
    }
  }
  if (step.depth == 0 && request.beam_count > 1) {
    fail(ESP_STATUS_SHAPE, "one beam stands at the root, found %u", request.beam_count);
  }
}

}  // namespace

void check_tokens(const AskedStep &step) {
  if (step.token_table == nullptr || step.token_table_length == 0) return;
  const uint32_t largest = *std::max_element(step.token_table, step.token_table + step.token_table_length);
  if (largest >= step.vocab_size) fail(ESP_STATUS_SHAPE, "token %u must be < %u, the vocabulary", largest, step.vocab_size);
}

void check_request(const AskedStep &step, const AskedRequest &request, uint32_t index) {
  if (request.beam_width < 1 || request.beam_width > ESP_MAX_BEAM_WIDTH || request.beam_count > ESP_MAX_BEAM_WIDTH) {
    fail(ESP_STATUS_SHAPE, "request %u: beams must be at most %u, found %u of width %u", index, ESP_MAX_BEAM_WIDTH,
         request.beam_count, request.beam_width);
  }
  const uint64_t rows_end = uint64_t{request.first_row} + request.beam_count;
  if (rows_end > step.row_count) {
    fail(ESP_STATUS_SHAPE, "request %u: rows %u to %llu must be < %llu, the rows of logits", index, request.first_row,
         static_cast<unsigned long long>(rows_end), static_cast<unsigned long long>(step.row_count));
  }
  if (!(request.temperature > 0) || request.normalize < ESP_VOCABULARY || request.normalize > ESP_LIVE) {
    fail(ESP_STATUS_SHAPE, "request %u: the temperature must be above 0 and the normalization known", index);
  }
  if (step.depth >= request.trie->level_count) {
    fail(ESP_STATUS_SHAPE, "request %u: depth must be < %u, found %u", index, request.trie->level_count, step.depth);
  }
  check_codes(step, request.trie->codebook_sizes[step.depth]);
  check_beams(step, request, index);
}

}  // namespace espalier
