// Scores and candidates as unsigned numbers that order as they do.
#pragma once

#include <cstring>

#include "../cpu/levels/step_types.h"
#include "host_device.h"

namespace espalier {
namespace {

ESP_HD inline uint32_t order_key(float score) {
  // -0 becomes +0.
  const float settled = score + 0.0f;
  uint32_t bits;
  memcpy(&bits, &settled, sizeof bits);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
}

// That of -infinity: the smallest key of any score. 0 is no score's.
constexpr uint32_t kDeadKey = 0x007fffffu;

ESP_HD inline float score_of(uint32_t key) {
  const uint32_t bits = (key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key;
  float score;
  memcpy(&score, &bits, sizeof score);
  return score;
}

// A candidate in one number, which no other of its request has: the better one is larger, and of equal scores that of
// the smaller beam, then code. 0 is none.
ESP_HD inline uint64_t candidate_key(uint32_t score_key, uint32_t beam, uint32_t code) {
  return uint64_t{score_key} << 32 | static_cast<uint32_t>(~(beam << kCodeBits | code));
}
ESP_HD inline uint32_t score_key_of(uint64_t candidate) { return static_cast<uint32_t>(candidate >> 32); }
ESP_HD inline uint32_t beam_of(uint64_t candidate) { return static_cast<uint32_t>(~candidate) >> kCodeBits; }
ESP_HD inline uint32_t code_of(uint64_t candidate) { return static_cast<uint32_t>(~candidate) & ((1u << kCodeBits) - 1); }

}  // namespace
}  // namespace espalier
