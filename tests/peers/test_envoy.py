"""Envoy with the configuration of docs/proxies.md: a browser's gRPC-Web, two orchestrators with one store, two node servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import httpx
import pytest
from lanemesh import Client
from lanemesh._grpc.connections import dial
from lanemesh.client.updates import JobUpdate
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import lane_pb2, run_pb2, run_pb2_grpc, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.store.options import StoreOptions

from peers.grpc_web import call, started
from peers.programs import configuration, envoy_of
from rigs.joined import APART, TAGS
from rigs.lane_proxies import envoy_before
from rigs.ports import free_port
from rigs.runs import NODES, line, node

TAG = line(node("a", "tag", "chat", mark="+"))
OTHERS = 30
"""Enough clients that both orchestrators get some."""
MOST_TRIES = 200


@asynccontextmanager
async def two_orchestrators(
    folder: Path, change: tuple[str, str] = ("", "")
) -> AsyncIterator[tuple[list[Orchestrator], str]]:
    """Two orchestrators with one store, and the address of the Envoy before them, in whose configuration a text is replaced."""
    store = StoreOptions(location=str(folder / "runs.sqlite"), shared=True)
    orchestrators = [Orchestrator(embedded=True, nodes=[NODES], store=store) for _ in range(2)]
    async with AsyncExitStack() as stack:
        for one in orchestrators:
            await one.listen()
            stack.push_async_callback(one.close)
        first, second = (one.address for one in orchestrators)
        front = f"127.0.0.1:{free_port()}"
        text = configuration("envoy.yaml", {8080: front, 7070: first, 7071: second})
        assert change[0] in text
        await stack.enter_async_context(envoy_of(folder, text.replace(*change) if change[0] else text, front))
        yield orchestrators, front


def start_request(*texts: str, open_input: bool = False) -> run_pb2.StartRunRequest:
    """The start of a run of `TAG`."""
    inputs = [run_pb2.RunInput(item=lane_pb2.Item(text=text)) for text in texts]
    return run_pb2.StartRunRequest(
        spec=run_pb2.RunSpec(pipeline_json=json.dumps(TAG)), inputs=inputs, open_input=open_input
    )


def texts_of(frames: list[run_pb2.WatchRunResponse]) -> list[str]:
    """The texts that a run has put out, and at the end its state."""
    updates = [update for frame in frames for update in frame.updates]
    state = update_pb2.RunState.Name(updates[-1].job.state)
    return [*(one.output.item.text for one in updates if one.HasField("output")), state]


@pytest.mark.parametrize("text", [False, True], ids=["binary", "base64"])
async def test_a_browser_starts_and_watches_a_run_over_http_1(tmp_path: Path, text: bool) -> None:
    async with (
        two_orchestrators(tmp_path) as (_, front),
        httpx.AsyncClient(base_url=f"http://{front}", timeout=20) as web,
    ):
        run = await started(web, start_request("one", "two"), text=text)
        watched = await call(web, "WatchRun", run_pb2.WatchRunRequest(run_id=run), text=text)
        assert watched.status == 0
        frames = [run_pb2.WatchRunResponse.FromString(message) for message in watched.messages]
        assert texts_of(frames) == ["+one", "+two", "RUN_STATE_COMPLETED"]
        unknown = await call(web, "GetRun", run_pb2.GetRunRequest(run_id="run-none"), text=text)
        assert unknown.status == grpc.StatusCode.NOT_FOUND.value[0]
        assert "grpc-status-details-bin" in unknown.headers["access-control-expose-headers"]


async def test_a_browser_of_another_origin_is_not_let_in(tmp_path: Path) -> None:
    async with (
        two_orchestrators(tmp_path) as (_, front),
        httpx.AsyncClient(base_url=f"http://{front}", timeout=20) as web,
    ):
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-grpc-web"}
        path = "/lanemesh.v1.RunService/StartRun"
        known = await web.options(path, headers={"origin": "https://app.example", **asked})
        assert known.headers["access-control-allow-origin"] == "https://app.example"
        other = await web.options(path, headers={"origin": "https://other.example", **asked})
        assert "access-control-allow-origin" not in other.headers


async def test_clients_share_two_orchestrators_and_one_takes_over(tmp_path: Path) -> None:
    async with two_orchestrators(tmp_path) as (orchestrators, front), dial(front) as channel:
        stub = run_pb2_grpc.RunServiceStub(channel)

        async def one_client(number: int) -> str:
            """All calls of a client reach one orchestrator, also those about an active run."""
            metadata = (("authorization", f"Bearer client-{number}"),)
            run = (await stub.StartRun(start_request(open_input=True), metadata=metadata)).run_id
            pushed = run_pb2.PushInputRequest(
                run_id=run, inputs=[run_pb2.RunInput(item=lane_pb2.Item(text=str(number)))], end=True
            )
            await stub.PushInput(pushed, metadata=metadata)
            watching = stub.WatchRun(run_pb2.WatchRunRequest(run_id=run), metadata=metadata)
            frames = [frame async for frame in watching]
            assert texts_of(frames) == [f"+{number}", "RUN_STATE_COMPLETED"]
            return str(run)

        # Envoy may begin with the one that is found healthy first: it has both when both have got a run.
        for number in range(MOST_TRIES):
            await stub.StartRun(start_request(), metadata=(("authorization", f"Bearer first-{number}"),))
            before = [len(one.runs.known()) for one in orchestrators]
            if all(before):
                break
        runs = set(await asyncio.gather(*(one_client(number) for number in range(OTHERS))))
        shares = [len(one.runs.known()) - count for one, count in zip(orchestrators, before, strict=True)]
        assert sum(shares) == OTHERS
        assert min(shares) > 0
        async with Client(front) as client:
            assert {record.run_id for record in await client.runs()} >= runs

        await orchestrators[0].close()
        more = await asyncio.gather(*(one_client(number) for number in range(OTHERS)))
        assert len(set(more)) == OTHERS


async def test_a_limit_on_the_duration_of_a_stream_cuts_a_watch(tmp_path: Path) -> None:
    """What the page says of `timeout`: its default is 15 s, for which one of 3 s stands here."""
    limited = ("timeout: 0s\n                  hash", "timeout: 3s\n                  hash")
    async with two_orchestrators(tmp_path, limited) as (_, front), dial(front) as channel:
        stub = run_pb2_grpc.RunServiceStub(channel)
        run = (await stub.StartRun(start_request(open_input=True))).run_id
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            async for _ in stub.WatchRun(run_pb2.WatchRunRequest(run_id=run)):
                pass
        assert cut.value.code() is not grpc.StatusCode.OK
        await stub.CancelRun(run_pb2.CancelRunRequest(run_id=run))


async def test_two_node_servers_behind_envoy_share_the_components(tmp_path: Path) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    ports = [free_port() for _ in range(2)]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(orchestrator.close)
        fronts = await stack.enter_async_context(
            envoy_before([f"127.0.0.1:{port}" for port in ports], idle_seconds=0.0)
        )
        for port, front, name in zip(ports, fronts, ("left", "right"), strict=True):
            host = NodeHost([load_file(NODES)], name=name, labels={"name": name})
            server = NodeServer(host, port=port, advertise=front, orchestrator=orchestrator.address)
            await server.start()
            stack.push_async_callback(server.stop)
            assert server.registration is not None
            await server.registration.joined.wait()
        async with Client(orchestrator.address) as client:
            chain = client.run(APART, inputs=map(str, range(1_000)))
            assert (await chain.result()).values == tuple(map(str, range(1_000)))
            detached = [await client.start(TAGS, open_input=True) for _ in range(4)]
            for run in detached:
                async for update in run.updates():
                    if isinstance(update, JobUpdate) and update.placements:
                        break
            records = [await client.record(run.id) for run in detached]
            places = [place.address for record in records for place in record.placements if place.provider == "tag"]
            assert sorted(places) == sorted(fronts * 4)
            for run in detached:
                await run.end_input()
                assert str((await run.result()).state) == "completed"
