// Compiled to nothing for other machines.
#if defined(__AVX2__)
#define ESPALIER_LEVEL avx2
#include "all_kernels.h"
#endif
