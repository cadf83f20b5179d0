// Compiled to nothing for other machines.
#if defined(__AVX512F__)
#define ESPALIER_LEVEL avx512
#include "all_kernels.h"
#endif
