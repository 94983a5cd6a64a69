"""`context.progress`: the progress of a node, reported at most ten times a second, and always the last value."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Generator

from lanemesh.times import stamp
from lanemesh.v1 import update_pb2

PROGRESS_SECONDS = 0.1
"""Least time between two updates of one component."""
MAX_MESSAGE = 1_000
"""Longest message in characters; a longer one is cut."""

OnProgress = Callable[[update_pb2.Update], bool]
"""Passes an update on if there is capacity for it, and returns whether it did; called in the event loop."""


class Progress:
    """The progress of one component. Only the latest value counts, so a report never waits. Works in worker threads as well."""

    def __init__(self, component: str, on_progress: OnProgress | None = None) -> None:
        """Without `on_progress` nothing is reported. Created in the event loop."""
        self._component = component
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop() if on_progress is not None else None
        self._latest: tuple[float, float, str] | None = None
        self._reported: tuple[float, float, str] | None = None
        self._reported_at = -math.inf
        self._due = False
        """The latest value will be read. The reader resets this flag before it reads, so that no value of a thread is missed."""
        self._ended = False

    def report(self, done: float, total: float, message: str) -> None:
        """Sets the progress.

        Raises:
            ValueError: a number is not finite.
        """
        if not (math.isfinite(done) and math.isfinite(total)):
            raise ValueError(f"progress({done}, {total}): both must be finite numbers")
        self._latest = (float(done), float(total), message[:MAX_MESSAGE])
        if self._due or self._loop is None:
            return
        self._due = True
        if asyncio._get_running_loop() is self._loop:
            self._schedule()
            return
        with contextlib.suppress(RuntimeError):  # the loop has closed: nothing is reported any more
            self._loop.call_soon_threadsafe(self._schedule)

    def end(self) -> update_pb2.Update | None:
        """The node has ended: returns the latest value if it was not reported yet. Nothing is reported after that."""
        self._ended = True
        latest = self._latest
        return self._update(latest) if latest is not None and latest is not self._reported else None

    def _schedule(self) -> None:
        assert self._loop is not None
        wait = self._reported_at + PROGRESS_SECONDS - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._emit)
        else:
            self._emit()

    def _emit(self) -> None:
        assert self._loop is not None
        assert self._on_progress is not None
        self._due = False
        latest = self._latest
        if self._ended or latest is None or latest is self._reported:
            return
        if self._on_progress(self._update(latest)):
            self._reported, self._reported_at = latest, self._loop.time()
        else:  # the receiver is behind
            self._due = True
            self._loop.call_later(PROGRESS_SECONDS, self._emit)

    def _update(self, latest: tuple[float, float, str]) -> update_pb2.Update:
        done, total, message = latest
        progress = update_pb2.ProgressUpdate(component=self._component, done=done, total=total, message=message)
        update = update_pb2.Update(progress=progress)
        stamp(update.time)
        return update


class _Reported:
    """An awaitable that is already complete."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


REPORTED = _Reported()
"""The result of `progress`, which may be awaited and need not be."""
