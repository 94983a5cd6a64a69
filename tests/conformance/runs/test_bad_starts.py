"""Disturbed starts: a deployment that changes meanwhile, an id that is used twice, a full server, a killed client, and too many."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import psutil
import pytest
from lanemesh import Client, Code, Deployed, DetachedRun, LanemeshError
from lanemesh.client import calls
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import node_pb2, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.scheduling import admission
from lanemesh_orchestrator.scheduling.admission import StartGate

from repeats import times
from rigs import footprint
from rigs.runs import NODES, Pipeline, at, line, node, serving, until


def marking(mark: str) -> Pipeline:
    """A chain over two node servers that puts a mark before each text twice."""
    return line(at("left", node("a", "tag", "chat", mark=mark)), at("right", node("b", "tag", "a", mark=mark)))


@asynccontextmanager
async def mesh_of_two() -> AsyncIterator[tuple[Orchestrator, Client, list[NodeServer]]]:
    """An orchestrator, a client, and the node servers "left" and "right"."""
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    try:
        async with (
            Client(orchestrator.address) as client,
            serving(orchestrator, "left", labels={"name": "left"}) as left,
            serving(orchestrator, "right", labels={"name": "right"}) as right,
        ):
            yield orchestrator, client, [left, right]
    finally:
        await orchestrator.close()


@pytest.mark.conformance("START-07")
@pytest.mark.parametrize("moment", ["_place", "_run"], ids=["before its placement", "before its start"])
@pytest.mark.parametrize("change", ["removed", "changed", "removed and deployed again"])
async def test_a_run_that_has_begun_keeps_the_version_it_began_with(
    moment: str, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proceed, step = asyncio.Event(), getattr(ActiveRun, moment)
    arrived = asyncio.Event()

    async def held(self: ActiveRun) -> Any:
        arrived.set()
        await proceed.wait()
        return await step(self)

    async with mesh_of_two() as (orchestrator, client, servers):
        await client.deploy("tags", marking("old "))
        monkeypatch.setattr(ActiveRun, moment, held)
        running = asyncio.create_task(client.run(Deployed("tags"), input="x").result())
        await arrived.wait()
        if change != "changed":
            await client.undeploy("tags")
        if change != "removed":
            await client.deploy("tags", marking("new "))
        proceed.set()
        result = await running
        assert (result.state, result.values) == ("completed", ("old old x",))
        if change == "removed":
            with pytest.raises(LanemeshError) as caught:
                await client.run(Deployed("tags"), input="x").result()
            assert caught.value.fault.code == Code.NOT_FOUND
        else:
            assert (await client.run(Deployed("tags"), input="x").result()).values == ("new new x",)
        await until(lambda: not any(server.host.runs for server in servers))
        assert orchestrator.runs.of_deployments().total() == 0


class RawStream:
    """A `Host` stream by hand, which places and starts runs of one component."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        path = "/lanemesh.v1.NodeService/Host"
        self.call: Any = channel.stream_stream(path, response_deserializer=node_pb2.HostResponse.FromString)()

    async def place(self, run_id: str, provider: str = "numbers", config: str = '{"count": 1}') -> list[str]:
        """The reasons of the faults."""
        instance = node_pb2.Instance(component="a", provider=provider, config_json=config)
        place = node_pb2.Place(run_id=run_id, instances=[instance], opens_lanes_at_start=True)
        await self.call.write(node_pb2.HostRequest(place=place).SerializeToString())
        return [fault.reason for fault in (await self.until("placed")).placed.faults]

    async def run(self) -> list[str]:
        """Starts what was placed. Returns the reasons of the faults at its end."""
        await self.call.write(node_pb2.HostRequest(start=node_pb2.Start()).SerializeToString())
        return [fault.reason for fault in (await self.until("finished")).finished.faults]

    async def until(self, kind: str) -> node_pb2.HostResponse:
        """Reads up to a frame of this kind."""
        while True:
            frame = await self.call.read()
            assert isinstance(frame, node_pb2.HostResponse), kind
            if frame.WhichOneof("frame") == kind:
                return frame


@asynccontextmanager
async def raw_streams(max_instances: int = 0) -> AsyncIterator[tuple[NodeServer, RawStream, RawStream]]:
    """A node server that has joined nothing, and two streams to it."""
    server = NodeServer(NodeHost([load_file(NODES)], name="left", max_instances=max_instances))
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield server, RawStream(channel), RawStream(channel)
    await server.stop()


@pytest.mark.conformance("START-07")
async def test_an_id_that_is_used_twice_is_refused_and_harms_no_run() -> None:
    async with raw_streams() as (server, first, second):
        assert await first.place("r") == []
        assert await second.place("r") == ["run-exists"]
        assert await first.place("r") == ["run-exists"]
        assert await second.place("other") == []
        assert await first.run() == await second.run() == []
        assert await second.place("r") == []  # the first one has ended
        assert await second.run() == []
        await until(lambda: not server.host.runs)


@pytest.mark.conformance("START-07")
async def test_a_full_server_refuses_a_run_and_takes_it_later() -> None:
    async with raw_streams(max_instances=1) as (server, first, second):
        assert await first.place("r") == []
        for _ in range(3):
            assert await second.place("other") == ["server-full"]
        assert await first.run() == []
        assert await second.place("other") == []
        assert await second.run() == []
        await until(lambda: not server.host.runs)


@pytest.mark.conformance("START-07")
async def test_a_deployed_run_waits_for_a_server_that_is_full_against_expectation() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with (
        Client(orchestrator.address) as client,
        serving(orchestrator, "left", max_instances=1) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        await client.deploy("tag", line(node("a", "tag", "chat")))
        other = RawStream(channel)  # another orchestrator's, of which this one knows nothing
        assert await other.place("r") == []
        run = client.run(Deployed("tag"), input="x")
        running = asyncio.create_task(run.result())
        await until(
            lambda: any(
                one.state == update_pb2.RUN_STATE_STARTING and one.log.last > 1 for one in orchestrator.runs.known()
            )
        )
        assert not running.done()
        assert await other.run() == []
        assert (await running).values == ("x",)
    await orchestrator.close()


STARTS = times(4_000, 600)
"""Starts at once. By default a gRPC server drops calls when 3,000 wait that Python has not taken."""
KILLED = """
import asyncio, sys
from lanemesh import Client

async def main():
    async with Client(sys.argv[1]) as client:
        async for value in client.request("@hangs", "x"):
            print("begun", flush=True)

asyncio.run(main())
"""


@pytest.mark.conformance("REQ-05", "START-07")
async def test_a_client_that_is_killed_in_mid_request_leaves_nothing() -> None:
    async with mesh_of_two() as (orchestrator, client, servers):
        await client.deploy("hangs", line(at("left", node("a", "tag", "chat")), at("right", node("b", "hang", "a"))))
        await client.deploy("tags", marking(""))
        await client.run(Deployed("tags"), input="x").result()
        hosts = [orchestrator.host, *(server.host for server in servers)]

        def take() -> Counter[str]:
            held = {"runs": sum(len(host.runs) for host in hosts), "files": footprint.open_files()}
            held["lanes"] = sum(sum(host.pool._streams.values()) for host in hosts)
            return footprint.tasks() + Counter(held)

        async def kill_in_mid_request() -> None:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", KILLED, client.address), stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            await process.stdout.readline()
            process.kill()
            await process.communicate()
            await until(lambda: orchestrator.runs.of_deployments().total() == 0)

        await kill_in_mid_request()  # opens streams that wait for further runs
        before = await footprint.settled(take)
        await kill_in_mid_request()
        await footprint.check_no_growth(before, take)
        ends = [(run.state, run.reason) for run in orchestrator.runs.known() if run.deployment == "hangs"]
        assert ends == [(update_pb2.RUN_STATE_CANCELLED, "its caller disconnected")] * 2


@pytest.mark.conformance("START-04")
@pytest.mark.many
@pytest.mark.apart
async def test_of_thousands_of_starts_at_once_those_beyond_the_bound_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admit, proceed = StartGate.admit, asyncio.Event()

    async def held(self: StartGate) -> None:
        await proceed.wait()
        await admit(self)

    monkeypatch.setattr(StartGate, "admit", held)
    monkeypatch.setattr(admission, "MAX_PENDING", STARTS - 50)
    monkeypatch.setattr(calls, "CALL_SECONDS", 110.0)  # the last of so many calls may be answered late
    async with mesh_of_two() as (_, client, _servers):
        await client.deploy("tags", marking(""))
        before = psutil.Process().memory_info().rss
        starts = (client.start(Deployed("tags"), input="x") for _ in range(STARTS))
        answers = await asyncio.gather(*starts, return_exceptions=True)
        refused = [one for one in answers if isinstance(one, LanemeshError)]
        faults = {(one.fault.code, one.fault.reason, one.retry_after) for one in refused}
        assert (len(refused), faults) == (50, {(Code.RESOURCE_EXHAUSTED, "too-many", admission.PAUSE_SECONDS)})
        assert psutil.Process().memory_info().rss - before < STARTS * 64 * 1024
        first = next(one for one in answers if isinstance(one, DetachedRun))
        watching = asyncio.create_task(first.result())
        proceed.set()
        assert (await watching).state == "completed"
