#define ESPALIER_LEVEL avx2
#include "all_kernels.h"
