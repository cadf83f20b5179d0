// One batch of random requests decoded over all levels of a random trie, in every way that the library offers.
#pragma once

#include "device.h"
#include "../../include/espalier_cuda.h"
#include "../../tests/testing.h"

namespace checking {

// What limits a case: the emulation is slow, and sanitizers are slower.
struct CaseLimits {
  uint64_t rows;
  uint64_t logits;
  uint32_t requests;
};

// What has been compared so far.
struct Counts {
  uint64_t cases;
  // One batch at one level.
  uint64_t steps;
  uint64_t children;
  // Requests of which esp_step returned the same in every bit, and those whose log-sum-exp differs within the bound.
  uint64_t equal_to_cpu;
  uint64_t near_to_cpu;
  uint64_t bad_logits;
  uint64_t resident_steps;
  uint64_t replays;
};

// The handles that all cases share.
struct Bench {
  esp_cuda_context *context;
  esp_cuda_stepper *stepper;
  esp_stepper *cpu;
  Stream stream;
};

void run_case(testing::Random &random, const CaseLimits &limits, Bench &bench, Counts &counts);

}  // namespace checking
