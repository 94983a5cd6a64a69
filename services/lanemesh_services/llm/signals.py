"""Keeps the process's signal handlers where a C library installs its own, from any thread."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

KEPT = (signal.SIGINT, signal.SIGTERM)
"""The signals whose handlers are kept."""
_ROOM = 1024
"""Bytes for one `struct sigaction`: more than any platform's."""


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Puts the handlers of SIGINT and SIGTERM back as they were before the block, below Python's own bookkeeping.

    `signal.signal` would do in the main thread only, and cannot see what a C library did. Without `sigaction` (Windows)
    it does nothing.
    """
    try:
        sigaction = ctypes.CDLL(None).sigaction
    except (AttributeError, TypeError, OSError):
        yield
        return
    sigaction.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    kept = {number: ctypes.create_string_buffer(_ROOM) for number in KEPT}
    for number, room in kept.items():
        sigaction(number, None, room)
    try:
        yield
    finally:
        for number, room in kept.items():
            sigaction(number, room, None)
