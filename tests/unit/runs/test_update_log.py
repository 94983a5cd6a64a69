"""The log of a run: numbers, bounds, pacing, watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.server.host.log_lines import LogLines, log_update
from lanemesh.text_outputs import Entry, count_of, each_update, size_of_entry
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.runs.batches import MAX_BATCH_BYTES, MAX_BATCH_UPDATES, Batch, in_batches
from lanemesh_orchestrator.runs.owner_window import CALLER_BYTES, CALLER_UPDATES
from lanemesh_orchestrator.runs.retention import PAGE_UPDATES, RunMemory, Tail
from lanemesh_orchestrator.runs.update_log import MAX_OPTIONAL_BYTES, MAX_OPTIONAL_UPDATES, UpdateLog

Frames = list[update_pb2.Update | run_pb2.Gap]


def update(text: str = "") -> update_pb2.Update:
    return update_pb2.Update(node=update_pb2.NodeUpdate(component="c", detail=text))


def fill(log: UpdateLog, number: int, text: str = "") -> None:
    for _ in range(number):
        log.append(update(text))


def sequences(frames: Sequence[update_pb2.Update | run_pb2.Gap]) -> list[int]:
    return [frame.sequence for frame in frames if isinstance(frame, update_pb2.Update)]


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
    memory = RunMemory(10 * 2_000)
    log = UpdateLog(owned=False, memory=memory)
    fill(log, 25)
    log.close()
    first, *rest = await all_of(log, 3)
    kept = len(rest)
    assert 10 <= kept < 13
    assert first == run_pb2.Gap(from_sequence=3, to_sequence=25 - kept)
    assert sequences(rest) == list(range(26 - kept, 26))
    assert len(await all_of(log, 20)) == 6
    assert memory.held <= memory.budget


async def test_packed_updates_are_read_like_recent_ones_from_any_number_on() -> None:
    log = UpdateLog(owned=False)
    for number in range(3 * PAGE_UPDATES + 10):
        log.append(update(str(number)))
    log.close()
    for start in (1, 2, PAGE_UPDATES, PAGE_UPDATES + 1, 3 * PAGE_UPDATES, 3 * PAGE_UPDATES + 5):
        frames = await all_of(log, start)
        assert sequences(frames) == list(range(start, log.last + 1))
        assert [int(one.node.detail) for one in frames if isinstance(one, update_pb2.Update)] == list(
            range(start - 1, log.last)
        )


async def test_packed_text_outputs_are_read_like_recent_ones_from_any_number_on() -> None:
    log = UpdateLog(owned=False)
    for number in range(10):
        log.append_texts("c", "text", [f"{number}/{text}" for text in range(50)])
        log.append(update())
    log.close()
    expected = [f"{number}/{text}" for number in range(10) for text in (*range(50), "node")]
    for start in (1, 2, 50, 51, 52, 300, 509, 510):
        frames = await all_of(log, start)
        assert sequences(frames) == list(range(start, 511))
        seen = [one.output.item.text for one in frames if isinstance(one, update_pb2.Update)]
        assert seen == ["" if text.endswith("node") else text for text in expected[start - 1 :]]
        batches = [batch async for batch in log.batches(start) if not isinstance(batch, run_pb2.Gap)]
        assert sum(map(count_of, batches)) == 511 - start


async def test_an_owner_never_gets_a_gap_whatever_the_budget_is() -> None:
    log = UpdateLog(owned=True, memory=RunMemory(1))
    reader = log.read()
    fill(log, 500)
    seen = [await anext(reader) for _ in range(300)]
    fill(log, 500)
    log.close()
    log.end_pacing()
    log.end()
    seen += [frame async for frame in reader]
    assert sequences(seen) == list(range(1, 1_001))
    assert isinstance((await all_of(log))[0], run_pb2.Gap)  # a watcher gets one


async def test_the_memory_of_an_owner_that_has_gone_is_free() -> None:
    forgotten: list[str] = []
    memory = RunMemory(1)
    log = UpdateLog(owned=True, memory=memory, weight=100)
    log.on_forgotten = lambda: forgotten.append("log")
    fill(log, 500)
    assert memory.held > 500 * 1_000
    log.abandon()
    assert memory.held < 2_000  # the run, and its latest update
    log.close()
    log.end()
    assert (forgotten, memory.held) == (["log"], 0)


async def test_a_watcher_of_a_run_that_is_forgotten_meanwhile_gets_a_gap_and_the_terminal_update() -> None:
    memory = RunMemory(250_000)
    log = UpdateLog(owned=False, memory=memory)
    fill(log, 300)
    watcher = log.batches(paces=False)
    assert await size(watcher) == MAX_BATCH_UPDATES
    log.close()
    log.end()
    fill(UpdateLog(owned=False, memory=memory, weight=memory.budget), 1)
    gap, last = [batch async for batch in watcher]
    assert gap == run_pb2.Gap(from_sequence=MAX_BATCH_UPDATES + 1, to_sequence=299)
    assert isinstance(last, list)
    assert sequences(last) == [300]


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
    await asyncio.wait_for(waiting, 10)
    await reader.aclose()


async def test_a_batch_never_spans_a_gap() -> None:
    log = UpdateLog(owned=False, memory=RunMemory(10 * 1_700))
    fill(log, 25)
    log.close()
    assert await sizes(log, 3) == [-1, 10]


async def test_a_log_whose_updates_are_stored_keeps_a_short_tail_of_them() -> None:
    log = UpdateLog(owned=False, stored=True)
    log.sink = Stored()
    fill(log, 5_000)
    assert sequences(await readable(log)) == []  # nothing is stored yet, and so nothing is dropped
    log.written(4_990)
    gap, *rest = await readable(log)
    assert isinstance(gap, run_pb2.Gap)
    assert gap.to_sequence >= 5_000 - Tail().updates
    assert sequences(rest) == list(range(gap.to_sequence + 1, 4_991))


async def readable(log: UpdateLog) -> Frames:
    """What can be read now."""
    frames: Frames = []
    reader = log.read(paces=False)
    while True:
        following = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        if not following.done():
            following.cancel()
            return frames
        frames.append(following.result())


async def test_a_store_that_fails_twice_gets_every_update_at_last() -> None:
    log = UpdateLog(owned=False, stored=True, memory=RunMemory(1))
    log.sink = first = Recording()
    fill(log, 10)
    log.written(4)
    log.unstored()
    fill(log, 10)
    log.store_again(again := Recording())
    assert sequences(first.updates) == list(range(1, 11))
    assert sequences(again.updates) == list(range(5, 21))
    log.unstored()
    log.store_again(third := Recording())
    assert sequences(third.updates) == list(range(5, 21))


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
    await asyncio.wait_for(waiting, 10)
    await reader.aclose()


class Stored:
    """A store that is never behind, and has stored nothing yet."""

    is_behind = False
    capacity = 1_000

    async def caught_up(self) -> None:
        raise AssertionError("it is not behind")

    def add(self, entry: Entry, size: int) -> None:
        assert size == size_of_entry(entry)


class Recording(Stored):
    """A store that has stored nothing yet, and remembers what it is to store."""

    def __init__(self) -> None:
        self.updates: list[update_pb2.Update] = []

    def add(self, entry: Entry, size: int) -> None:
        self.updates += each_update([entry])


async def test_an_owner_is_held_to_the_same_lag_by_what_is_not_stored_yet() -> None:
    log = UpdateLog(owned=True, stored=True)
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
    await asyncio.wait_for(waiting, 10)
    await reader.aclose()


def state(of_run: update_pb2.RunState.ValueType) -> update_pb2.Update:
    """The update of a state of the run."""
    return update_pb2.Update(job=update_pb2.JobUpdate(state=of_run))


async def test_the_start_of_a_run_waits_for_its_next_state() -> None:
    log = UpdateLog(owned=True)
    log.append(state(update_pb2.RUN_STATE_STARTING))
    reader = log.owned_batches()
    first = asyncio.ensure_future(size(reader))
    await asyncio.sleep(0)  # the reader has found the update, and lets others run
    log.append(state(update_pb2.RUN_STATE_RUNNING))
    assert await first == 2
    await reader.aclose()


async def test_the_start_of_a_run_is_given_alone_if_nothing_follows() -> None:
    log = UpdateLog(owned=True)
    log.append(state(update_pb2.RUN_STATE_STARTING))
    reader = log.owned_batches()
    assert await size(reader) == 1
    await reader.aclose()


async def test_the_start_of_a_run_is_given_at_once_to_an_owner_that_awaits_it() -> None:
    log = UpdateLog(owned=True)
    log.append(state(update_pb2.RUN_STATE_STARTING))
    reader = log.owned_batches(awaits_start=True)
    first = asyncio.ensure_future(size(reader))
    await asyncio.sleep(0)
    log.append(state(update_pb2.RUN_STATE_RUNNING))
    assert await first == 1
    await reader.aclose()


async def test_an_owner_that_half_closed_is_refused_when_outputs_wait_for_it_although_it_has_got_every_update() -> None:
    log = UpdateLog(owned=True, stored=True)
    log.sink = Stored()
    log.end_acknowledgements()
    fill(log, CALLER_UPDATES)
    log.written(10)
    reader = log.owned_batches()
    assert await size(reader) == 10
    rest = asyncio.ensure_future(size(reader))
    log.written(CALLER_UPDATES)  # it gets what the window permits, once that is stored
    assert await rest == CALLER_UPDATES - 10
    with pytest.raises(LanemeshError, match="half-closed its call") as refused:
        await asyncio.wait_for(anext(reader), 10)
    assert refused.value.fault.reason == "half-closed"


async def test_optional_updates_stop_before_an_owner_is_much_further_behind_than_outputs() -> None:
    log = UpdateLog(owned=True, stored=True)
    log.sink = Stored()
    long = "x" * (CALLER_BYTES // 10)
    offered = 0
    while log.offer(update(long)):
        offered += 1
    assert offered <= 10 * 4
    log.close()
    log.written(log.last)
    first, *_ = await all_of(log)
    assert isinstance(first, update_pb2.Update)


async def test_without_an_owner_outputs_wait_for_nobody() -> None:
    log = UpdateLog(owned=False, memory=RunMemory(1))
    reader = log.batches()
    for _ in range(5_000):
        log.append(update())
        await log.wait_for_capacity()
    following = asyncio.ensure_future(anext(reader))
    await log.wait_for_capacity()
    assert await following == run_pb2.Gap(from_sequence=1, to_sequence=4_999)
    await reader.aclose()


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


async def test_log_lines_that_nobody_reads_are_bounded_by_number_and_bytes() -> None:
    for text, most in (("", MAX_OPTIONAL_UPDATES), ("x" * 8_000, MAX_OPTIONAL_BYTES // 8_000)):
        log = UpdateLog(owned=False)
        lines = LogLines(log.offer)
        for _ in range(MAX_OPTIONAL_UPDATES + 10):
            lines.report(log_update("c", 20, text))
        assert most * 0.98 < log.last <= most + 1
        reader = log.batches(log.last)
        await anext(reader)
        following = asyncio.ensure_future(anext(reader))  # acknowledges the first batch
        await asyncio.sleep(0)
        lines.report(log_update("c", 20, "next"))
        await following
        assert log.last > most
        await reader.aclose()


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
