"""What an actor waits for, so that an orchestrator can tell a run that is stuck from one that is merely slow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing within the run that a task of an actor waits for."""

    full_edges: tuple[str, ...] = ()
    """Room on all of these edges."""
    any_inputs: tuple[str, ...] = ()
    """An item or an end at any of these inputs."""
    all_inputs: tuple[str, ...] = ()
    """An item or an end at each of these inputs."""


SIBLING = Wait()
"""For another task of the same actor."""


class Waits:
    """The waits of one actor.

    Only waits of the actor's own tasks count: what user code does in tasks of its own, nobody here can see, and an actor whose
    tasks do not all wait for the run itself counts as busy.
    """

    def __init__(self) -> None:
        self.version = 0
        """Raised by every change."""
        self._tasks: dict[asyncio.Task[object], Wait | None] = {}

    @contextmanager
    def task(self) -> Iterator[None]:
        """The current task is one of the actor's while this lasts."""
        task = asyncio.current_task()
        assert task is not None
        self.version += 1
        self._tasks[task] = None
        try:
            yield
        finally:
            self.version += 1
            del self._tasks[task]

    @contextmanager
    def waiting(self, wait: Wait) -> Iterator[None]:
        """The current task waits. Changes nothing if it is none of the actor's, or is told to wait already."""
        task = asyncio.current_task()
        if task is None or self._tasks.get(task, SIBLING) is not None:
            yield
            return
        self.version += 1
        self._tasks[task] = wait
        try:
            yield
        finally:
            self.version += 1
            self._tasks[task] = None

    def waiting_for_any(self, inputs: tuple[str, ...]) -> AbstractContextManager[None]:
        """The current task waits for an item or an end at any of these inputs."""
        return self.waiting(Wait(any_inputs=inputs))

    def idle_waits(self) -> Sequence[Wait]:
        """Everything that the actor waits for, any of which lets it go on; empty if it is busy or waits for the outside world."""
        if not self._tasks or None in self._tasks.values():
            return ()
        return [wait for wait in self._tasks.values() if wait is not None and wait is not SIBLING]
