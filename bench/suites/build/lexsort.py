"""numpy's lexsort, for benchmarks: what sorting the rows costs whoever builds an index with numpy.

One command a line on standard input, one answer a line: "load PATH DTYPE LEVELS", "sort", and "hash", which is that
of the order of the rows as little-endian uint32.
"""

import hashlib
import sys

import numpy as np

print(f"numpy {np.__version__}", flush=True)
rows = order = None
for line in sys.stdin:
    command, *arguments = line.split()
    answer = "done"
    if command == "load":
        path, dtype, levels = arguments
        order = None
        rows = np.fromfile(path, dtype=dtype).reshape(-1, int(levels))
    elif command == "sort":
        # Before the next one: two do not fit.
        order = None
        # The last key is the primary one.
        order = np.lexsort(rows.T[::-1])
    elif command == "hash":
        answer = hashlib.sha256(order.astype("<u4").tobytes()).hexdigest()
    else:
        sys.exit(f"unknown command {command}")
    print(answer, flush=True)
