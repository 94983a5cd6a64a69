"""Several views of one run at once, each bounded, and what they give when they are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from lanemesh import JobUpdate, LanemeshError, NodeState, OutputUpdate, RunFailed, ToolUpdate
from lanemesh._aio.signal import Signal
from lanemesh.channels import Channels
from lanemesh.client.fanout import MAX_UPDATES
from lanemesh.client.runs import Run
from lanemesh.codec import encode, make_item
from lanemesh.items import Envelope, Group, LaneType
from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh.values import Answer
from pydantic import BaseModel

import garbage

COMPLETED = update_pb2.Update(job=update_pb2.JobUpdate(run_id="r", state=update_pb2.RUN_STATE_COMPLETED))
CANCELLED = update_pb2.Update(
    job=update_pb2.JobUpdate(run_id="r", state=update_pb2.RUN_STATE_CANCELLED, reason="enough")
)
NODE = update_pb2.Update(node=update_pb2.NodeUpdate(component="a", state=update_pb2.NODE_STATE_RUNNING))
TOOL = update_pb2.Update(tool=update_pb2.ToolUpdate(component="agent_1", wave=1, thought="hm"))


def output(
    value: object, lane: LaneType = LaneType.TEXT, component: str = "out", group: Group | None = None
) -> update_pb2.Update:
    item = encode(lane, make_item(lane, value, Envelope(group=group) if group else None))
    return update_pb2.Update(output=update_pb2.OutputUpdate(component=component, port=lane.value, item=item))


class Link:
    """A run whose updates are given. `read` counts those that were taken from it."""

    def __init__(self, *updates: update_pb2.Update) -> None:
        self.given = updates
        self.read = 0
        self.acknowledged = 0
        self.closed = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.run_id = "r"

    def channels(self) -> Channels:
        raise NotImplementedError

    async def start(self, given: Sequence[run_pb2.RunInput] | None = None) -> bool:
        return False

    async def batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        for number, update in enumerate(self.given, 1):
            if self.gate is not None:
                await self.gate.wait()
            self.read += 1
            update.sequence = number
            yield [update]

    def acknowledge(self, sequence: int) -> None:
        assert self.acknowledged < sequence <= self.read
        self.acknowledged = sequence

    async def feed(self, given: run_pb2.RunInput) -> None:
        raise NotImplementedError

    async def push(self, given: run_pb2.RunInput) -> None:
        raise NotImplementedError

    async def end_input(self) -> None:
        pass

    async def cancel(self, reason: str) -> None:
        pass

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed.set()


async def test_several_views_of_one_run_are_read_at_the_same_time() -> None:
    link = Link(NODE, output("a"), TOOL, output("b", component="other"), output({"n": 1}, LaneType.DATA), COMPLETED)
    async with Run(link, None) as run:
        text, outputs, values, tools, nodes, updates = await asyncio.gather(
            run.text(), run.outputs(), run.values("other"), run.tools(), run.nodes(), run.updates()
        )
    assert text == "ab"
    assert [(one.component, one.lane, one.value) for one in outputs] == [
        ("out", "text", "a"),
        ("other", "text", "b"),
        ("out", "data", {"n": 1}),
    ]
    assert values == ["b"]
    assert [type(one).__name__ for one in tools] == ["ThoughtUpdate"]
    assert [one.state for one in nodes] == [NodeState.RUNNING]
    assert len(updates) == len(link.given)


async def test_a_view_that_is_not_read_holds_the_run_at_its_bound() -> None:
    link = Link(*[output(str(number)) for number in range(10 * MAX_UPDATES)], COMPLETED)
    async with Run(link, None) as run:
        slow, quick = run.values(), run.values()
        assert list(await asyncio.gather(anext(slow), anext(quick))) == ["0", "0"]
        assert [await anext(quick) for _ in range(MAX_UPDATES - 1)][-1] == str(MAX_UPDATES - 1)
        waiting = asyncio.ensure_future(anext(quick))
        for _ in range(5):
            await asyncio.sleep(0)
        assert (link.read, waiting.done()) == (MAX_UPDATES, False)
        assert link.acknowledged == 0  # the slow one has not asked for its second
        assert await anext(slow) == "1"
        assert await waiting == str(MAX_UPDATES)


class WindowLink(Link):
    """Gives an update only when fewer than 256 are not acknowledged, as an orchestrator does."""

    def __init__(self, *updates: update_pb2.Update) -> None:
        super().__init__(*updates)
        self.window = Signal()

    async def batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        for number, update in enumerate(self.given, 1):
            while number - self.acknowledged > MAX_UPDATES:
                await self.window.wait()
            self.read += 1
            update.sequence = number
            yield [update]

    def acknowledge(self, sequence: int) -> None:
        super().acknowledge(sequence)
        self.window.fire()


@pytest.mark.parametrize("before", [1, 129, 200, 255])
async def test_a_view_below_its_bound_does_not_hold_another(before: int) -> None:
    after = 300
    nodes = [update_pb2.Update(node=update_pb2.NodeUpdate(component="a")) for _ in range(after)]
    link = WindowLink(*[output("a") for _ in range(before)], *nodes, COMPLETED)
    async with Run(link, None) as run:
        idle = run.values()
        async with asyncio.timeout(5):
            first, states = await asyncio.gather(anext(idle), run.nodes())
        assert (first, len(states)) == ("a", after)
        assert len([value async for value in idle]) == before - 1


async def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    link = Link(output("a"), output("b"), COMPLETED)
    link.gate = asyncio.Event()
    async with Run(link, None) as run:
        values = run.values()
        waiting = asyncio.ensure_future(anext(values))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        link.gate.set()
        assert [value async for value in values] == ["a", "b"]


async def test_a_view_that_is_left_early_holds_nothing_and_the_result_still_comes() -> None:
    link = Link(*[output(str(number)) for number in range(5 * MAX_UPDATES)], COMPLETED)
    async with Run(link, None) as run:
        async for value in run.values():
            assert value == "0"
            break
        garbage.collect()
        result = await run.result()
        assert result.state == "completed"
        assert result.values[-1] == str(5 * MAX_UPDATES - 1)


async def test_without_a_block_leaving_the_only_view_cancels_the_run() -> None:
    link = Link(*[output(str(number)) for number in range(5 * MAX_UPDATES)], COMPLETED)
    async for _ in Run(link, None).values():
        break
    garbage.collect()
    async with asyncio.timeout(10):
        await link.closed.wait()

    link = Link(*[output(str(number)) for number in range(5 * MAX_UPDATES)], COMPLETED)
    async with aclosing(Run(link, None).text()) as text:
        await anext(text)
    assert link.closed.is_set()


async def test_a_run_that_did_not_complete_raises_after_what_came_before() -> None:
    run = Run(Link(output("a"), CANCELLED), None)
    text = run.text()
    assert await anext(text) == "a"
    with pytest.raises(RunFailed, match="run r was cancelled: enough"):
        await anext(text)
    assert run.state == "cancelled"

    nodes = Run(Link(NODE, CANCELLED), None).nodes()
    assert (await anext(nodes)).state == "running"
    with pytest.raises(RunFailed, match="enough"):
        await anext(nodes)
    tools = Run(Link(TOOL, CANCELLED), None).tools()
    assert isinstance(await anext(tools), ToolUpdate)
    with pytest.raises(RunFailed, match="enough"):
        await anext(tools)
    updates = await Run(Link(NODE, CANCELLED), None).updates()
    assert isinstance(updates[-1], JobUpdate)
    assert updates[-1].state == "cancelled"

    result = await Run(Link(output("a"), CANCELLED), None).result()
    assert (result.text, result["out"]) == ("a", ("a",))
    with pytest.raises(RunFailed, match="enough"):
        result.raise_for_state()


class River(BaseModel):
    name: str
    length_km: int


async def test_json_comes_from_data_structured_answers_and_texts_in_pieces() -> None:
    danube = {"name": "Danube", "length_km": 2850}
    text = '{"name": "Danube", "length_km": 2850}'
    pieces = [
        output(text[:9], group=Group("g", 0)),
        output('{"name": "Rhine", "length_km": 1233}', group=Group("h", 0, last=True)),
        output(text[9:], group=Group("g", 1, last=True)),
    ]

    assert await Run(Link(output(danube, LaneType.DATA), COMPLETED), None).json(River) == River.model_validate(danube)
    assert await Run(Link(output(text), COMPLETED), None).json() == danube
    rivers = [river.name async for river in Run(Link(*pieces, COMPLETED), None).json(River)]
    assert rivers == ["Rhine", "Danube"]
    whole = [
        output(Answer(text="{"), LaneType.ANSWERS, group=Group("a", 0)),
        output(Answer(data=danube, finish_reason="stop"), LaneType.ANSWERS, group=Group("a", 1, last=True)),
    ]
    assert await Run(Link(*whole, COMPLETED), None).json(River) == River.model_validate(danube)


async def test_invalid_json_or_several_values_raise_an_error_with_a_hint() -> None:
    with pytest.raises(LanemeshError, match=r"the output of out is not JSON .* Read it with `text\(\)`"):
        await Run(Link(output("no json"), COMPLETED), None).json()
    two = [output(number, LaneType.DATA) for number in (1, 2)]
    with pytest.raises(LanemeshError, match="the run has 2 JSON values"):
        await Run(Link(*two, COMPLETED), None).json()


async def test_updates_are_matched_by_their_types() -> None:
    seen = []
    async for update in Run(Link(NODE, output("a"), COMPLETED), None).updates():
        match update:
            case OutputUpdate(component="out", value=value):
                seen.append(value)
    assert seen == ["a"]
