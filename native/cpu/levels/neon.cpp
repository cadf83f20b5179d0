#define ESPALIER_LEVEL neon
#include "all_kernels.h"
