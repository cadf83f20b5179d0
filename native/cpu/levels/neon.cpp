// Compiled to nothing for other machines.
#if defined(__aarch64__)
#define ESPALIER_LEVEL neon
#include "all_kernels.h"
#endif
