"""The waits of an actor, by which an orchestrator distinguishes a deadlocked run from a slow one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

from lanemesh._aio.signal import NOTHING


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait of an actor's task within the run."""

    full_edges: tuple[str, ...] = ()
    """Capacity on all of these edges."""
    any_inputs: tuple[str, ...] = ()
    """An item or an end at any of these inputs."""
    all_inputs: tuple[str, ...] = ()
    """An item or an end at each of these inputs."""


SIBLING = Wait()
"""For another task of the same actor."""


@lru_cache(maxsize=1024)
def _wait_for_any(inputs: tuple[str, ...]) -> Wait:
    return Wait(any_inputs=inputs)


_BUSY, _WAITING, _BLOCKED, _ENDED = range(4)
"""The activity of an actor, for its times."""


class Waits:
    """The waits of one actor.

    Only waits of the actor's own tasks count. Waits of tasks that user code creates are unknown, and an actor counts as busy unless
    all its tasks wait for the run itself.
    """

    def __init__(self) -> None:
        self.version = 0
        """Fired by every change."""
        self.blocked_since = 0.0
        """When a task last began to wait for capacity, by the monotonic clock; meaningful while `blocked`."""
        self.on_blocked: Callable[[], None] | None = None
        """Called whenever a task begins to wait for capacity."""
        self.outside: list[str] = []
        """The external events that it waits for, in words."""
        self._tasks: dict[asyncio.Task[object], Wait | None] = {}
        self._doing = _ENDED
        self._since = 0.0
        self._seconds = [0.0, 0.0, 0.0, 0.0]

    @contextmanager
    def task(self) -> Iterator[None]:
        """The current task belongs to the actor within this context."""
        task = asyncio.current_task()
        assert task is not None
        self.version += 1
        self._tasks[task] = None
        self._count(time.monotonic())
        try:
            yield
        finally:
            self.version += 1
            del self._tasks[task]
            self._count(time.monotonic())

    def waiting(self, wait: Wait) -> AbstractContextManager[None]:
        """The current task waits within this context. Has no effect if it is not the actor's, or already waits."""
        return _Waiting(self, wait)

    def waiting_for_any(self, inputs: Sequence[str]) -> AbstractContextManager[None]:
        """The current task waits for an item or an end at any of these inputs."""
        return self.waiting(_wait_for_any(tuple(inputs)))

    def begin_outside(self, what: str) -> None:
        """The actor waits from now on for an event outside the run, which may or may not occur."""
        self.outside.append(what)
        self._count(time.monotonic())

    def end_outside(self, what: str) -> None:
        """The actor no longer waits for this event."""
        self.outside.remove(what)
        self._count(time.monotonic())

    @property
    def blocked(self) -> bool:
        """A task waits for capacity."""
        return any(wait is not None and wait.full_edges for wait in self._tasks.values())

    def seconds(self) -> tuple[float, float, float]:
        """Seconds that the actor has waited, been busy, and been blocked by full lanes, so far."""
        self._count(time.monotonic())
        return self._seconds[_WAITING], self._seconds[_BUSY], self._seconds[_BLOCKED]

    def _count(self, now: float) -> None:
        """Adds the time since the last change to the present activity, and determines the next one."""
        self._seconds[self._doing] += now - self._since
        self._since = now
        self._doing = self._does()

    def _does(self) -> int:
        doing = _WAITING if self._tasks else _ENDED
        for wait in self._tasks.values():
            if wait is None:
                return _WAITING if self.outside else _BUSY
            if wait.full_edges:
                doing = _BLOCKED
        return doing

    def idle_waits(self) -> Sequence[Wait]:
        """All waits of the actor, each of which lets it continue; empty if it is busy or waits for an event outside the run."""
        if not self._tasks or None in self._tasks.values():
            return ()
        return [wait for wait in self._tasks.values() if wait is not None and wait is not SIBLING]


class _Waiting:
    """One wait of one task. A class and not a generator: in a pipeline of small items there may be two per item."""

    __slots__ = ("_task", "_wait", "_waits")

    def __init__(self, waits: Waits, wait: Wait) -> None:
        self._waits = waits
        self._wait = wait
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> None:
        waits, task = self._waits, asyncio.current_task()
        if task is None or waits._tasks.get(task, SIBLING) is not None:
            return
        self._task = task
        waits.version += 1
        waits._tasks[task] = self._wait
        now = time.monotonic()
        waits._seconds[waits._doing] += now - waits._since
        waits._since = now
        if len(waits._tasks) > 1:
            waits._doing = waits._does()
        else:
            waits._doing = _BLOCKED if self._wait.full_edges else _WAITING
        if self._wait.full_edges:
            waits.blocked_since = now
            if waits.on_blocked is not None:
                waits.on_blocked()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            waits = self._waits
            waits.version += 1
            if self._task in waits._tasks:
                waits._tasks[self._task] = None
                now = time.monotonic()
                waits._seconds[waits._doing] += now - waits._since
                waits._since = now
                waits._doing = _WAITING if waits.outside else _BUSY


class WaitingOutside:
    """A wait for an event outside the run. A class and not a generator: calls of helpers enter one for each piece of the answer."""

    __slots__ = ("_inner", "_make_inner", "_waits", "_what")

    def __init__(self, waits: Waits, what: str, inner: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """
        Args:
            waits: the waits of the actor.
            what: the event, in words.
            inner: makes what is entered besides, within this wait.
        """
        self._waits = waits
        self._what = what
        self._make_inner = inner
        self._inner: AbstractAsyncContextManager[None] = NOTHING

    async def __aenter__(self) -> None:
        self._waits.begin_outside(self._what)
        try:
            self._inner = self._make_inner()
            if self._inner is not NOTHING:
                await self._inner.__aenter__()
        except BaseException:
            self._waits.end_outside(self._what)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            if self._inner is NOTHING:
                return None
            return await self._inner.__aexit__(kind, error, traceback)
        finally:
            self._waits.end_outside(self._what)
