// The parts of cuda_library_test.
#pragma once

#include "../cuda/emulated/testing.h"
#include "cuda_testing.h"

void check_refusals(testing::Random &random);
void check_captures(testing::Random &random);
void check_decodes(testing::Random &random, uint64_t cases);
