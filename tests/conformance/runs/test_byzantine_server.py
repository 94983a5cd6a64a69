"""Byzantine node servers: their run ends with the server and the violation; the orchestrator and other runs continue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from lanemesh import Client
from lanemesh.client.results import RunResult
from lanemesh.faults import Code, Fault
from lanemesh.node.node import Service
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.host.host import NodeHost
from lanemesh.server.services import load_file
from lanemesh.v1 import lane_pb2, node_pb2, registry_pb2, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs import host_handle, phases, run_ends

from rigs.byzantine_server import (
    BYZANTINE,
    COMPLETED,
    Conversation,
    Frame,
    Script,
    byzantine_server,
    finished,
    node_reported,
    odd_fault,
)
from rigs.runs import NODES, chat, ended, line, node, pipeline, response, serving, states

RUNNING, FAILED = update_pb2.NODE_STATE_RUNNING, update_pb2.NODE_STATE_FAILED
TAG = line(node("a", "tag", "chat"))
WITH_BYZANTINE = pipeline(chat(), node("a", "tag", "chat"), node(BYZANTINE, "numbers"), response("a"))
FED_BY_BYZANTINE = pipeline(node(BYZANTINE, "numbers"), response(BYZANTINE))


@dataclass
class Told:
    """What came of a run with a liar."""

    result: RunResult
    updates: list[update_pb2.Update]
    warnings: list[str]

    @property
    def error(self) -> Fault:
        assert self.result.error is not None, self.result
        return self.result.error


@asynccontextmanager
async def beside() -> AsyncIterator[tuple[Orchestrator, Client]]:
    """A mesh with an honest server, where another run goes on and must end well."""
    honest = Service(NODES.stem, tuple(each for each in load_file(NODES).nodes if each.provider == "tag"))
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with serving(orchestrator, "honest", services=[honest]), Client(orchestrator.address) as client:
        other = await client.start(TAG, input="1", open_input=True)
        yield orchestrator, client
        await other.push("2")
        await other.end_input()
        result = await asyncio.wait_for(other.result(), 10)
        assert (result.state, result.values) == ("completed", ("1", "2"))
        members = orchestrator.registry.members.values()
        assert [member.active_instances for member in members if member.name == "honest"] == [0]
    await orchestrator.close()


@pytest.fixture
def lie(caplog: pytest.LogCaptureFixture) -> Lie:
    return Lie(caplog)


class Lie:
    """Runs a pipeline with a byzantine server beside an honest run, and returns the report."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    async def __call__(self, script: Script, document: dict[str, object] = WITH_BYZANTINE) -> Told:
        with self._caplog.at_level(logging.WARNING, "lanemesh.runs"):
            async with beside() as (orchestrator, client), byzantine_server(orchestrator, script):
                run = client.run(document, input="x" if document is WITH_BYZANTINE else None)
                result, updates = await asyncio.wait_for(ended(run), 20)
        terminal = [update for update in updates if update.job.state > update_pb2.RUN_STATE_RUNNING]
        assert terminal == [updates[-1]]
        assert [update.sequence for update in updates] == list(range(1, len(updates) + 1))
        said = [record.getMessage() for record in self._caplog.records if "the-liar" in record.getMessage()]
        return Told(result, updates, said)


async def test_what_it_was_not_given_is_ignored_and_warned_of_once(lie: Lie) -> None:
    ghost = Frame(update=update_pb2.Update(edge=update_pb2.EdgeUpdate(edge_id="ghost", sent=7)))
    item = lane_pb2.Item(text="forged")
    output = update_pb2.OutputUpdate(component="out", port="text", item=item)

    async def script(run: Conversation) -> None:
        await run.started()
        await run.say(node_reported(RUNNING), node_reported(COMPLETED, "ghost"), node_reported(FAILED, "a"), ghost)
        await run.say(Frame(update=update_pb2.Update(job=update_pb2.JobUpdate(state=update_pb2.RUN_STATE_COMPLETED))))
        await run.say(Frame(update=update_pb2.Update(output=output)), Frame(update=update_pb2.Update()))
        await run.say(Frame(update=update_pb2.Update(log=update_pb2.LogUpdate(component="a", message="forged"))))
        await run.say(node_reported(COMPLETED), finished())

    outcome = await lie(script)
    assert (outcome.result.state, outcome.result.values) == ("completed", ("x",))
    assert states(outcome.updates, "a") == ["RUNNING", "COMPLETED"]
    assert not any("ghost" in str(update) or "forged" in str(update) for update in outcome.updates)
    (warning,) = outcome.warnings
    assert 'reported the component "ghost", which it does not host' in warning


async def test_a_second_end_of_a_node_is_ignored(lie: Lie) -> None:
    async def script(run: Conversation) -> None:
        await run.started()
        await run.say(
            node_reported(RUNNING),
            node_reported(COMPLETED),
            node_reported(COMPLETED),
            node_reported(FAILED),
            finished(),
        )

    outcome = await lie(script)
    assert outcome.result.state == "completed"
    assert states(outcome.updates, BYZANTINE) == ["RUNNING", "COMPLETED"]
    (warning,) = outcome.warnings
    assert f'a further end of "{BYZANTINE}"' in warning


async def test_frames_of_no_use_are_no_harm(lie: Lie) -> None:
    async def script(run: Conversation) -> None:
        await run.say(Frame(probed=node_pb2.Probed(id=9)), Frame(connected=node_pb2.Connected()))
        await run.started()
        stalled = Frame(stalled=node_pb2.Stalled(component="ghost"))
        await run.say(*[Frame(), stalled, Frame(probed=node_pb2.Probed(id=7)), Frame(placed=node_pb2.Placed())] * 100)
        await run.say(node_reported(COMPLETED), finished())

    outcome = await lie(script)
    assert (outcome.result.state, outcome.result.values) == ("completed", ("x",))


async def finished_before_start(run: Conversation) -> None:
    await run.heard("place")
    await run.say(Frame(placed=node_pb2.Placed()), finished())


async def finished_without_an_end(run: Conversation) -> None:
    await run.started()
    await run.say(node_reported(RUNNING), finished())


async def no_frame(run: Conversation) -> None:
    await run.started()
    await run.say(b"\xff\xff\xff\xff")


async def no_frame_at_all(run: Conversation) -> None:
    await run.say(b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (finished_before_start, "it sent `finished` before `start`"),
        (finished_without_an_end, f"it finished without reporting how {BYZANTINE} ended"),
        (no_frame, "it sent a frame that cannot be read"),
        (no_frame_at_all, "it sent a frame that cannot be read"),
    ],
)
async def test_who_breaks_the_protocol_is_named(lie: Lie, script: Script, why: str) -> None:
    outcome = await lie(script)
    assert outcome.result.state == "failed"
    assert outcome.error.reason == "bad-server"
    assert outcome.error.message.startswith(f'the node server "the-liar" violates the protocol: {why}')
    assert outcome.error.message.endswith(f"it ran {BYZANTINE}") or "finished without" in why


@pytest.mark.parametrize("state", [COMPLETED, FAILED])
async def test_a_fault_with_a_code_that_is_none_fails_the_run(lie: Lie, state: update_pb2.NodeState.ValueType) -> None:
    async def script(run: Conversation) -> None:
        await run.started()
        error = odd_fault() if state == FAILED else None
        await run.say(node_reported(state, error=error), finished(odd_fault()))

    outcome = await lie(script)
    assert outcome.result.state == "failed"
    assert (outcome.error.code, outcome.error.reason, outcome.error.message) == (Code.UNKNOWN, "unknown", "odd")


async def test_a_failure_without_a_fault_fails_the_run(lie: Lie) -> None:
    async def script(run: Conversation) -> None:
        await run.started()
        await run.say(node_reported(FAILED), finished())

    outcome = await lie(script)
    assert (outcome.result.state, outcome.error.message) == ("failed", "no reason was given")


async def test_a_lane_that_is_falsely_reported_open_fails_the_run(lie: Lie) -> None:
    async def script(run: Conversation) -> None:
        await run.started()
        await run.say(node_reported(RUNNING), node_reported(COMPLETED), finished())

    outcome = await lie(script, FED_BY_BYZANTINE)
    assert (outcome.result.state, outcome.error.reason) == ("failed", "lane-not-opened")
    assert '"the-liar" has connected, but has not opened the lane liar.number>out.text' in outcome.error.message


async def test_who_hangs_up_is_lost(lie: Lie) -> None:
    async def script(run: Conversation) -> None:
        await run.started()
        raise EOFError

    outcome = await lie(script)
    assert (outcome.result.state, outcome.error.reason) == ("failed", "server-lost")
    assert 'the node server "the-liar" is gone: it left the run' in outcome.error.message


async def test_who_never_finishes_ends_the_run_after_its_nodes_have(lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_ends, "LINGER_SECONDS", 0.3)
    monkeypatch.setattr(host_handle, "FINISH_SECONDS", 0.3)

    async def script(run: Conversation) -> None:
        await run.started()
        await run.say(node_reported(RUNNING), node_reported(COMPLETED))

    outcome = await lie(script)
    assert (outcome.result.state, outcome.error.reason) == ("failed", "bad-server")
    assert "it did not finish within 0.3 s" in outcome.error.message
    assert outcome.result.values == ("x",)


async def test_who_never_places_and_gives_no_sign_of_life_is_lost(lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "SILENCE_TIMEOUT", 0.3)

    async def script(run: Conversation) -> None:
        await run.heard("place")

    outcome = await lie(script)
    assert (outcome.result.state, outcome.error.reason) == ("failed", "server-lost")
    assert '"the-liar" is gone: it sent nothing for 0.3 s while it placed its components' in outcome.error.message


@pytest.mark.waits
async def test_who_never_places_and_lives_has_ten_minutes(lie: Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "SILENCE_TIMEOUT", 0.3)
    monkeypatch.setattr(phases, "PLACE_TIMEOUT", 1.0)

    async def script(run: Conversation) -> None:
        while True:
            await run.say(Frame())
            await asyncio.sleep(0.05)

    outcome = await lie(script)
    assert (outcome.result.state, outcome.error.reason) == ("failed", "phase-timeout")
    assert outcome.error.message == "the server the-liar did not place its components within 1 s"


async def test_a_run_goes_elsewhere_where_its_server_gives_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "SILENCE_TIMEOUT", 0.3)
    placed = asyncio.Event()

    async def script(run: Conversation) -> None:
        await run.heard("place")
        placed.set()

    async with beside() as (orchestrator, client), byzantine_server(orchestrator, script, "tag"):
        result = await client.run(TAG, input="x").result()
        assert (result.state, result.values) == ("completed", ("x",))
        assert placed.is_set()


async def test_who_takes_no_call_keeps_neither_others_from_their_part_nor_the_run_from_its_cancellation() -> None:
    placed = asyncio.Event()

    async def script(run: Conversation) -> None:
        await run.heard("place")
        placed.set()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    listening = await asyncio.start_server(deaf, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    tag = [each for each in NodeHost([load_file(NODES)]).manifests() if each.provider == "tag"]
    orchestrator.registry.join(
        registry_pb2.ServerInfo(name="deaf", address=f"{host}:{port}", protocol_version=PROTOCOL_VERSION, manifests=tag)
    )
    try:
        async with (
            listening,
            byzantine_server(orchestrator, script),
            Client(orchestrator.address) as client,
            client.run(WITH_BYZANTINE, input="x") as run,
        ):
            await asyncio.wait_for(placed.wait(), 10)
            await run.cancel("enough")
            result = await asyncio.wait_for(run.result(), 10)
    finally:
        await orchestrator.close()
    assert (result.state, result.reason) == ("cancelled", "enough")
