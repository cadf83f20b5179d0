#define ESPALIER_LEVEL avx512
#include "all_kernels.h"
