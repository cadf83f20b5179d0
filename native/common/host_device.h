// What lets a header be compiled by g++ and by nvcc, where its functions run on both sides.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define ESP_HD __host__ __device__
#else
#define ESP_HD
#endif

// Set bits of a word, and those before its lowest and above its highest, which must be there. Macros, so that the CPU's
// code is what it would be with the compiler's own.
#if defined(__CUDA_ARCH__)
#define ESP_POPCOUNT(word) __popcll(static_cast<long long>(word))
#define ESP_LOW_ZEROS(word) (__ffsll(static_cast<long long>(word)) - 1)
#define ESP_HIGH_ZEROS(word) __clzll(static_cast<long long>(word))
#else
#define ESP_POPCOUNT(word) __builtin_popcountll(word)
#define ESP_LOW_ZEROS(word) __builtin_ctzll(word)
#define ESP_HIGH_ZEROS(word) __builtin_clzll(word)
#endif
