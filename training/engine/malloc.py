"""Memory of the CPU: keep what a step frees for the next step."""

import ctypes
import sys

# Numbers of <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """
    Make the C library keep the memory of freed tensors, where it is glibc; return whether it is.

    Otherwise it returns large pieces to the system, which clears every page of them when the next step asks again: for
    `tiny` on two cores almost a third of a step (`benchmarks/supervision.py` with and without `--give_memory_back`).
    The memory of the process then no longer falls between steps.
    """
    # MALLOC_MMAP_MAX_ and MALLOC_TRIM_THRESHOLD_ would do the same, but only in the environment a process starts with:
    # a plain `python train.py` would lose that speed.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
