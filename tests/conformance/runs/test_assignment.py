"""Where runs are placed: replicas, limits, labels, refusals, servers that are lost before anything has begun, waiting in line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Client, Context, In, Node, Out
from lanemesh.client.detached import DetachedRun
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.updates import RunState
from lanemesh.faults import LanemeshError
from lanemesh.node.node import Service
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.hosted_run import HostedRun, Phase
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import node_pb2, update_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs import host_streams
from lanemesh_orchestrator.scheduling import assignment

from rigs.byzantine_server import Conversation, Frame, byzantine_server
from rigs.runs import NODES, Component, chat, ended, line, lines, node, pipeline, response, serving, until

COMPLETED, FAILED = update_pb2.RUN_STATE_COMPLETED, update_pb2.RUN_STATE_FAILED
CANCELLED = update_pb2.RUN_STATE_CANCELLED

TAG = line(node("a", "tag", "chat"))


@asynccontextmanager
async def orchestrating(*servers: str) -> AsyncIterator[tuple[Orchestrator, Client]]:
    """An orchestrator, and a client of it."""
    orchestrator = Orchestrator(embedded=False, servers=servers)
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        yield orchestrator, client
    await orchestrator.close()


def loads(orchestrator: Orchestrator) -> dict[str, int]:
    """Components by server."""
    return {name: member.active_instances for name, member in orchestrator.registry.members.items()}


async def opened(client: Client, document: dict[str, Any] = TAG) -> DetachedRun:
    """A run that goes on until its input is ended."""
    run = await client.start(document, input="1", open_input=True)
    async for update in wire_updates(client.attach(run.id)):
        if update.WhichOneof("kind") == "output":
            break
    return run


async def finished(run: DetachedRun) -> RunState:
    """Ends the input of a run; the state that it ends in."""
    await run.end_input()
    return (await run.result()).state


async def reason_reported(client: Client, run_id: str) -> str:
    """What a run that starts waits for."""
    async for update in wire_updates(client.attach(run_id)):
        if update.job.reason:
            assert update.job.state == update_pb2.RUN_STATE_STARTING
            return update.job.reason
    raise AssertionError("the run waited for nothing")


def servers_of(updates: list[update_pb2.Update]) -> set[str]:
    """Where a run lived."""
    return {place.server for update in updates for place in update.job.placements} - {"orchestrator"}


async def test_replicas_share_the_load() -> None:
    async with orchestrating() as (orchestrator, client), serving(orchestrator, "one"), serving(orchestrator, "two"):
        runs = [await opened(client) for _ in range(6)]
        assert loads(orchestrator) == {"one": 3, "two": 3}
        wide = pipeline(chat(), *(node(name, "tag", "chat") for name in "abcd"), response(*"abcd"))
        spread = await opened(client, wide)
        assert loads(orchestrator) == {"one": 5, "two": 5}
        assert [await finished(run) for run in [*runs, spread]] == ["completed"] * 7
        await until(lambda: loads(orchestrator) == {"one": 0, "two": 0})


async def test_a_full_server_gets_no_components_and_runs_wait_in_the_admission_queue() -> None:
    async with orchestrating() as (orchestrator, client), serving(orchestrator, "only", max_instances=2) as only:
        first, second = await opened(client), await opened(client)
        waiting = [await client.start(TAG, input=str(number)) for number in range(5)]
        reason = await reason_reported(client, waiting[0].id)
        assert reason.startswith('it waits for capacity: no node server has capacity for "a" of the node type "tag"')
        assert "only runs 2 of at most 2 components" in reason
        assert only.host.active_instances == 2
        assert await finished(first) == "completed"
        results = [await run.result() for run in waiting]
        assert [result.values for result in results] == [(str(number),) for number in range(5)]
        assert await finished(second) == "completed"


async def test_a_run_that_waits_can_be_cancelled_and_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    async with orchestrating() as (orchestrator, client), serving(orchestrator, "only", max_instances=1):
        holder = await opened(client)
        waiting = await client.start(TAG, input="x")
        await reason_reported(client, waiting.id)
        began = time.monotonic()
        await waiting.cancel()
        assert (await waiting.result()).state == "cancelled"

        result = await client.run(TAG, input="x", timeout=0.3).result()
        assert result.error is not None
        assert (result.state, result.error.reason, result.error.code.name) == (
            "failed",
            "no-capacity",
            "RESOURCE_EXHAUSTED",
        )
        assert result.error.message.startswith("the run was not placed within 0.3 s: no node server has capacity")

        monkeypatch.setattr(assignment, "WAIT_SECONDS", 0.3)
        result = await client.run(TAG, input="x").result()
        assert result.error is not None
        assert (result.error.reason, result.error.code.name) == ("no-capacity", "RESOURCE_EXHAUSTED")
        assert "only runs 1 of at most 1" in result.error.message
        assert "Start another with `lanemesh node SERVICE" in result.error.message
        assert time.monotonic() - began < 5
        with pytest.raises(LanemeshError, match="no node server has capacity"):
            await client.run(line(node("a", "tag", "chat"), node("b", "tag", "a")), input="x").result()
        assert await finished(holder) == "completed"


async def test_the_server_itself_rejects_components_beyond_its_capacity_from_any_orchestrator() -> None:
    """Two orchestrators use one server; neither knows what the other runs there."""
    async with orchestrating() as (mine, me), serving(mine, "shared", max_instances=1) as shared:
        async with orchestrating(shared.address) as (theirs, they), serving(theirs, "other"):
            await until(lambda: len(theirs.registry.members) == 2)
            holder = await opened(me)
            blocker = await opened(they)  # on either of the two
            _, updates = await ended(they.run(TAG, input="x"))
            assert servers_of(updates) == {"other"}
            assert await finished(blocker) == "completed"
            assert await finished(holder) == "completed"
        async with orchestrating(shared.address) as (theirs, they):
            await until(lambda: all(member.manifests for member in theirs.registry.members.values()))
            holder = await opened(me)
            waiting = await they.start(TAG, input="x")
            assert f"{shared.address} reports that it is full" in await reason_reported(they, waiting.id)
            assert await finished(holder) == "completed"
            assert (await asyncio.wait_for(waiting.result(), 10)).values == ("x",)


@pytest.mark.conformance("RUN-11")
async def test_a_run_that_a_draining_server_refuses_goes_elsewhere() -> None:
    async with orchestrating() as (orchestrator, client), serving(orchestrator, "old") as old:
        old.host.draining = True  # and the orchestrator has not heard of it yet
        waiting = await client.start(TAG, input="x")
        assert (await reason_reported(client, waiting.id)).startswith(
            "it waits for a node server: no node server can host"
        )
        async with serving(orchestrator, "new"):
            assert (await waiting.result()).values == ("x",)
            for _ in range(3):
                _, updates = await ended(client.run(TAG, input="x"))
                assert servers_of(updates) == {"new"}


async def test_a_server_that_cannot_be_reached_is_left_out_while_there_is_another() -> None:
    async with (
        orchestrating() as (orchestrator, client),
        serving(orchestrator, "lost", advertise="127.0.0.1:1"),
        serving(orchestrator, "there"),
    ):
        for _ in range(3):
            result, updates = await ended(client.run(TAG, input="x"))
            assert (result.state, servers_of(updates)) == ("completed", {"there"})


async def test_a_server_that_is_lost_while_it_loads_loses_no_run(journal: Path) -> None:
    document = line(node("a", "slow_load", "chat", journal=str(journal), seconds=1))
    async with (
        orchestrating() as (orchestrator, client),
        serving(orchestrator, "one") as one,
        serving(orchestrator, "two"),
    ):
        ending = asyncio.create_task(ended(client.run(document, input="x")))
        await until(lambda: lines(journal) == ["loading"])
        await one.stop()
        result, updates = await ending
        assert (result.state, result.values, servers_of(updates)) == ("completed", ("x",), {"two"})
        assert lines(journal) == ["loading", "loading", "processed"]


@pytest.mark.parametrize("connected", [False, True])
async def test_a_server_that_is_lost_while_lanes_are_opened_loses_no_run(connected: bool) -> None:
    """The fault of the orchestrator's own host about its lane to the lost server is a consequence. It does not prevent another
    placement, even if it arrives before the loss is known."""
    left = asyncio.Event()

    async def leave(run: Conversation) -> None:
        await run.heard("place")
        await run.say(Frame(placed=node_pb2.Placed()))
        await run.heard("connect")
        if connected:
            await run.say(Frame(connected=node_pb2.Connected()))
            await asyncio.sleep(0.1)  # the other host has answered by then
        left.set()
        raise EOFError

    async with orchestrating() as (orchestrator, client), byzantine_server(orchestrator, leave, "tag"):
        result, _ = await ended(client.run(TAG, input="x"))
        assert result.error is not None
        assert (result.state, result.error.reason, left.is_set()) == ("failed", "server-lost", True)
        async with serving(orchestrator, "there"):
            holder = await opened(client)  # wherever it went first, the next one goes to the liar first
            left.clear()
            result, updates = await ended(client.run(TAG, input="x"))
            assert (result.state, result.values, servers_of(updates)) == ("completed", ("x",), {"there"})
            assert left.is_set()
            assert await finished(holder) == "completed"


async def test_a_run_is_placed_again_on_a_server_that_takes_its_time_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    released = HostedRun._release

    async def slowly(run: HostedRun) -> None:
        if run.phase is not Phase.STARTED and run._host.name == "there":
            await asyncio.sleep(host_streams.CLOSE_SECONDS + 0.5)  # as `finalize` of a helper might
        await released(run)

    async def leave(run: Conversation) -> None:
        await run.heard("place")
        await run.say(Frame(placed=node_pb2.Placed()))
        await run.heard("connect")
        raise EOFError

    monkeypatch.setattr(HostedRun, "_release", slowly)
    two = pipeline(chat(), node("a", "tag", "chat"), node("b", "tag", "chat"), response("a", "b"))
    async with (
        orchestrating() as (orchestrator, client),
        byzantine_server(orchestrator, leave, "tag"),
        serving(orchestrator, "there"),
    ):
        result, updates = await ended(client.run(two, input="x"))
    assert (result.state, servers_of(updates)) == ("completed", {"there"}), result.error


def labelled(**labels: str) -> Component:
    return {**node("a", "tag", "chat"), "placement": {"labels": labels}}


async def test_a_component_goes_to_a_server_with_its_labels() -> None:
    async with (
        orchestrating() as (orchestrator, client),
        serving(orchestrator, "plain"),
        serving(orchestrator, "big", labels={"gpu": "a100", "zone": "1"}, max_instances=1),
    ):
        result, updates = await ended(client.run(line(labelled(gpu="a100")), input="x"))
        assert (result.values, servers_of(updates)) == (("x",), {"big"})
        holder = await opened(client, line(labelled(gpu="a100")))
        waiting = await client.start(line(labelled(zone="1")), input="x")
        assert "big runs 1 of at most 1" in await reason_reported(client, waiting.id)
        assert (await client.run(TAG, input="y").result()).values == ("y",)
        assert await finished(holder) == "completed"
        assert (await waiting.result()).values == ("x",)
        with pytest.raises(
            LanemeshError, match="has the labels gpu=h100; available: plain: none, big: gpu=a100, zone=1"
        ):
            await client.run(line(labelled(gpu="h100")), input="x").result()


async def test_of_two_manifests_of_a_node_type_the_first_is_used_while_it_is_there() -> None:
    class Tag(Node):
        """Another one of this name."""

        text: In[str]
        text_out: Out[str]

        def process(self, context: Context) -> dict[str, Any]:
            return {"text_out": f"other {self.text}"}

    async with (
        orchestrating() as (orchestrator, client),
        serving(orchestrator, "first") as first,
        serving(orchestrator, "second", services=[Service("o", (Tag,))]),
    ):
        for _ in range(4):
            assert (await client.run(TAG, input="x").result()).values == ("x",)
        listed = {each.name: each for each in await client.node_servers()}
        assert listed["second"].conflicting_node_types == ("tag",)
        await first.stop()
        await until(lambda: list(orchestrator.registry.members) == ["second"])
        assert (await client.run(TAG, input="x").result()).values == ("other x",)


async def test_a_server_without_an_orchestrator_runs_for_one_that_has_its_address() -> None:
    server = NodeServer(NodeHost([load_file(NODES)], name="alone"))
    await server.start()
    async with orchestrating(server.address) as (orchestrator, client):
        await until(lambda: any(member.manifests for member in orchestrator.registry.members.values()))
        assert (await client.run(TAG, input="x").result()).values == ("x",)
        assert (await client.run(line(node("a", "announce", "chat")), input="x").result()).values == ("no-channels",)
    await server.stop()


async def test_labels_do_not_count_in_a_mesh_of_ones_own() -> None:
    document = line(labelled(gpu="a100"))
    for spread in (None, "component"):
        async with Mesh(spread, nodes=[NODES]) as mesh:
            assert [fault.reason for fault in await mesh.validate(document)] == ["no-effect"]
            assert (await mesh.run(document, input="x").result()).values == ("x",)
