"""Inputs in the first frame of a run: they arrive once and in order, whatever the orchestrator reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lanemesh import Client
from lanemesh.client.specs import run_spec
from lanemesh.v1 import lane_pb2, run_pb2
from lanemesh.v1.run_pb2_grpc import RunServiceStub
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs import owner_call
from lanemesh_orchestrator.runs.owner_call import OwnerCall

from rigs.lane_frames import raw_channel
from rigs.runs import NODES, line, node

PASSED = line(node("a", "pass", "chat"))


@pytest.fixture
async def orchestrator() -> AsyncIterator[Orchestrator]:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    yield orchestrator
    await orchestrator.close()


@pytest.fixture
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[run_pb2.RunInput]:
    """The inputs that came in frames of their own."""
    found: list[run_pb2.RunInput] = []
    enqueue = OwnerCall._enqueue

    async def noting(self: OwnerCall, given: run_pb2.RunInput) -> None:
        found.append(given)
        await enqueue(self, given)

    monkeypatch.setattr(OwnerCall, "_enqueue", noting)
    return found


async def values(orchestrator: Orchestrator, *inputs: Any) -> tuple[object, ...]:
    """What a run of these inputs returns."""
    async with Client(orchestrator.address) as client:
        return (await client.run(PASSED, inputs=list(inputs)).result()).values


@pytest.mark.conformance("START-01")
async def test_few_inputs_travel_with_the_pipeline(
    orchestrator: Orchestrator, enqueued: list[run_pb2.RunInput]
) -> None:
    assert await values(orchestrator, "x", "y") == ("x", "y")
    assert enqueued == []


@pytest.mark.conformance("START-01")
@pytest.mark.parametrize("inputs", [["x"] * 17, ["x" * 70_000, "y"]], ids=["many", "large"])
async def test_other_inputs_follow_in_frames_of_their_own(
    inputs: list[str], orchestrator: Orchestrator, enqueued: list[run_pb2.RunInput]
) -> None:
    assert await values(orchestrator, *inputs) == tuple(inputs)
    assert len(enqueued) == len(inputs)


@pytest.mark.conformance("START-01")
async def test_an_orchestrator_that_does_not_read_them_gets_them_again(
    orchestrator: Orchestrator, enqueued: list[run_pb2.RunInput], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, frame = OwnerCall._begin, OwnerCall._frame

    def older(self: OwnerCall, first: run_pb2.RunRequest) -> None:
        begin(self, run_pb2.RunRequest(spec=first.spec))

    def framed(self: OwnerCall) -> run_pb2.RunResponse:
        response = frame(self)
        response.ClearField("took_inputs")
        return response

    monkeypatch.setattr(OwnerCall, "_begin", older)
    monkeypatch.setattr(OwnerCall, "_frame", framed)
    assert await values(orchestrator, "x", "y") == ("x", "y")
    assert len(enqueued) == 2


@pytest.mark.conformance("START-01")
async def test_an_input_that_no_lane_carries_cancels_the_run_with_the_reason(orchestrator: Orchestrator) -> None:
    async with Client(orchestrator.address) as client:
        result = await client.run(PASSED, inputs=["x", {1, 2}]).result()
    assert result.state == "cancelled"
    assert "set" in result.reason


async def outcome(
    orchestrator: Orchestrator, first: run_pb2.RunRequest, *further: run_pb2.RunRequest
) -> tuple[list[str], str]:
    """The texts and the reason of the cancellation of a run by hand."""
    async with raw_channel(orchestrator.address) as channel:
        call: Any = RunServiceStub(channel).Run()
        for request in (first, *further):
            await call.write(request)
        texts: list[str] = []
        while True:
            response = await asyncio.wait_for(call.read(), 20)
            for update in response.updates:
                if update.HasField("output"):
                    texts.append(update.output.item.text)
                if update.job.state > 2:
                    await call.done_writing()
                    return texts, update.job.reason


def first_of(*texts: str, ends: bool = True, **fields: Any) -> run_pb2.RunRequest:
    """The first frame of a run with these inputs."""
    inputs = [run_pb2.RunInput(item=lane_pb2.Item(text=text), **fields) for text in texts]
    return run_pb2.RunRequest(spec=run_spec(PASSED, None), inputs=inputs, ends_input=ends)


@pytest.mark.conformance("START-01")
async def test_an_input_that_is_refused_cancels_the_run(orchestrator: Orchestrator) -> None:
    texts, reason = await outcome(orchestrator, first_of("x", port="none"))
    assert texts == []
    assert 'no output "none"' in reason


@pytest.mark.conformance("START-01")
async def test_further_inputs_follow_those_of_the_first_frame(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_call, "MAX_INPUTS", 2)
    more = run_pb2.RunRequest(input=run_pb2.RunInput(item=lane_pb2.Item(text="z")))
    end = run_pb2.RunRequest(end_input=run_pb2.InputEnd())
    assert await outcome(orchestrator, first_of("x", ends=False), more, end) == (["x", "z"], "")
    assert await outcome(orchestrator, first_of("x", "y", "w", ends=False), more, end) == (["x", "y", "w", "z"], "")
    assert await outcome(orchestrator, first_of("x", "y", "w"), more) == (["x", "y", "w"], "")
    assert await outcome(orchestrator, first_of("x"), more) == (["x"], "")
