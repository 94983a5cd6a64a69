"""SIGINT and SIGTERM of a command or a server: they end the process even while user code blocks the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

from lanemesh._aio.forks import reset_signals_in_children

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
"""The exit code of a process that a signal ended before it was done."""


class StopSignals:
    """Handles SIGINT and SIGTERM alike while entered, in the main thread of an event loop.

    Each signal takes the next of the `steps`, in the event loop. The signal after the last step ends the process at once. Signals
    are counted by a handler of the interpreter, not of the event loop, which may be blocked.
    """

    def __init__(self, *steps: Callable[[], None], last_seconds: float | None = None, gave_up: str = "") -> None:
        """
        Args:
            steps: the actions of the first signal, the second, and so on.
            last_seconds: seconds after the last step until the process is ended in any case; None: no limit.
            gave_up: one line for standard error when that limit is over.
        """
        self._steps = steps
        self._last_seconds = last_seconds
        self._gave_up = gave_up
        self._received = 0
        self._timer: threading.Timer | None = None
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> StopSignals:
        reset_signals_in_children(self._on_signal)
        for number in STOP_SIGNALS:
            self._loop.add_signal_handler(number, _nothing)  # a signal wakes the event loop whichever thread gets it
            signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in STOP_SIGNALS:
            self._loop.remove_signal_handler(number)
        if self._timer is not None:
            self._timer.cancel()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        if self._received > len(self._steps):
            end_at_once()
        step = self._steps[self._received - 1]
        if self._received == len(self._steps) and self._last_seconds is not None:
            self._timer = threading.Timer(self._last_seconds, self._give_up)
            self._timer.daemon = True
            self._timer.start()
        with contextlib.suppress(RuntimeError):  # the event loop has just been closed
            self._loop.call_soon_threadsafe(step)

    def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"{self._gave_up}\n".encode() if self._gave_up else b"")
        end_at_once()


def end_at_once(code: int = INTERRUPTED) -> NoReturn:
    """Ends the process without waiting for anything, and the processes that it has started by `multiprocessing`."""
    end_children()
    os._exit(code)


def end_at_signals(code: int = INTERRUPTED) -> None:
    """Lets SIGINT and SIGTERM end the process at once, where there is nothing to end in order: before a server serves, and when all
    work is done. The event loop's own handler would wait for what blocks it, such as the import of a module."""

    def end(number: int, frame: FrameType | None) -> None:
        end_at_once(code)

    reset_signals_in_children(end)
    for number in STOP_SIGNALS:
        signal.signal(number, end)


def end_children() -> None:
    """Ends the processes that user code has started by `multiprocessing`, which would go on without this one."""
    started = sys.modules.get("multiprocessing")
    if started is None:
        return
    with contextlib.suppress(Exception):
        for process in started.active_children():
            process.kill()


def _nothing() -> None:
    """The handler of the event loop; the interpreter's does the work."""
