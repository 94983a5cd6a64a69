"""Writes that are joined: what waits while one runs is the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from lanemesh import Document
from lanemesh_services.search.errors import other_dimension, store_away
from lanemesh_services.search.group_commit import MOST, GroupCommit
from lanemesh_services.search.replaced_sources import SourcesOfRun


class Written:
    """Notes writes, each of which waits until it may go on."""

    def __init__(self) -> None:
        self.parts: list[list[str]] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, documents: Sequence[tuple[Document, SourcesOfRun | None]]) -> None:
        contents = [document.content for document, _ in documents]
        self.begun.set()
        self.go_on.wait(10)
        if "bad" in contents:
            raise other_dimension("here", "docs", 3, 2)
        if "away" in contents:
            raise store_away("here", "no answer")
        self.parts.append(contents)


@pytest.fixture
def written() -> Written:
    return Written()


async def begun(written: Written, commit: GroupCommit) -> asyncio.Task[None]:
    """A first write that runs."""
    first = asyncio.create_task(commit.put(Document("first")))
    await asyncio.to_thread(written.begun.wait, 10)
    return first


async def test_happy_what_waits_is_written_at_once(written: Written) -> None:
    commit = GroupCommit(written)
    first = await begun(written, commit)
    others = [asyncio.create_task(commit.put(Document(str(n)))) for n in range(MOST + 1)]
    await asyncio.sleep(0)
    written.go_on.set()

    await asyncio.gather(first, *others)

    assert [len(part) for part in written.parts] == [1, MOST, 1]
    assert written.parts[1] == [str(n) for n in range(MOST)]


async def test_error_a_document_that_cannot_be_written_fails_alone(written: Written) -> None:
    commit = GroupCommit(written)
    written.go_on.set()

    results = await asyncio.gather(
        *(commit.put(Document(text)) for text in ("one", "bad", "two")), return_exceptions=True
    )

    assert [type(result).__name__ for result in results] == ["NoneType", "StoreFailed", "NoneType"]
    assert written.parts == [["one"], ["two"]]


async def test_error_a_store_that_is_away_fails_all_without_further_tries(written: Written) -> None:
    commit = GroupCommit(written)
    written.go_on.set()
    results = await asyncio.gather(*(commit.put(Document(text)) for text in ("one", "away")), return_exceptions=True)
    assert [getattr(result, "fault").reason for result in results] == ["store-unreachable"] * 2  # noqa: B009
    assert written.parts == []


async def test_shutdown_a_question_waits_for_what_was_put_before_and_a_cancelled_put_leaves(written: Written) -> None:
    commit = GroupCommit(written)
    first = await begun(written, commit)
    waiting = asyncio.create_task(commit.put(Document("second")))
    cancelled = asyncio.create_task(commit.put(Document("cancelled")))
    await asyncio.sleep(0)
    settled = asyncio.create_task(commit.settled())
    await asyncio.sleep(0)
    assert not settled.done()
    cancelled.cancel()
    written.go_on.set()

    await asyncio.gather(first, waiting, settled)
    await commit.close()

    assert cancelled.cancelled()
    assert written.parts == [["first"], ["second"]]
    await commit.settled()
