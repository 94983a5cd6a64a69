"""The client, and the run as its caller has it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lanemesh import Client, Question
from lanemesh.channels import Channels, LocalChannels
from lanemesh.client.inputs import to_input
from lanemesh.client.results import RunFailed
from lanemesh.client.runs import Run
from lanemesh.client.specs import input_list, run_spec
from lanemesh.faults import Code, Fault, LanemeshError, ValueRefused
from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.ports import free_port
from rigs.runs import value_of


class Link:
    """A run that sends the given updates."""

    def __init__(self, *updates: update_pb2.Update, refuses: str = "") -> None:
        self.calls: list[str] = []
        self._updates = updates
        self._refuses = refuses
        self.run_id = ""

    def channels(self) -> Channels:
        return Channels(LocalChannels, run_id=self.run_id)

    async def start(self, given: Sequence[run_pb2.RunInput] | None = None) -> bool:
        self.calls.append("start")
        self.run_id = "r"
        return False

    async def batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        for update in self._updates:
            yield [update]

    def acknowledge(self, sequence: int) -> None:
        raise AssertionError("no run has as many updates")

    async def feed(self, given: run_pb2.RunInput) -> None:
        await self.push(given)

    async def push(self, given: run_pb2.RunInput) -> None:
        self.calls.append(f"push {given.item.text}")
        if self._refuses:
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=self._refuses, message="no"))

    async def end_input(self) -> None:
        self.calls.append("end")

    async def cancel(self, reason: str) -> None:
        self.calls.append(f"cancel {reason}")

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.calls.append("close")


def job(state: update_pb2.RunState.ValueType, **more: Any) -> update_pb2.Update:
    return update_pb2.Update(job=update_pb2.JobUpdate(run_id="r", state=state, **more))


def output(text: str) -> update_pb2.Update:
    return update_pb2.Update(output=update_pb2.OutputUpdate(component="out", item=to_input(text).item))


COMPLETED = job(update_pb2.RUN_STATE_COMPLETED)


async def test_happy_outputs_and_result() -> None:
    link = Link(job(update_pb2.RUN_STATE_STARTING), output("a"), output("a"), COMPLETED)
    run = Run(link, ["x", "y"])
    assert [value async for value in run.values()] == ["a", "a"]
    assert run.id == "r"
    assert link.calls[0] == "start"
    assert link.calls[-1] == "close"
    result = await Run(Link(output("b"), COMPLETED), None).result()
    assert (result.run_id, result.state, result.values, result.error) == (
        "r",
        "completed",
        ("b",),
        None,
    )


async def test_a_failed_run_raises_after_its_outputs() -> None:
    fault = Fault(code=Code.UNKNOWN, reason="node-error", message="ValueError: no")
    failed = job(update_pb2.RUN_STATE_FAILED, error=fault.to_proto())
    outputs = Run(Link(output("a"), failed), None).values()
    assert await anext(outputs) == "a"
    with pytest.raises(RunFailed, match="ValueError: no"):
        await anext(outputs)
    assert (await Run(Link(failed), None).result()).error == fault


async def test_a_cancelled_run_has_its_reason() -> None:
    cancelled = job(update_pb2.RUN_STATE_CANCELLED, reason="enough")
    with pytest.raises(RunFailed, match="run r was cancelled: enough"):
        await anext(Run(Link(cancelled), None).values())


async def test_updates_that_break_off_are_no_end() -> None:
    with pytest.raises(LanemeshError, match="stopped before its end"):
        await Run(Link(output("a")), None).result()


@pytest.mark.parametrize(("refuses", "cancels"), [("bad-input", True), ("run-ended", False)])
async def test_an_input_that_is_refused_cancels_the_run_unless_it_has_ended(refuses: str, cancels: bool) -> None:
    link = Link(refuses=refuses)
    run = Run(link, ["x"])
    await run.start()
    assert run._feeder is not None
    await run._feeder
    assert link.calls == ["start", "push x", *(["cancel no"] if cancels else [])]
    await run.close()


async def test_failing_inputs_cancel_the_run_with_their_reason() -> None:
    def inputs() -> Any:
        yield "x"
        raise OSError("no such file")

    link = Link()
    run = Run(link, inputs())
    await run.start()
    assert run._feeder is not None
    await run._feeder
    assert link.calls == ["start", "push x", "cancel its inputs failed: OSError: no such file"]
    await run.close()


async def test_a_run_takes_pushed_inputs_if_it_was_made_open() -> None:
    link = Link()
    with pytest.raises(LanemeshError, match="without open_input=True"):
        await Run(link, ["x"]).push("y")
    assert link.calls == []
    run = Run(link, None, open_input=True)
    await run.push("y")
    assert link.calls == ["start", "push y"]
    await run.close()


async def test_a_run_whose_early_cancellation_cannot_be_sent_is_not_started_twice() -> None:
    class Deaf(Link):
        async def start(self, given: Sequence[run_pb2.RunInput] | None = None) -> bool:
            await super().start(given)
            await run.cancel("enough")
            return False

        async def cancel(self, reason: str) -> None:
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="unreachable", message="gone"))

    link = Deaf(COMPLETED)
    run = Run(link, ["x"])
    with pytest.raises(LanemeshError, match="gone"):
        await run.start()
    await run.result()
    assert link.calls == ["start", "close"]


def test_values_become_inputs_and_back() -> None:
    for value in ("x", Question("why?"), {"a": [1, None]}, 3):
        sent = to_input(value, "port")
        assert sent.port == "port"
        assert value_of(update_pb2.OutputUpdate(item=sent.item)) == value
    with pytest.raises(ValueRefused, match="the client emitted a value"):
        to_input(object())


def test_specs() -> None:
    spec = run_spec({"components": []}, {"a.b": 1, "c.d": "x"}, timeout=1.5)
    assert spec.pipeline_json == '{"components": []}'
    assert dict(spec.settings_json) == {"a.b": "1", "c.d": '"x"'}
    assert spec.timeout.ToMilliseconds() == 1500
    assert input_list("x", None) == ["x"]
    with pytest.raises(ValueError, match="either"):
        input_list("x", ["y"])


async def test_an_orchestrator_that_is_not_there_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with Client(address) as client:
        told = f"the orchestrator at {address} cannot be reached"
        with pytest.raises(LanemeshError, match=told):
            await client.node_types()
        with pytest.raises(LanemeshError, match=told):
            await client.run({"components": []}, input="x").result()


@asynccontextmanager
async def listening(port: int = 0) -> AsyncGenerator[Orchestrator, None]:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen(port=port)
    try:
        yield orchestrator
    finally:
        await orchestrator.close()


async def test_an_orchestrator_that_is_back_is_found_at_once() -> None:
    async with listening(free_port()) as orchestrator:
        client = Client(orchestrator.address)
        assert await client.runs() == []
        watched = client.attach("none")
    with pytest.raises(LanemeshError, match="cannot be reached"):
        await client.runs()  # from now on a gRPC channel waits before it dials again
    async with listening(int(client.address.rpartition(":")[2])), client:
        assert await client.runs() == []
        with pytest.raises(LanemeshError, match="no run"):
            await watched.cancel("enough")


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1", "127.0.0.1:99999", "host:0", ":7070", "::1:7070", "http://host:7070", "host:x", "a b:1"],
)
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(LanemeshError, match=r"write HOST:PORT, .*a port is 1 to 65535"):
        Client(address)


@pytest.mark.parametrize(
    "address", ["localhost:7070", "[::1]:7070", "dns:///mesh:7070", "unix:/tmp/x", "ipv4:127.0.0.1:1", "a_b.c-d:65535"]
)
async def test_addresses(address: str) -> None:
    await Client(address).close()


async def test_a_run_has_channels_once_it_has_started() -> None:
    run = Run(Link(COMPLETED), [])
    with pytest.raises(RuntimeError, match="once it has started"):
        _ = run.channels
    async with run:
        assert run.channels is run.channels
