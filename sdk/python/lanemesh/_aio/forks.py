"""Clean-up in a forked child of user code: the signal handlers of its parent and the pipes that detect the parent's death.

A child of `multiprocessing` or `os.fork` has the parent's handlers, and asyncio's wakeup descriptor: a signal to the child would
reach the event loop of the parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_handlers: set[Handler] = set()
_descriptors: set[int] = set()
_masks = threading.local()


def reset_signals_in_children(handler: Handler) -> None:
    """Lets forked children have the default handlers of SIGINT and SIGTERM where this process has `handler`."""
    _register()
    _handlers.add(handler)


def close_in_children(descriptor: int) -> None:
    """Closes a descriptor in forked children, until `forget` is called."""
    _register()
    _descriptors.add(descriptor)


def forget(descriptor: int) -> None:
    """The descriptor is closed, or about to be: its number may get another meaning."""
    _descriptors.discard(descriptor)


@cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_in_child)


def _block() -> None:
    """Holds signals back, so that none reaches a child before its handlers are reset."""
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _in_child() -> None:
    with contextlib.suppress(ValueError):  # a child of a subinterpreter has no handlers
        _reset_handlers()
    for descriptor in _descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()
    _unblock()


def _reset_handlers() -> None:
    ours = [number for number in _STOP_SIGNALS if signal.getsignal(number) in _handlers]
    for number in ours:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if ours:
        signal.set_wakeup_fd(-1)
    _handlers.clear()
