"""The log of a run: numbers, bounds, pacing, watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from lanemesh.server.host.log_lines import LogLines, log_update
from lanemesh.text_outputs import Entry, size_of_entry
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.runs.update_log import (
    CALLER_UPDATES,
    MAX_BATCH_BYTES,
    MAX_BATCH_UPDATES,
    MAX_BYTES,
    Batch,
    UpdateLog,
    in_batches,
)

Frames = list[update_pb2.Update | run_pb2.Gap]


def update(text: str = "") -> update_pb2.Update:
    return update_pb2.Update(node=update_pb2.NodeUpdate(component="c", detail=text))


def fill(log: UpdateLog, number: int, text: str = "") -> None:
    for _ in range(number):
        log.append(update(text))


async def all_of(log: UpdateLog, start: int = 1) -> Frames:
    return [frame async for frame in log.read(start)]


async def test_updates_are_numbered_and_stamped() -> None:
    log = UpdateLog(owned=True)
    fill(log, 3)
    log.close()
    log.append(update("after the end"))
    frames = await all_of(log)
    assert [frame.sequence for frame in frames if isinstance(frame, update_pb2.Update)] == [1, 2, 3]
    assert all(frame.HasField("time") for frame in frames if isinstance(frame, update_pb2.Update))


async def test_the_oldest_are_dropped_at_the_bound_and_readers_get_a_gap() -> None:
    log = UpdateLog(owned=True, max_updates=10)
    fill(log, 25)
    log.close()
    first, *rest = await all_of(log, 3)
    assert first == run_pb2.Gap(from_sequence=3, to_sequence=15)
    assert [frame.sequence for frame in rest if isinstance(frame, update_pb2.Update)] == list(range(16, 26))
    assert len(await all_of(log, 20)) == 6


async def sizes(log: UpdateLog, start: int = 1) -> list[int]:
    """How many updates each batch has; -1 is a gap."""
    return [-1 if isinstance(batch, run_pb2.Gap) else len(batch) async for batch in log.batches(start)]


async def test_a_batch_has_all_updates_that_can_be_read_up_to_its_bounds() -> None:
    log = UpdateLog(owned=True)
    fill(log, MAX_BATCH_UPDATES + 3)
    log.append(update("x" * MAX_BATCH_BYTES))
    fill(log, 2, "x" * (MAX_BATCH_BYTES // 2 - 200))
    fill(log, 1)
    log.close()
    assert await sizes(log) == [MAX_BATCH_UPDATES, 3, 1, 3]
    assert await sizes(log, MAX_BATCH_UPDATES + 7) == [1]
    (*_, stored) = [
        [*batch] for batch in in_batches([frame for frame in await all_of(log) if isinstance(frame, update_pb2.Update)])
    ]
    assert len(stored) == 3


async def size(reader: AsyncGenerator[Batch, None] | AsyncGenerator[Sequence[Entry], None]) -> int:
    """How many updates the next batch has."""
    batch = await anext(reader)
    assert not isinstance(batch, run_pb2.Gap)
    return len(batch)


async def test_updates_during_a_send_form_the_next_batch_and_requesting_it_acknowledges_the_last() -> None:
    log = UpdateLog(owned=True)
    fill(log, 1)
    reader = log.batches()
    assert await size(reader) == 1
    fill(log, CALLER_UPDATES - 1)
    waiting = await waits(log)
    assert not waiting.done()
    assert await size(reader) == CALLER_UPDATES - 1
    await asyncio.wait_for(waiting, 1)
    await reader.aclose()


async def test_a_batch_never_spans_a_gap() -> None:
    log = UpdateLog(owned=True, max_updates=10)
    fill(log, 25)
    log.close()
    assert await sizes(log, 3) == [-1, 10]


async def test_bytes_are_bounded_too_and_the_last_is_kept() -> None:
    log = UpdateLog(owned=True, max_bytes=1000)
    fill(log, 50, "x" * 100)
    assert log.kept_bytes <= 1000
    log.append(update("x" * 5000))
    log.close()
    *_, last = await all_of(log)
    assert isinstance(last, update_pb2.Update)
    assert len(last.node.detail) == 5000


async def waits(log: UpdateLog) -> asyncio.Task[None]:
    """An output that waits for capacity."""
    task = asyncio.create_task(log.wait_for_capacity())
    await asyncio.sleep(0)
    return task


async def test_outputs_wait_for_an_owner_who_is_behind() -> None:
    log = UpdateLog(owned=True)
    fill(log, CALLER_UPDATES - 1)
    assert (await waits(log)).done()
    fill(log, 1)
    waiting = await waits(log)
    assert not waiting.done()
    reader = log.read()
    await anext(reader)
    await anext(reader)  # requesting the next one acknowledges the first
    await asyncio.wait_for(waiting, 1)
    await reader.aclose()


class Stored:
    """A store that is never behind, and has stored nothing yet."""

    is_behind = False

    async def caught_up(self) -> None:
        raise AssertionError("it is not behind")

    def add(self, entry: Entry, size: int) -> None:
        assert size == size_of_entry(entry)


async def test_an_owner_is_held_to_the_same_lag_by_what_is_not_stored_yet() -> None:
    log = UpdateLog(owned=True)
    log.sink = Stored()
    fill(log, CALLER_UPDATES - 1)
    assert (await waits(log)).done()
    fill(log, 1)
    waiting = await waits(log)
    assert not waiting.done()
    log.written(1)
    reader = log.owned_batches()
    assert await size(reader) == 1
    log.acknowledge(1)
    await asyncio.wait_for(waiting, 1)
    await reader.aclose()


async def test_what_may_be_left_out_pushes_out_nothing_that_is_stored_and_unread() -> None:
    log = UpdateLog(owned=True)
    log.sink = Stored()
    long = "x" * (MAX_BYTES // 100)
    while log.offer(update(long)):
        pass
    assert log.kept_bytes <= MAX_BYTES // 2
    log.close()
    log.written(log.last)
    first, *_ = await all_of(log)
    assert isinstance(first, update_pb2.Update)


async def test_who_starts_late_is_not_held_to_what_came_before() -> None:
    """A detached run with a watcher from the middle on: all its bytes count as read, not only the watched ones."""
    log = UpdateLog(owned=False, max_updates=10_000, max_bytes=10_000)
    fill(log, 90, "x" * 100)
    assert not (await waits(log)).done()
    reader = log.read(log.last)
    await anext(reader)
    following = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    assert (await waits(log)).done()
    fill(log, 1)
    await following
    await reader.aclose()


async def test_without_a_reader_outputs_wait_at_the_bound_and_no_sooner() -> None:
    log = UpdateLog(owned=False, max_updates=1000)
    fill(log, 999)
    assert (await waits(log)).done()
    fill(log, 1)
    waiting = await waits(log)
    assert not waiting.done()
    log.abandon()
    await asyncio.wait_for(waiting, 1)


async def test_a_watcher_that_does_not_pace_frees_no_capacity() -> None:
    log = UpdateLog(owned=True)
    fill(log, CALLER_UPDATES)
    waiting = await waits(log)
    watcher = log.read(paces=False)
    for _ in range(CALLER_UPDATES):
        await anext(watcher)
    await asyncio.sleep(0)
    assert not waiting.done()
    log.close()
    await waiting
    await watcher.aclose()


async def test_what_may_be_left_out_is_when_the_reader_is_far_behind_and_is_counted() -> None:
    log = UpdateLog(owned=True)
    lines = LogLines(log.offer)
    total = 10 * CALLER_UPDATES
    for number in range(total):
        lines.report(log_update("c", 20, f"line {number}"))
    told = log.last
    assert CALLER_UPDATES < told < total
    (rest,) = lines.rests()
    assert rest.log.message == f"{total - told:,} log lines were dropped: too many at once"
    assert lines.rests() == []


async def test_log_lines_never_displace_unread_outputs_of_a_full_log() -> None:
    log = UpdateLog(owned=False, max_updates=100)
    log.append(update_pb2.Update(output=update_pb2.OutputUpdate(component="c")))
    lines = LogLines(log.offer)
    for number in range(300):
        lines.report(log_update("c", 20, f"line {number}"))
    await asyncio.wait_for(log.wait_for_capacity(), 1)  # nor do they make further ones wait
    log.close()
    first, *rest = await all_of(log)
    assert isinstance(first, update_pb2.Update)
    assert first.WhichOneof("kind") == "output"
    assert len(rest) == 10


async def test_a_line_after_dropped_ones_follows_their_count() -> None:
    has_capacity, said = False, []

    def offer(line: update_pb2.Update) -> bool:
        if has_capacity:
            said.append(line.log.message)
        return has_capacity

    lines = LogLines(offer)
    for number in range(3):
        lines.report(log_update("c", 20, str(number)))
    has_capacity = True
    lines.report(log_update("c", 20, "next"))
    assert said == ["3 log lines were dropped: too many at once", "next"]
    assert lines.rest("c") is None


def test_a_long_line_is_cut() -> None:
    message = log_update("c", 40, "x" * 10_000 + "\ud800").log.message
    assert message.endswith("... (1,809 more characters)")


async def test_updates_of_states_push_out_no_output_that_waits_for_a_reader() -> None:
    log = UpdateLog(owned=False, max_updates=100)
    for _ in range(100):
        log.append(update_pb2.Update(output=update_pb2.OutputUpdate(component="c")))
    for _ in range(20):
        log.append(update_pb2.Update(node=update_pb2.NodeUpdate(component="c")))
    log.close()
    kept = await all_of(log)
    assert [one.WhichOneof("kind") for one in kept if isinstance(one, update_pb2.Update)] == ["output"] * 100 + [
        "node"
    ] * 20


async def test_the_spare_capacity_for_updates_of_states_is_bounded() -> None:
    log = UpdateLog(owned=False, max_updates=100)
    fill(log, 100)
    for _ in range(1000):
        log.append(update_pb2.Update(node=update_pb2.NodeUpdate(component="c")))
    log.close()
    missed, *rest = await all_of(log)
    assert isinstance(missed, run_pb2.Gap)
    assert len(rest) == 125
