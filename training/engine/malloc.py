"""Memory of the CPU: what a step frees is kept for the next one."""

import ctypes
import sys

# Numbers of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Lets the C library keep the memory of freed tensors, where it is glibc; whether it is.

    Otherwise it hands large pieces back to the system, which clears every page of them when the next step asks again:
    for `tiny` on two cores almost a third of a step (`benchmarks/supervision.py` with and without
    `--give_memory_back`). The memory of the process then falls no more between steps.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
