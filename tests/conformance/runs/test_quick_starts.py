"""Starts of runs: in one round trip, over streams that earlier runs have used, and as right as any other when servers fail."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random, SystemRandom
from typing import Any

import grpc.aio
import psutil
import pytest
from lanemesh import Client, Deployed, Fault, LanemeshError
from lanemesh.client.specs import run_spec
from lanemesh.features import FEATURES, Feature
from lanemesh.lanes.transport import late_dial
from lanemesh.lanes.transport.grpc_receiver import GrpcReceiver
from lanemesh.node.context import ClientLink
from lanemesh.server import node_service
from lanemesh.server.host import hosted_run
from lanemesh.server.host.host import NodeHost
from lanemesh.server.host.host_session import HostSession
from lanemesh.server.host.hosted_run import HostedRun
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import node_pb2, update_pb2
from lanemesh_orchestrator.runs import host_streams
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.host_connection import HostConnection, server_lost
from lanemesh_orchestrator.runs.run_options import RunOptions
from lanemesh_orchestrator.scheduling import admission
from lanemesh_orchestrator.scheduling.assignment import LOCAL

from repeats import times
from rigs import footprint
from rigs.joined import APART, TAGS, ends, mesh_of, serve
from rigs.killed_servers import Outcome, hunt
from rigs.replicas import replicas
from rigs.runs import NODES, Pipeline, at, line, node, pipeline, until

DEPLOYED_RUNS = times(1_000, 100)
"""How many deployed runs there are one after the other; 1,000 take about 20 s."""


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The frames that node servers get, each with the server's name."""
    found: list[tuple[str, str]] = []
    handle = HostSession.handle

    def noting(self: HostSession, request: node_pb2.HostRequest) -> None:
        found.append((self._host.name, request.WhichOneof("frame") or ""))
        handle(self, request)

    monkeypatch.setattr(HostSession, "handle", noting)
    return found


def heard(frames: list[tuple[str, str]], server: str) -> list[str]:
    return [frame for name, frame in frames if name == server]


@pytest.mark.conformance("START-01")
async def test_a_start_waits_for_one_answer_of_each_server(frames: list[tuple[str, str]]) -> None:
    async with mesh_of("left", "right") as (_, client, _servers):
        await client.deploy("tags", APART)
        frames.clear()
        assert (await ends(client, Deployed("tags")))[0] == "completed"
        assert heard(frames, "left") == heard(frames, "right") == ["place", "start"]


@pytest.mark.conformance("START-01")
async def test_a_server_that_lacks_quick_starts_is_connected_before_the_start(frames: list[tuple[str, str]]) -> None:
    without = FEATURES - {Feature.QUICK_STARTS}
    async with mesh_of("left", "right", features=without) as (orchestrator, client, _servers):
        for _ in range(3):
            assert (await ends(client, APART))[0] == "completed"
        assert heard(frames, "left")[:3] == heard(frames, "right")[:3] == ["place", "connect", "start"]
        assert orchestrator.runs._streams is not None
        assert list(orchestrator.runs._streams._spare) == [orchestrator.registry.members["left"].info.address]


@pytest.mark.conformance("START-01")
async def test_waiting_responses_of_a_server_are_merged_within_a_bound() -> None:
    host = NodeHost([load_file(NODES)], name="left")
    session = host.session(reusable=True)
    place = placed_alone("r", 1)
    place.merges_frames = True
    session.handle(node_pb2.HostRequest(place=place))
    responses = session.responses()
    assert (await anext(responses)).HasField("placed")
    line_of_text = update_pb2.Update(log=update_pb2.LogUpdate(message="x" * 100_000))
    for _ in range(5):
        await session.send(node_pb2.HostResponse(update=line_of_text))
    sizes = [1 + len((await anext(responses)).more) for _ in range(3)]
    assert sizes == [2, 2, 1]
    session.handle(node_pb2.HostRequest(start=node_pb2.Start()))
    last = await anext(responses)
    assert [each.WhichOneof("frame") for each in (last, *last.more)] == ["update", "finished"]
    await session.close()
    await host.close()


@pytest.mark.conformance("START-04")
async def test_a_start_that_fails_halfway_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mesh_of("left") as (orchestrator, client, _servers):
        runs = orchestrator.runs
        graph = runs.validate(run_spec(TAGS, None))
        await ends(client, TAGS)
        await until(lambda: not runs._tasks)
        member = orchestrator.registry.members["left"]
        before = (member.load.instances, runs.memory.held, runs._gate.pending, len(runs.known()))

        def failing(*_: object) -> None:
            raise RuntimeError("no run")

        with monkeypatch.context() as patch:
            patch.setattr("lanemesh_orchestrator.runs.runs.ActiveRun", failing)
            with pytest.raises(RuntimeError, match="no run"):
                runs.start(graph, RunOptions())
        assert (member.load.instances, runs.memory.held, runs._gate.pending, len(runs.known())) == before
        assert (await ends(client, TAGS))[0] == "completed"


@pytest.mark.conformance("START-01")
async def test_a_consumer_that_ends_before_its_lane_is_opened_does_not_fail_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dial, ended = HostedRun.dial, asyncio.Event()

    def late(self: HostedRun) -> None:
        if "a" in self._instances:  # its lane is opened when the consumer has ended
            ended_task = asyncio.create_task(ended.wait())
            ended_task.add_done_callback(lambda _: dial(self))
        else:
            dial(self)

    monkeypatch.setattr(HostedRun, "dial", late)
    document = line(at("left", node("a", "numbers", count=3)), at("right", node("b", "quits", "a")))
    async with mesh_of("left", "right") as (_, client, servers):
        running = asyncio.create_task(client.run(document).result())
        right = servers[1].host
        await until(lambda: any(edge.stopped for run in right.runs.values() for edge in run._lanes.edges.values()))
        ended.set()
        result = await running
        assert (result.state, result.values) == ("completed", ("none",))
        await until(lambda: not any(server.host.runs for server in servers))


@pytest.mark.conformance("START-01")
async def test_a_lane_that_is_never_opened_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_run, "OPEN_SECONDS", 0.2)
    monkeypatch.setattr(late_dial, "DIAL_SECONDS", 0.0)
    dial = HostedRun.dial
    monkeypatch.setattr(HostedRun, "dial", lambda self: None if "a" in self._instances else dial(self))
    async with mesh_of("left", "right") as (_, client, _servers):
        result = await client.run(APART, input="x").result()
        assert (result.state, result.error and result.error.reason) == ("failed", "lane-not-opened")
        assert 'the node server "left" has started, but has not opened the lane a.' in str(result.error)


@pytest.fixture(params=["noticed", "unnoticed"])
def lost_in_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a component is lost after it has placed it, and before the start: shortly before, or in the same turn of the
    event loop."""
    run = ActiveRun._run

    async def late(self: ActiveRun) -> None:
        for host in self._hosts:
            if host.server != LOCAL:
                host.lose(server_lost(host.server, "its connection broke"))
        if request.param == "noticed":
            await asyncio.sleep(0)
        await run(self)

    monkeypatch.setattr(ActiveRun, "_run", late)


@pytest.mark.conformance("START-01")
@pytest.mark.usefixtures("lost_in_time")
@pytest.mark.parametrize(
    "document", [pipeline(node("a", "numbers", count=3)), line(node("a", "tag", "chat"))], ids=["alone", "lanes"]
)
async def test_a_server_that_is_lost_directly_before_the_start_fails_the_run(document: Pipeline) -> None:
    async with mesh_of("left") as (_, client, _servers), asyncio.timeout(10):
        result = await client.run(document).result()
        assert (result.state, result.error and result.error.reason) == ("failed", "server-lost")


@pytest.mark.conformance("START-01")
@pytest.mark.usefixtures("lost_in_time")
async def test_a_recoverable_component_that_is_lost_directly_before_the_start_is_placed_again() -> None:
    async with mesh_of("left", "right") as (_, client, _servers), asyncio.timeout(10):
        assert await ends(client, line(node("c", "steady", "chat"))) == ("completed", ("x",))


async def run_one_after_the_other(client: Client, numbers: range) -> None:
    """Runs the deployment "tags" with each number, and checks the outputs."""
    for number in numbers:
        state, values = await ends(client, Deployed("tags"), f"x{number}")
        assert (state, [str(value).endswith(f"x{number}") for value in values]) == ("completed", [True])


async def check_that_runs_leave_nothing(document: Pipeline, count: int) -> None:
    """Compares what there is after 10 runs with what there is after `count` more."""
    async with mesh_of("left", "right") as (orchestrator, client, servers):
        await client.deploy("tags", document)

        def take() -> Counter[str]:
            streams = orchestrator.runs._streams
            assert streams is not None
            hosts = [orchestrator.host, *(server.host for server in servers)]
            held = {
                "files": footprint.open_files(),
                "runs": sum(len(host.runs) for host in hosts) + orchestrator.runs.of_deployments().total(),
                "instances": sum(host.active_instances for host in hosts),
                "streams of the orchestrator": streams.spare,
                "streams of node servers": sum(len(host.spare) for host in hosts),
                "lanes": sum(sum(host.pool._streams.values()) for host in hosts),
            }
            return footprint.tasks() + Counter(held)

        await run_one_after_the_other(client, range(10))
        before = await footprint.settled(take)
        await run_one_after_the_other(client, range(count))
        await footprint.check_no_growth(before, take)


@pytest.mark.many
@pytest.mark.conformance("START-02")
@pytest.mark.parametrize("document", [TAGS, APART], ids=["together", "apart"])
async def test_many_runs_one_after_the_other_leave_nothing(document: Pipeline) -> None:
    await check_that_runs_leave_nothing(document, times(60, 30))


@pytest.mark.conformance("START-05")
@pytest.mark.many
@pytest.mark.apart
@pytest.mark.timeout(300)
async def test_many_deployed_runs_leave_nothing() -> None:
    await check_that_runs_leave_nothing(APART, DEPLOYED_RUNS)


@pytest.mark.conformance("START-05")
@pytest.mark.many
@pytest.mark.apart
@pytest.mark.timeout(300)
async def test_many_deployed_runs_leave_nothing_in_the_processes_of_node_servers() -> None:
    async with replicas("left", "right") as mesh, Client(mesh.orchestrator.address) as client:
        await client.deploy(
            "tags", line(at("left", node("a", "steady", "chat")), at("right", node("b", "steady", "a")))
        )
        pids = {"the orchestrator": os.getpid(), **{name: process.pid for name, process in mesh.processes.items()}}

        def take() -> Counter[str]:
            counts = Counter({f"files of {name}": footprint.open_files(pid) for name, pid in pids.items()})
            counts += {f"threads of {name}": footprint.threads(pid) for name, pid in pids.items()}
            counts += {
                f"instances of {one.info.name}": one.active_instances for one in mesh.orchestrator.registry.servers()
            }
            return counts + footprint.tasks()

        def memory() -> dict[str, int]:
            gc.collect()
            return {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}

        await run_one_after_the_other(client, range(10))
        before = await footprint.settled(take)
        half = DEPLOYED_RUNS // 2  # of 1,000: from then on the heap has all ended runs that are kept
        await run_one_after_the_other(client, range(10, half))
        memory_before = memory()
        await run_one_after_the_other(client, range(half, DEPLOYED_RUNS))
        await footprint.check_no_growth(before, take)
        grown = {name: size - memory_before[name] for name, size in memory().items()}
        assert all(size < 3 * 1024 * 1024 for size in grown.values()), grown


@pytest.mark.conformance("START-02")
async def test_streams_of_finished_runs_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_streams, "MAX_SPARE", 3)
    async with mesh_of("left") as (orchestrator, client, servers):
        results = await asyncio.gather(*(ends(client, TAGS, f"x{number}") for number in range(12)))
        assert [state for state, _ in results] == ["completed"] * 12
        assert orchestrator.runs._streams is not None
        await until(lambda: len(servers[0].host.spare) == 3)
        assert orchestrator.runs._streams.spare == 3
        async with asyncio.timeout(5):
            await servers[0].drain()
        await until(lambda: not servers[0].host.spare)


@pytest.mark.conformance("START-02")
async def test_a_run_over_a_stream_that_has_ended_unnoticed_gets_a_new_one() -> None:
    async with mesh_of("left") as (orchestrator, client, servers):
        await client.deploy("tags", TAGS)
        for _ in range(3):
            assert (await ends(client, Deployed("tags")))[0] == "completed"
            streams = orchestrator.runs._streams
            assert streams is not None
            (address,) = streams._spare
            for stream in streams._spare[address]:
                stream.call.cancel()
        await servers.pop().stop()
        servers.append(await serve(orchestrator, "left", port=int(address.rpartition(":")[2])))
        assert (await ends(client, Deployed("tags")))[0] == "completed"


@pytest.mark.conformance("START-02")
@pytest.mark.parametrize("heartbeats", [False, True], ids=["silent", "heartbeats"])
async def test_streams_that_a_run_has_not_used_are_kept_for_the_next_one_if_another_server_has_left(
    monkeypatch: pytest.MonkeyPatch, heartbeats: bool
) -> None:
    if heartbeats:
        monkeypatch.setattr(node_service, "IDLE_FRAME_SECONDS", 0.05)
    async with mesh_of("left", "right") as (orchestrator, client, _servers):
        await client.deploy("tags", APART)
        assert (await ends(client, Deployed("tags")))[0] == "completed"
        streams, dial, left = orchestrator.runs._streams, orchestrator.runs.dial, asyncio.Event()
        assert streams is not None
        spare = {stream for kept in streams._spare.values() for stream in kept}

        def once(server: str, client: ClientLink | None = None) -> HostConnection:
            if server == "right" and not left.is_set():
                left.set()
                raise LanemeshError(server_lost(server, "it has left"))
            return dial(server, client)

        monkeypatch.setattr(orchestrator.runs, "dial", once)
        assert (await ends(client, Deployed("tags")))[0] == "failed"
        assert left.is_set()
        assert {stream for kept in streams._spare.values() for stream in kept} == spare
        reads = {stream.ahead for stream in spare}
        if heartbeats:
            await until(lambda: all(stream.ahead not in reads for stream in spare))
        async with asyncio.timeout(10):
            assert (await ends(client, Deployed("tags")))[0] == "completed"
        assert {stream for kept in streams._spare.values() for stream in kept} == spare


class RawStream:
    """A `Host` stream by hand."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        path = "/lanemesh.v1.NodeService/Host"
        self.call: Any = channel.stream_stream(path, response_deserializer=node_pb2.HostResponse.FromString)()

    async def send(self, **frame: Any) -> None:
        await self.call.write(node_pb2.HostRequest(**frame).SerializeToString())

    async def until(self, kind: str) -> None:
        """Reads up to a frame of a kind; "": up to the end of the stream."""
        async with asyncio.timeout(5):
            while isinstance(frame := await self.call.read(), node_pb2.HostResponse):
                if kind and frame.WhichOneof("frame") == kind:
                    return
        assert not kind


def placed_alone(run_id: str, count: int) -> node_pb2.Place:
    """A run of one component, which sends so many numbers nowhere."""
    instance = node_pb2.Instance(component="a", provider="numbers", config_json=f'{{"count": {count}}}')
    return node_pb2.Place(run_id=run_id, instances=[instance], opens_lanes_at_start=True)


@asynccontextmanager
async def raw_stream() -> AsyncIterator[tuple[NodeServer, RawStream]]:
    """A node server that has joined nothing, and a stream to it."""
    server = NodeServer(NodeHost([load_file(NODES)], name="left"))
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield server, RawStream(channel)
    await server.stop()


@pytest.mark.conformance("START-02")
async def test_a_stream_with_a_frame_that_cannot_be_read_ends() -> None:
    async with raw_stream() as (server, stream):
        await stream.send(place=placed_alone("r", 1))
        await stream.until("placed")
        await stream.call.write(b"\xff\xff\xff")
        await stream.until("")
        assert not server.host.runs


@pytest.mark.conformance("START-02")
async def test_a_stream_that_a_draining_server_ends_lets_no_further_run_wait() -> None:
    async with raw_stream() as (server, stream):
        await stream.send(place=placed_alone("r", 1))
        await stream.until("placed")
        server.host.drain()
        await stream.send(start=node_pb2.Start())
        await stream.until("finished")
        with suppress(grpc.aio.AioRpcError):  # a write to a stream that has just ended breaks it
            await stream.send(place=placed_alone("next", 1))
            await stream.until("")


@pytest.mark.conformance("START-02")
async def test_a_run_that_ends_on_a_draining_server_ends_well_and_holds_no_stream() -> None:
    async with mesh_of("left") as (orchestrator, client, servers):
        run = await client.start(TAGS, input="1", open_input=True)
        left = servers.pop()
        await until(lambda: bool(left.host.runs))
        draining = asyncio.create_task(left.drain())
        await until(lambda: orchestrator.registry.members["left"].draining)
        await run.push("2")
        await run.end_input()
        result = await run.result()
        assert (result.state, result.error, len(result.values)) == ("completed", None, 2)
        async with asyncio.timeout(8):
            await draining
            await left.stop()


@pytest.mark.conformance("START-02")
async def test_a_late_report_of_a_finished_run_reaches_no_other_run() -> None:
    host = NodeHost([load_file(NODES)], name="left")
    session = host.session(reusable=True)
    responses = session.responses()

    async def run(number: int) -> Callable[[node_pb2.HostResponse], bool]:
        """One whole run; returns what sends its reports."""
        instance = node_pb2.Instance(component="a", provider="numbers", config_json='{"count": 1}')
        place = node_pb2.Place(run_id=f"run-{number}", instances=[instance], opens_lanes_at_start=True)
        session.handle(node_pb2.HostRequest(place=place))
        placed = await anext(responses)
        assert (placed.WhichOneof("frame"), list(placed.placed.faults)) == ("placed", [])
        report = session._outlet.try_send
        session.handle(node_pb2.HostRequest(start=node_pb2.Start()))
        while (await anext(responses)).WhichOneof("frame") != "finished":
            pass
        return report

    report = await run(1)
    stray = update_pb2.Update(node=update_pb2.NodeUpdate(component="a", detail="of another run"))
    assert report(node_pb2.HostResponse(update=stray))
    await run(2)  # its first frame is `placed`, and not the stray report
    await session.close()
    await host.close()


@pytest.mark.conformance("START-02")
async def test_a_run_that_is_started_twice_too_early_ends_once_and_its_session_hosts_another() -> None:
    host = NodeHost([load_file(NODES)], name="left")
    session = host.session(reusable=True)
    responses = session.responses()
    instance = node_pb2.Instance(component="a", provider="numbers", config_json='{"count": 1}')
    session.handle(node_pb2.HostRequest(place=node_pb2.Place(run_id="run-1", instances=[instance])))
    assert (await anext(responses)).WhichOneof("frame") == "placed"
    for _ in range(2):
        session.handle(node_pb2.HostRequest(start=node_pb2.Start()))
    finished = (await anext(responses)).finished
    assert [fault.reason for fault in finished.faults] == ["not-placed"]
    while session._tasks:
        await asyncio.wait(session._tasks)
    place = node_pb2.Place(run_id="run-2", instances=[instance], opens_lanes_at_start=True)
    session.handle(node_pb2.HostRequest(place=place))
    assert (await anext(responses)).WhichOneof("frame") == "placed"
    session.handle(node_pb2.HostRequest(start=node_pb2.Start()))
    while (frame := await anext(responses)).WhichOneof("frame") != "finished":
        pass
    assert not frame.finished.faults
    await session.close()
    await host.close()


@pytest.mark.conformance("START-02")
@pytest.mark.parametrize("drains_while_it_runs", [True, False])
async def test_a_draining_server_reports_the_end_of_its_last_run(drains_while_it_runs: bool) -> None:
    host = NodeHost([load_file(NODES)], name="left")
    session = host.session(reusable=True)
    responses = session.responses()
    instance = node_pb2.Instance(component="a", provider="numbers", config_json='{"count": 1}')
    session.handle(node_pb2.HostRequest(place=node_pb2.Place(run_id="run-1", instances=[instance])))
    assert (await anext(responses)).WhichOneof("frame") == "placed"
    session.handle(node_pb2.HostRequest(start=node_pb2.Start()))
    if drains_while_it_runs:
        host.drain()
    await host.idle.wait()
    host.drain()
    await session.close()
    assert [response.WhichOneof("frame") async for response in responses][-1] == "finished"
    await host.close()


@pytest.mark.many
@pytest.mark.conformance("START-03")
async def test_deployed_runs_end_right_while_servers_are_killed() -> None:
    seed = SystemRandom().randrange(10**9)
    runs = times(120, 40)
    found = await hunt(runs, Random(seed))
    assert not found.faults, "\n".join((f"with the seed {seed}:", *found.faults))
    assert found.completed > runs * 3 // 4, (seed, found.outcomes)


@pytest.mark.conformance("START-03")
@pytest.mark.parametrize(
    ("state", "values", "error", "fault"),
    [
        ("completed", ("1.0", "1.1"), "", ""),
        ("completed", ("1.0", "1.0", "1.1"), "", ""),
        ("completed", ("1.0",), "", "completed with"),
        ("completed", ("1.1", "1.0"), "", "completed with"),
        ("completed", ("1.0", "1.1", "2.0"), "", "got what it has not sent: ['2.0']"),
        ("failed", ("1.0",), 'the node server "a" is gone', ""),
        ("failed", ("2.0",), 'the node server "a" is gone', "got what it has not sent"),
        ("failed", (), "the run is already hosted", "is failed: the run is already hosted"),
        ("cancelled", (), "", "is cancelled"),
        ("", (), "", "has not ended within"),
    ],
)
def test_what_must_not_come_of_a_run_is_found(state: str, values: tuple[str, ...], error: str, fault: str) -> None:
    found = Outcome(("1.0", "1.1"), state, values, error).fault
    assert fault in found
    assert bool(fault) == bool(found)


@pytest.mark.conformance("START-03")
@pytest.mark.parametrize("reports", ["the end of its part", "the end of its component"])
async def test_a_server_that_is_lost_after_its_work_and_before_the_end_of_its_lanes_fails_no_run(
    reports: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, execute, ended = GrpcReceiver.serve, HostedRun.execute, asyncio.Event()

    async def without_end(self: GrpcReceiver) -> None:
        await serve(self)
        if self._edge.id == "chat.text>c.text":
            ended.set()
            await asyncio.Event().wait()

    async def without_report(self: HostedRun) -> list[Fault]:
        faults = await execute(self)
        if "c" in self._instances and reports == "the end of its component":
            await asyncio.Event().wait()
        return faults

    monkeypatch.setattr(GrpcReceiver, "serve", without_end)
    monkeypatch.setattr(HostedRun, "execute", without_report)
    async with mesh_of("left") as (orchestrator, client, servers):
        running = asyncio.create_task(client.run(line(node("c", "steady", "chat")), input="x").result())
        left = servers.pop()
        await ended.wait()
        (run,) = orchestrator.runs.known()
        await until(lambda: not run._router.going)
        if reports == "the end of its part":
            await until(lambda: not left.host.runs)
        await left.grpc.stop(0)
        await left.stop()
        result = await running
        assert (result.state, result.values, result.error) == ("completed", ("x",), None)


@pytest.mark.conformance("START-04")
async def test_a_run_whose_model_loads_does_not_delay_other_runs() -> None:
    slow = line(node("s", "slow_load", "chat", seconds=3600))
    async with mesh_of("left") as (_, client, _servers):
        loading = [client.run(slow, input="x") for _ in range(admission.MOST_AT_ONCE)]
        for run in loading:
            await run.start()
        assert (await ends(client, TAGS))[0] == "completed"
        for run in loading:
            await run.cancel()


@pytest.mark.conformance("START-04")
async def test_runs_beyond_the_bound_are_refused_and_the_others_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING", 5)
    async with mesh_of("left") as (_, client, _servers):
        results = await asyncio.gather(*(ends(client, TAGS) for _ in range(40)), return_exceptions=True)
        refused = [error for error in results if isinstance(error, Exception)]
        assert all("wait to be started; retry in 1 s" in str(error) for error in refused), refused
        assert {state for state, _ in (one for one in results if isinstance(one, tuple))} == {"completed"}
        assert (await ends(client, TAGS))[0] == "completed"
