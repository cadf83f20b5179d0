// New constraint sets arrive, and old ones go, while steps run.
#pragma once

#include "decode_case.h"

namespace checking {

struct UploadCounts {
  // Sets and constraints uploaded by the other thread, and steps whose constraint had just been replaced.
  uint64_t uploads;
  uint64_t steps;
};

// A thread uploads sets without pause; `rounds` times a running batch gets the newest and is replayed.
void check_uploads(testing::Random &random, uint64_t rounds, Bench &bench, UploadCounts &counts);

}  // namespace checking
