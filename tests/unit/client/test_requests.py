"""Requests: started when they are read, limited per client, started again after a rejection, and cancelled when they are left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import pytest
from lanemesh import Code, Fault, LanemeshError, Request, RunFailed
from lanemesh.channels import Channels
from lanemesh.client.inputs import to_input
from lanemesh.client.requests import MAX_PAUSE_SECONDS, RequestLimit
from lanemesh.client.runs import RunLink
from lanemesh.faults import ValueRefused
from lanemesh.items import MAX_VALUE_BYTES
from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2, update_pb2

import garbage


def rejection(retry_after: float | None) -> LanemeshError:
    fault = Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message="full", retry_after=retry_after)
    return LanemeshError(fault)


class Server:
    """Runs that echo their input, as an orchestrator that can be held up and can reject."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.rejections: list[LanemeshError] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.start_gate = asyncio.Event()
        self.start_gate.set()
        self.starting: asyncio.Queue[Link] = asyncio.Queue()
        self.started: asyncio.Queue[Link] = asyncio.Queue()

    def link(self, timeout: float | None) -> RunLink:
        return Link(self, timeout)


class Link:
    """One run of the server."""

    def __init__(self, server: Server, timeout: float | None) -> None:
        self.server = server
        self.timeout = timeout
        self.run_id = ""
        self.input: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled = ""
        self.closed = asyncio.Event()

    def channels(self) -> Channels:
        raise NotImplementedError

    async def start(self, given: Sequence[run_pb2.RunInput] | None = None) -> bool:
        self.server.links.append(self)
        if self.server.rejections:
            raise self.server.rejections.pop(0)
        self.server.starting.put_nowait(self)
        await self.server.start_gate.wait()
        self.run_id = f"r{len(self.server.links)}"
        self.server.started.put_nowait(self)
        return False

    async def batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        while text := await self.input.get():
            item = to_input(text).item
            yield [update_pb2.Update(output=update_pb2.OutputUpdate(component="out", item=item))]
        await self.server.gate.wait()
        state = update_pb2.RUN_STATE_CANCELLED if self.cancelled else update_pb2.RUN_STATE_COMPLETED
        yield [update_pb2.Update(job=update_pb2.JobUpdate(run_id=self.run_id, state=state, reason=self.cancelled))]

    def acknowledge(self, sequence: int) -> None:
        raise AssertionError("no run has as many updates")

    async def feed(self, given: run_pb2.RunInput) -> None:
        self.input.put_nowait(given.item.text)

    async def push(self, given: run_pb2.RunInput) -> None:
        raise NotImplementedError

    async def end_input(self) -> None:
        self.input.put_nowait("")

    async def cancel(self, reason: str) -> None:
        self.cancelled = reason
        self.input.put_nowait("")

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed.set()


@pytest.fixture
async def server() -> Server:
    return Server()


def held(server: Server) -> Server:
    """The server, whose runs do not end by themselves."""
    server.gate.clear()
    return server


async def within(event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await event.wait()


@pytest.mark.conformance("REQ-01")
async def test_it_is_awaited_for_its_result_or_a_view_and_iterated_for_its_values(server: Server) -> None:
    limit = RequestLimit()

    def request() -> Request:
        return Request(server.link, "hello", limit)

    result = await request()
    assert (result.state, result.values, result.text) == ("completed", ("hello",), "hello")
    assert await request().text() == "hello"
    assert await request().values() == ["hello"]
    assert [output.component for output in await request().outputs()] == ["out"]
    assert [value async for value in request()] == ["hello"]
    async with request() as entered:
        assert (await entered).values == ("hello",)
    assert (await Request(server.link, None, limit)).values == ()
    assert all(link.closed.is_set() for link in server.links)


async def test_one_that_was_read_is_not_read_again_but_keeps_its_result(server: Server) -> None:
    request = Request(server.link, "hello", RequestLimit())
    assert await request is await request
    assert (await request).values == ("hello",)
    again = Request(server.link, "hello", RequestLimit())
    assert await again.text() == "hello"
    for read in (request.text(), again.values(), again):
        with pytest.raises(LanemeshError, match="was read to its end already") as caught:
            await read
        assert caught.value.fault.reason == "already-read"
    async with Request(server.link, "hello", RequestLimit()) as both:
        text, values = await asyncio.gather(both.text(), both.values())
    assert (text, values) == ("hello", ["hello"])


async def test_an_awaited_request_raises_the_failure_of_its_run(server: Server) -> None:
    request = Request(held(server).link, "x", RequestLimit())
    waiting = asyncio.ensure_future(request.all())
    await server.started.get()
    await request.cancel("enough")
    server.gate.set()
    with pytest.raises(RunFailed, match="cancelled: enough"):
        await waiting


async def broken_off(request: Request, server: Server) -> None:
    async for _ in request:
        break


async def raised_out_of(request: Request, server: Server) -> None:
    async def read() -> None:
        async for value in request:
            raise KeyError(value)

    with pytest.raises(KeyError):
        await read()


async def left_the_block(request: Request, server: Server) -> None:
    async with request:
        async for _ in request:
            break


async def cancelled_await(request: Request, server: Server) -> None:
    waiting = asyncio.ensure_future(request.all())
    await server.started.get()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def cancelled_text(request: Request, server: Server) -> None:
    waiting = asyncio.ensure_future(request.text().all())
    await server.started.get()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def cancelled_loop(request: Request, server: Server) -> None:
    async def read() -> None:
        async for _ in request:
            first.set()

    first = asyncio.Event()
    waiting = asyncio.ensure_future(read())
    await within(first)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def timed_out(request: Request, server: Server) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await request.text()


async def started_alone(request: Request, server: Server) -> None:
    await request.start()
    assert request._feeder is not None
    await request._feeder


LEAVING = [
    broken_off,
    raised_out_of,
    left_the_block,
    cancelled_await,
    cancelled_text,
    cancelled_loop,
    timed_out,
    started_alone,
]


@pytest.mark.conformance("REQ-01")
@pytest.mark.parametrize("leave", LEAVING, ids=lambda leave: leave.__name__)
async def test_leaving_it_closes_its_run_and_gives_back_its_place(
    leave: Callable[[Request, Server], Awaitable[None]], server: Server
) -> None:
    limit = RequestLimit(1)
    await leave(Request(held(server).link, "x", limit), server)
    garbage.collect()
    await within(server.links[0].closed)
    server.gate.set()
    assert await Request(server.link, "next", limit).text() == "next"


@pytest.mark.conformance("REQ-01")
async def test_one_that_is_never_read_leaves_nothing(server: Server) -> None:
    limit = RequestLimit(1)
    tasks = asyncio.all_tasks()
    Request(server.link, "x", limit)
    Request(server.link, "x", limit).text()
    garbage.collect()
    assert (server.links, asyncio.all_tasks()) == ([], tasks)
    assert await Request(server.link, "x", limit).text() == "x"


@pytest.mark.conformance("REQ-02")
async def test_those_above_the_limit_wait_for_their_turn_in_order(server: Server) -> None:
    held(server)
    limit = RequestLimit(2)
    waiting = [asyncio.ensure_future(Request(server.link, str(number), limit).text().all()) for number in range(6)]
    await server.started.get()
    await server.started.get()
    assert (await asyncio.wait(waiting, timeout=0))[0] == set()
    assert len(server.links) == 2
    server.gate.set()
    assert await asyncio.gather(*waiting) == list("012345")
    assert len(server.links) == 6


@pytest.mark.conformance("REQ-02")
async def test_one_that_waits_for_its_turn_can_be_left_and_cancelled(server: Server) -> None:
    held(server)
    limit = RequestLimit(1)
    first = asyncio.ensure_future(Request(server.link, "first", limit).text().all())
    await server.started.get()
    left = asyncio.ensure_future(Request(server.link, "left", limit).text().all())
    cancelled = Request(server.link, "cancelled", limit)
    ended = asyncio.ensure_future(cancelled.result())
    last = asyncio.ensure_future(Request(server.link, "last", limit).text().all())
    await asyncio.sleep(0)
    left.cancel()
    await cancelled.cancel("not needed")
    result = await ended
    assert (result.state, result.reason) == ("cancelled", "not needed")
    server.gate.set()
    assert list(await asyncio.gather(first, last)) == ["first", "last"]
    assert left.cancelled()
    assert [link.run_id for link in server.links] == ["r1", "r2"]


@pytest.mark.conformance("REQ-02")
async def test_one_that_is_closed_before_its_turn_or_while_it_starts_keeps_no_place(server: Server) -> None:
    held(server)
    limit = RequestLimit(1)
    first = asyncio.ensure_future(Request(server.link, "first", limit).text().all())
    await server.started.get()
    closed = Request(server.link, "closed", limit)
    reading = asyncio.ensure_future(closed.text().all())
    await asyncio.sleep(0)
    await closed.close()
    with pytest.raises(RunFailed, match="closed before it started"):
        await reading
    server.gate.set()
    assert await first == "first"

    server.start_gate.clear()
    server.starting.get_nowait()
    starting = Request(server.link, "starting", limit)
    reading = asyncio.ensure_future(starting.text().all())
    await server.starting.get()
    closing = asyncio.ensure_future(starting.close())
    await asyncio.sleep(0)
    server.start_gate.set()
    await closing
    with pytest.raises(RunFailed, match="cancelled"):
        await reading
    assert server.links[-1].closed.is_set()
    assert await Request(server.link, "next", limit).text() == "next"


async def test_waiting_requests_are_bounded_and_those_that_are_left_do_not_count(server: Server) -> None:
    held(server)
    limit = RequestLimit(1, most_waiting=2)
    first = asyncio.ensure_future(Request(server.link, "first", limit).text().all())
    await server.started.get()
    for _ in range(5):
        with pytest.raises(RunFailed, match="it waited for its turn"):
            await Request(server.link, "x", limit, timeout=0.001)
    waiting = [asyncio.ensure_future(Request(server.link, text, limit).text().all()) for text in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(LanemeshError, match="1 requests of this mesh or client are open, and 2 wait") as caught:
        await Request(server.link, "x", limit)
    assert (caught.value.fault.code, caught.value.fault.reason) == (Code.RESOURCE_EXHAUSTED, "too-many-requests")
    server.gate.set()
    assert list(await asyncio.gather(first, *waiting)) == ["first", "a", "b"]


async def test_a_turn_that_comes_with_a_cancellation_is_passed_on(server: Server) -> None:
    limit = RequestLimit(1)
    assert limit.enter() is None
    left = asyncio.ensure_future(Request(server.link, "left", limit).text().all())
    last = asyncio.ensure_future(Request(server.link, "last", limit).text().all())
    await asyncio.sleep(0)
    assert len(limit._waiting) == 2
    limit.leave()
    left.cancel()
    assert await last == "last"
    assert left.cancelled()


@pytest.mark.conformance("REQ-02")
async def test_the_timeout_includes_the_wait_for_a_turn(server: Server) -> None:
    held(server)
    limit = RequestLimit(1)
    first = asyncio.ensure_future(Request(server.link, "first", limit).text().all())
    await server.started.get()
    with pytest.raises(RunFailed, match="1 open requests") as caught:
        await Request(server.link, "x", limit, timeout=0.02)
    assert (caught.value.fault.code, caught.value.fault.reason) == (Code.DEADLINE_EXCEEDED, "timeout")
    late = asyncio.ensure_future(Request(server.link, "late", limit, timeout=3600).text().all())
    await asyncio.sleep(0)
    server.gate.set()
    assert list(await asyncio.gather(first, late)) == ["first", "late"]
    timeout = server.links[-1].timeout
    assert timeout is not None
    assert 0 < timeout < 3600


@pytest.mark.conformance("REQ-04")
async def test_the_timeout_includes_the_start(server: Server) -> None:
    limit = RequestLimit(1)
    server.start_gate.clear()
    with pytest.raises(RunFailed, match="its run was not started by then") as caught:
        await Request(server.link, "x", limit, timeout=0.02)
    assert (caught.value.fault.code, caught.value.fault.reason) == (Code.DEADLINE_EXCEEDED, "timeout")
    server.start_gate.set()
    assert await Request(server.link, "x", limit, timeout=3600).text() == "x"


@pytest.mark.conformance("REQ-03")
async def test_a_rejection_is_raised_with_its_suggested_pause(server: Server) -> None:
    limit = RequestLimit(1)
    server.rejections = [rejection(2.5)]
    with pytest.raises(LanemeshError, match="full") as caught:
        await Request(server.link, "x", limit)
    assert caught.value.retry_after == 2.5
    assert await Request(server.link, "x", limit).text() == "x"


@pytest.mark.conformance("REQ-03")
async def test_it_is_started_again_as_often_as_it_may_be(server: Server) -> None:
    limit = RequestLimit(1)
    server.rejections = [rejection(0.001) for _ in range(3)]
    assert await Request(server.link, "x", limit, retries=3).text() == "x"
    assert len(server.links) == 4
    server.rejections = [rejection(0.001) for _ in range(3)]
    with pytest.raises(LanemeshError, match="full"):
        await Request(server.link, "x", limit, retries=2).text()
    server.rejections = [rejection(None)]
    with pytest.raises(LanemeshError, match="full"):
        await Request(server.link, "x", limit, retries=2).text()
    assert len(server.links) == 8
    with pytest.raises(ValueError, match="0 to 100"):
        Request(server.link, "x", limit, retries=101)


@pytest.mark.conformance("REQ-03")
async def test_no_retry_begins_after_the_timeout(server: Server) -> None:
    server.rejections = [rejection(50.0)]
    with pytest.raises(LanemeshError, match="full"):
        await Request(server.link, "x", RequestLimit(), timeout=10, retries=5)
    server.rejections = [rejection(0.001)]
    assert await Request(server.link, "x", RequestLimit(), timeout=10, retries=5).text() == "x"
    timeout = server.links[-1].timeout
    assert timeout is not None
    assert 0 < timeout < 10


@pytest.mark.conformance("REQ-03")
async def test_a_pause_is_bounded_and_ends_with_a_cancellation(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float | None] = []
    pausing = asyncio.Event()
    wait = asyncio.wait

    async def noted(waited: list[asyncio.Future[object]], *, timeout: float | None = None) -> object:
        pauses.append(timeout)
        pausing.set()
        return await wait(waited, timeout=timeout)

    monkeypatch.setattr("lanemesh.client.requests.asyncio.wait", noted)
    server.rejections = [rejection(1e9)]
    request = Request(server.link, "x", RequestLimit(), retries=1)
    ended = asyncio.ensure_future(request.result())
    await within(pausing)
    await request.cancel("enough")
    assert (await ended).reason == "enough"
    assert pauses[0] is not None
    assert MAX_PAUSE_SECONDS <= pauses[0] <= 1.5 * MAX_PAUSE_SECONDS


async def test_an_input_that_no_lane_carries_is_refused_before_the_start(server: Server) -> None:
    with pytest.raises(ValueRefused, match="the limit is"):
        Request(server.link, "x" * (MAX_VALUE_BYTES + 1), RequestLimit())
    with pytest.raises(ValueRefused, match="not a JSON value"):
        Request(server.link, object(), RequestLimit())
    assert server.links == []


def test_the_limit_begins_anew_in_another_event_loop() -> None:
    limit = RequestLimit(1)

    async def use() -> None:
        assert limit.enter() is None
        assert limit.enter() is not None

    asyncio.run(use())
    asyncio.run(use())
