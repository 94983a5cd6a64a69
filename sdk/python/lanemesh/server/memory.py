"""Memory settings of a server process: freed memory of large values is reused, not returned to the system each time."""

from __future__ import annotations

import ctypes

KEPT_BYTES = 32 * 1024 * 1024
"""Most freed memory that the process keeps at the end of its heap."""

_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Lets glibc keep up to 32 MiB of freed memory, and allocate blocks of up to 32 MiB from it.

    Otherwise it maps and unmaps pages for every value of a few hundred KiB, which costs media lanes a third of their CPU time.
    Has no effect with another C library.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, malloc_trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError):
        return
    malloc_trim(0)  # returns memory that imports have freed: an idle server is small
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
