"""Writes of several firings in one: what waits while a write runs is the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh import Document
from lanemesh.extend import in_thread

from lanemesh_services.search.replaced_sources import SourcesOfRun

MOST = 256
"""Most documents of one write."""


@dataclass(eq=False, slots=True)
class _Entry:
    document: Document
    run: SourcesOfRun | None
    written: asyncio.Future[None]


class GroupCommit:
    """Joins the writes of one store. Used in one event loop."""

    def __init__(self, write: Callable[[Sequence[tuple[Document, SourcesOfRun | None]]], None]) -> None:
        """`write` stores documents, in a worker thread, each with the run in which the first one of its source replaces others."""
        self._write = write
        self._waiting: deque[_Entry] = deque()
        self._unsettled: set[asyncio.Future[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def put(self, document: Document, run: SourcesOfRun | None = None) -> None:
        """Stores a document, and returns when it is stored. A cancelled call may store it nevertheless. Raises what `write` raises.

        Args:
            document: the document.
            run: the first document of a source in it replaces all others of the source; None: it replaces none.
        """
        entry = _Entry(document, run, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._unsettled.add(entry.written)
        entry.written.add_done_callback(self._unsettled.discard)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="write to a store")
        try:
            await entry.written
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            raise

    async def close(self) -> None:
        """Waits until the last write has ended. Called after all others."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def settled(self) -> None:
        """Waits until the documents that were put before are stored, or have failed; not for later ones."""
        if self._unsettled:
            await asyncio.wait([*self._unsettled])

    async def _run(self) -> None:
        await asyncio.sleep(0)  # others may join in the same turn of the loop
        while self._waiting:
            part = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            await self._commit(part)

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
            await in_thread(self._write, [(entry.document, entry.run) for entry in part])
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
