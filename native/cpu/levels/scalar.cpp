#define ESPALIER_LEVEL scalar
#include "all_kernels.h"
