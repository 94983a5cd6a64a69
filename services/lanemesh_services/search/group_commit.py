"""Writes of several firings in one: what waits while a write runs is the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh import Document
from lanemesh.extend import in_thread

MOST = 256
"""Most documents of one write."""


@dataclass(eq=False, slots=True)
class _Entry:
    document: Document
    fresh: bool
    written: asyncio.Future[None]


class GroupCommit:
    """Joins the writes of one store. Used in one event loop."""

    def __init__(self, write: Callable[[Sequence[tuple[Document, bool]]], None]) -> None:
        """`write` stores documents, in a worker thread; each has a mark that the others of its source are removed before."""
        self._write = write
        self._waiting: deque[_Entry] = deque()
        self._writing: list[_Entry] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, document: Document, *, fresh: bool = False) -> None:
        """Stores a document, and returns when it is stored. A cancelled call may store it nevertheless. Raises what `write` raises.

        Args:
            document: the document.
            fresh: all others of its source are removed before.
        """
        entry = _Entry(document, fresh, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="write to a store")
        try:
            await entry.written
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            raise

    async def written(self) -> None:
        """Waits for the writes that run or wait now, and for no later one."""
        if entries := [*self._writing, *self._waiting]:
            await asyncio.wait([entry.written for entry in entries])

    async def settled(self) -> None:
        """Waits until all writes that have begun, or wait, have ended."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        await asyncio.sleep(0)  # others may join in the same turn of the loop
        while self._waiting:
            self._writing = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            await self._commit(self._writing)
            self._writing = []

    async def _commit(self, part: list[_Entry]) -> None:
        """Writes these. If that fails for a document, each is written alone, so that only those fail that cannot be written."""
        error = await self._tried(part)
        if error is not None and len(part) > 1 and not _is_of_the_store(error):
            for entry in part:
                _settle(entry, await self._tried([entry]))
            return
        for entry in part:
            _settle(entry, error)

    async def _tried(self, part: list[_Entry]) -> Exception | None:
        try:
            await in_thread(self._write, [(entry.document, entry.fresh) for entry in part])
        except Exception as error:
            return error
        return None


def _is_of_the_store(error: Exception) -> bool:
    """Whether the store has failed, and not a document."""
    fault: Any = getattr(error, "fault", None)
    return getattr(fault, "reason", "") in ("store-unreachable", "store-unusable", "store-failed")


def _settle(entry: _Entry, error: Exception | None) -> None:
    if entry.written.done():  # cancelled
        return
    if error is None:
        entry.written.set_result(None)
    else:
        entry.written.set_exception(error)
