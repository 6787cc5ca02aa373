"""Keeping the heap: glibc hands every large tensor back to the system and faults it in again page by page.

Raising its thresholds in the process makes convolutional networks on CPU measurably faster for some more memory; the
numbers are in docs/results.md.
"""

import ctypes
import os
import sys

# parameters of mallopt(3); its values are C ints, so 2 GiB - 1 is the most; a trim threshold of -1 means "never"
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
GIB = 1 << 30
SWITCH = "POLYSCALE_KEEP_HEAP"


def keep_heap() -> bool:
    """Tell glibc's malloc to keep freed memory in the process; call it before the first large allocation.

    Returns:
        Whether it is active. It is not outside Linux with glibc, with POLYSCALE_KEEP_HEAP=0 in the environment, and
        if the user already tunes malloc (MALLOC_..._ or GLIBC_TUNABLES).
    """
    if os.environ.get(SWITCH, "1") == "0" or not _is_glibc() or _is_tuned():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    # older glibc refuses mmap thresholds above 32 MiB: then that is the most there is to have
    kept = bool(mallopt(M_MMAP_THRESHOLD, GIB)) or bool(mallopt(M_MMAP_THRESHOLD, 32 << 20))
    trimmed = bool(mallopt(M_TRIM_THRESHOLD, -1))
    return kept and trimmed and bool(mallopt(M_TOP_PAD, GIB // 4))


def _is_glibc() -> bool:
    if sys.platform != "linux":
        return False
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # musl does not know the name
        return False


def _is_tuned() -> bool:
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")
    return any(name in os.environ for name in names) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
