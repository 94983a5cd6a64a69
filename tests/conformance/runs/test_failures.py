"""Runs that fail: with their first cause, in time, whatever else breaks because of it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import Fault
from lanemesh.server.host.hosted_run import HostedRun
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.deadlock.monitor import DeadlockMonitor
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs import verdict

from repeats import times
from rigs.runs import (
    NODES,
    chat,
    ended,
    line,
    lines,
    node,
    node_update,
    note_down,
    pipeline,
    response,
    states,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPLETED, FAILED, CANCELLED = (
    update_pb2.RUN_STATE_COMPLETED,
    update_pb2.RUN_STATE_FAILED,
    update_pb2.RUN_STATE_CANCELLED,
)
KINDS = ("fail", "fail_generating", "fail_running", "fail_again")
RUNS, AT_ONCE = times(500, 100), 100


@pytest.mark.many
@pytest.mark.conformance("RUN-05")
async def test_the_primary_cause_is_reported_every_time(spread: Mesh) -> None:
    """The faults on the lanes of the failing node travel concurrently with its report to the orchestrator."""
    reported: Counter[tuple[str, ...]] = Counter()

    async def one(provider: str) -> None:
        document = line(node("a", provider, "chat"), node("b", "fail_again", "a"))
        result, updates = await ended(spread.run(document, inputs=["good", "bad", "more", "more"]))
        assert result.state == "failed"
        assert result.error is not None
        assert not result.error.secondary
        details = result.error.details
        reported[result.error.message, *(details.get(key, "") for key in ("component", "provider", "exception"))] += 1
        for other in ("b", "out"):
            error = node_update(updates, other).error
            assert not error.code or Fault.from_proto(error).secondary

    for _ in range(RUNS // AT_ONCE):
        await asyncio.gather(*(one(provider) for provider in KINDS for _ in range(AT_ONCE // len(KINDS))))
    assert reported == {("ValueError: a bad word", "a", kind, "ValueError"): RUNS // len(KINDS) for kind in KINDS}


@pytest.mark.timing
@pytest.mark.conformance("RUN-05")
@pytest.mark.parametrize("silent", [False, True], ids=["answers", "silent"])
async def test_with_only_consequences_the_cause_is_waited_for_longer_if_a_server_is_silent(
    embedded: Mesh, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    """A server that answers has reported all known faults."""

    async def say_nothing(self: HostedRun, number: int) -> None:
        pass

    if silent:
        monkeypatch.setattr(HostedRun, "probe", say_nothing)
    monkeypatch.setattr(verdict, "PRIMARY_SECONDS", 0.2)
    monkeypatch.setattr(verdict, "SILENT_SECONDS", 0.8)
    document = pipeline(chat(), node("a", "tag", "chat"), node("b", "break_lane", "chat"), response("a"))
    began = time.monotonic()
    result = await embedded.run(document, input="break", open_input=True).result()
    took = time.monotonic() - began
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.secondary
    assert took >= 1.0 if silent else 0.2 <= took < 1.0


@pytest.mark.conformance("RUN-05")
async def test_a_primary_cause_that_arrives_late_is_still_reported(embedded: Mesh, journal: Path) -> None:
    """The consequence has come before it."""
    document = pipeline(
        chat(), node("a", "fail_after", "chat", journal=str(journal)), node("b", "break_lane", "chat"), response("a")
    )
    async with embedded.run(document, input="break", open_input=True) as run:
        updates: list[update_pb2.Update] = []
        async for update in wire_updates(run):
            updates.append(update)
            if update.node.component == "b" and update.node.state == update_pb2.NODE_STATE_FAILED:
                note_down(journal, "fail")
    error = Fault.from_proto(updates[-1].job.error)
    assert (error.message, error.details["component"], error.secondary) == ("ValueError: late", "a", False)


async def test_an_error_of_what_the_orchestrator_does_beside_a_run_ends_it(
    embedded: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(DeadlockMonitor, "watch", fails)
    run = embedded.run(line(node("a", "tag", "chat")), input="x", open_input=True)
    result = await asyncio.wait_for(run.result(), 10)
    assert result.state == "failed"
    assert result.error is not None
    assert result.error.message == "RuntimeError: out of order"
    assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == ["out of order"]


@pytest.mark.timing
@pytest.mark.conformance("RUN-07")
async def test_a_client_that_is_killed_cancels_its_run(journal: Path, serving: Orchestrator) -> None:
    document = line(
        node("a", "tag", "chat", journal=str(journal)),
        node("b", "hang", "a", journal=str(journal)),
        node("c", "tag", "b", journal=str(journal)),
    )
    script = (
        "import asyncio, json, sys\n"
        "from lanemesh import Client\n"
        "async def main():\n"
        "    async with Client(sys.argv[1]) as client:\n"
        "        async for _ in client.run(json.loads(sys.argv[2]), input='x', open_input=True).updates(): pass\n"
        "asyncio.run(main())\n"
    )
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, serving.address, json.dumps(document), stderr=asyncio.subprocess.DEVNULL
    )
    await until(lambda: "begun b" in lines(journal), 30)
    caller.kill()
    began = time.monotonic()
    await caller.wait()
    await until(lambda: len(lines(journal)) == 4, 5)
    assert time.monotonic() - began < 1
    assert sorted(lines(journal)) == ["begun b", "finalize a", "finalize b", "finalize c"]
    await until(lambda: not serving.host.runs)
    assert sorted(lines(journal)) == ["begun b", "finalize a", "finalize b", "finalize c"]


@pytest.mark.timing
@pytest.mark.conformance("RUN-07")
async def test_an_abandoned_synchronous_body_has_no_effect_and_delays_no_exit(journal: Path) -> None:
    """Its node server ends at once, though the body would go on for 20 s."""
    async with Mesh("component", nodes=[NODES]) as mesh:
        document = line(node("a", "hang_sync", "chat", journal=str(journal)), node("b", "tag", "a"))
        async with mesh.run(document, input="x", open_input=True) as run:
            ending = asyncio.create_task(ended(run))
            await until(lambda: "begun a" in lines(journal), 30)
            await run.cancel("enough")
            result, updates = await ending
        assert (result.state, result.values) == ("cancelled", ())
        assert node_update(updates, "a").detail == "its synchronous body did not stop and was abandoned"
        assert lines(journal) == ["begun a", "finalize a"]
        began = time.monotonic()
    assert time.monotonic() - began < 5


@pytest.mark.conformance("FIRE-18")
async def test_a_node_server_ends_a_run_at_its_timeout_without_a_cancellation(
    spread: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orchestrator's own clock is off."""
    started: list[str] = []
    begin = asyncio.timeout

    def endless(seconds: float | None) -> asyncio.Timeout:
        if seconds == 0.25:
            started.append("run")
            return begin(None)
        return begin(seconds)

    monkeypatch.setattr("lanemesh_orchestrator.runs.active_run.asyncio.timeout", endless)
    result, updates = await ended(spread.run(line(node("a", "hang", "chat")), input="x", timeout=0.25))
    assert started == ["run"]
    assert result.state == "failed"
    assert result.error is not None
    assert (result.error.reason, result.error.message) == ("timeout", "the run took longer than its timeout of 0.25 s")
    assert states(updates, "a")[-1] == "CANCELLED"


@pytest.mark.conformance("FIRE-18")
@pytest.mark.parametrize("of", ["run", "component"])
async def test_the_time_that_is_left_is_the_deadline_of_calls(mesh: Mesh, of: str) -> None:
    asker = node("asker", "asker", "chat")
    if of == "component":
        asker["timeout"] = 20
    model = {**node("model", "clock"), "control": [{"classType": "llm", "from": "asker"}]}
    result = await mesh.run(
        pipeline(chat(), asker, model, response("asker")), input="?", timeout=20 if of == "run" else None
    ).result()
    left = float(result.values[0])
    assert 10 < left < 21
