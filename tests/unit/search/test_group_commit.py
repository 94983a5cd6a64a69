"""Writes that are joined: who waits for which of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from lanemesh import Document
from lanemesh_services.search.group_commit import GroupCommit


async def test_a_reader_waits_for_the_writes_before_it_and_for_no_later_one() -> None:
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)
    stored: list[str] = []

    def write(documents: Sequence[tuple[Document, bool]]) -> None:
        begun.release()
        assert may_end.acquire(timeout=10)
        stored.extend(document.source for document, _ in documents)

    writes = GroupCommit(write)
    first = asyncio.create_task(writes.put(Document("", source="first")))
    assert await asyncio.to_thread(begun.acquire, timeout=10)
    reader = asyncio.create_task(writes.written())
    await asyncio.sleep(0)
    later = asyncio.create_task(writes.put(Document("", source="later")))
    await asyncio.sleep(0)
    assert not reader.done()

    may_end.release()
    await reader
    assert stored == ["first"]
    assert not later.done()

    may_end.release()
    await asyncio.gather(first, later)
    await writes.written()
    await writes.settled()
    assert stored == ["first", "later"]
