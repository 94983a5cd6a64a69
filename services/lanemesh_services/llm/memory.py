"""Available memory: a model that does not fit is rejected before it is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from lanemesh_services.llm.errors import too_large

OVERHEAD = 64 * 1024 * 1024
"""Bytes that an engine uses besides weights and cache: buffers of a batch, tokenizer, threads."""

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def available_bytes() -> int | None:
    """Available memory of this process in bytes, within the limit of its container; None if unknown.

    Linux: the kernel's estimate, MemAvailable, and the limit of cgroup v2 minus its use. Elsewhere: free pages, if known.
    """
    found = [size for size in (_meminfo(), _cgroup()) if size is not None]
    if found:
        return max(0, min(found))
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_fits(path: Path | str, weights: int, cache: int, *, available: int | None = None) -> None:
    """Raises `ModelTooLarge` if weights and key-value cache, in bytes, do not fit in what is available.

    `available` is the memory of a device; by default that of this process.
    """
    if available is None:
        available = available_bytes()
    needed = weights + cache + OVERHEAD
    if available is not None and needed > available:
        mib = 1024 * 1024
        parts = f"weights {weights // mib} MiB, context {cache // mib} MiB"
        raise too_large(path, needed, available, parts)


def _meminfo() -> int | None:
    try:
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None


def _cgroup() -> int | None:
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        reclaimable = _inactive_file()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - used + reclaimable


def _inactive_file() -> int:
    """Bytes of cached files that the container frees under memory pressure."""
    for line in (CGROUP / "memory.stat").read_text().splitlines():
        name, _, count = line.partition(" ")
        if name == "inactive_file":
            return int(count)
    return 0
