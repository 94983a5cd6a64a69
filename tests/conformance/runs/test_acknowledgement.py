"""The owner of a run is at most 256 updates or 1 MiB behind, end to end: what its program has taken is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from lanemesh import Client, OutputUpdate, SyncClient
from lanemesh.client.fanout import ACKNOWLEDGED_UPDATES
from lanemesh.client.inputs import to_input
from lanemesh.client.run_host import RunHost
from lanemesh.client.runs import Run
from lanemesh.client.specs import run_spec
from lanemesh.lanes.inbox.edge import DEFAULT_LIMIT_ITEMS
from lanemesh.text_outputs import last_of, merged
from lanemesh.v1 import run_pb2, run_pb2_grpc
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.deadlock.snapshot import Snapshot
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.owner_window import CALLER_BYTES, CALLER_UPDATES
from lanemesh_orchestrator.store.options import StoreOptions

from rigs.lanes import SOON
from rigs.runs import Pipeline, line, node, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODES = Path(__file__).parents[2] / "rigs" / "acknowledged_nodes.py"
LANES = DEFAULT_LIMIT_ITEMS + 256
"""Items that the lane between the source and the target may hold, and those in a frame on their way."""


def document(journal: Path, **config: Any) -> Pipeline:
    return line(node("a", "ack_source", "chat", journal=str(journal), **config))


def emitted(journal: Path) -> int:
    return journal.stat().st_size if journal.exists() else 0


async def held(orchestrator: Orchestrator, acknowledged: int = 0) -> None:
    """Waits until the only run is held by its owner, which has acknowledged the updates up to a number at least: its target waits
    for the owner, its source waits for capacity, and neither an item nor a credit is in transit between the two."""
    (run,) = orchestrator.runs.known()
    window = run.log._window
    async with asyncio.timeout(SOON):
        while window.read < acknowledged or not window.is_ahead() or not await source_waits(run):  # noqa: ASYNC110 - no event reports it
            await asyncio.sleep(0.01)


async def source_waits(run: ActiveRun) -> bool:
    """Whether the source waits for capacity on a lane whose two ends have counted the same."""
    answers = [answer for host in run._hosts if (answer := await host.probe(SOON)) is not None]
    snapshot = Snapshot.of(answers)
    full = [edge for wait in snapshot.actors["a"].waits for edge in wait.full_edges] if "a" in snapshot.actors else []
    ends = [(snapshot.producers[edge], snapshot.consumers[edge]) for edge in full]
    return bool(ends) and all((one.items, one.taken) == (other.items, other.taken) for one, other in ends)


@asynccontextmanager
async def host_of(kind: str, store: str) -> AsyncIterator[tuple[RunHost, Orchestrator]]:
    if kind == "client":
        orchestrator = Orchestrator(embedded=True, nodes=[NODES], store=StoreOptions(location=store) if store else None)
        await orchestrator.listen()
        try:
            async with Client(orchestrator.address) as client:
                yield client, orchestrator
        finally:
            await orchestrator.close()
        return
    spread = {"spread": "component"} if kind == "spread" else {}
    async with Mesh(nodes=[NODES], store=store or None, **spread) as mesh:  # type: ignore[arg-type]
        yield mesh, mesh.orchestrator


@pytest.mark.conformance("RUN-19")
@pytest.mark.parametrize("stored", [False, True], ids=["memory", "stored"])
@pytest.mark.parametrize("kind", ["embedded", "client", "spread"])
async def test_a_client_that_stops_reading_stops_the_source_at_the_bound(
    kind: str, stored: bool, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    store = str(tmp_path / "runs.db") if stored else ""
    async with host_of(kind, store) as (host, orchestrator), host.run(document(journal), input="go") as run:
        outputs = run.outputs()
        taken = [await anext(outputs) for _ in range(1_000)]
        assert [int(one.value) for one in taken] == list(range(1_000))
        await held(orchestrator, taken[-1].sequence - ACKNOWLEDGED_UPDATES)
        assert emitted(journal) - 1_000 <= CALLER_UPDATES + LANES
        further = [await anext(outputs) for _ in range(1_000)]  # it goes on where it stood
        assert [int(one.value) for one in further] == list(range(1_000, 2_000))
        await outputs.aclose()
        await run.cancel("enough")
        async for _ in run.updates():
            pass
        assert run.state == "cancelled"


@pytest.mark.conformance("RUN-19")
@pytest.mark.parametrize("kind", ["embedded", "client"])
async def test_large_outputs_are_bounded_by_their_bytes(kind: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    large = document(journal, size=300_000, count=40)
    async with host_of(kind, "") as (host, orchestrator), host.run(large, input="go") as run:
        outputs = run.outputs()
        await anext(outputs)
        await held(orchestrator)
        assert (
            emitted(journal) <= 1 + 2 * CALLER_BYTES // 300_000 + 4 * 4
        )  # the window, and three lanes of at most 1 MiB
        assert len([output async for output in outputs]) == 39


@pytest.mark.conformance("RUN-19")
async def test_a_huge_output_passes_alone(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with host_of("client", "") as (host, _):
        run = host.run(document(journal, size=3 * CALLER_BYTES, count=5), input="go")
        assert [len(value) async for value in run.values()] == [3 * CALLER_BYTES] * 5


@pytest.mark.conformance("RUN-19")
async def test_a_view_that_is_left_frees_the_run(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with (
        host_of("client", "") as (host, orchestrator),
        host.run(document(journal, count=5_000), input="go") as run,
    ):
        idle = run.outputs()
        await anext(idle)
        read = asyncio.ensure_future(run.result())
        await held(orchestrator)
        assert not read.done()
        await idle.aclose()
        assert (await read).state == "completed"


@pytest.mark.conformance("RUN-19")
async def test_a_blocking_client_holds_the_run_as_well(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()

    def first() -> tuple[SyncClient, Any, str]:
        client = SyncClient(orchestrator.address)
        texts = iter(client.run(document(journal), input="go").text())
        return client, texts, next(texts)

    client, texts, text = await asyncio.to_thread(first)
    assert text == "0 "
    await held(orchestrator)
    assert emitted(journal) <= CALLER_UPDATES + LANES
    assert await asyncio.to_thread(next, texts) == "1 "
    await asyncio.to_thread(client.close)
    await orchestrator.close()


@asynccontextmanager
async def raw_call(journal: Path) -> AsyncIterator[tuple[Orchestrator, Any]]:
    """A `Run` call without our client, which has begun."""
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    try:
        async with grpc.aio.insecure_channel(orchestrator.address) as channel:
            call = run_pb2_grpc.RunServiceStub(channel).Run()
            await call.write(run_pb2.RunRequest(spec=run_spec(document(journal), None), text_outputs=True))
            await call.write(run_pb2.RunRequest(input=to_input("go")))
            yield orchestrator, call
    finally:
        await orchestrator.close()


def acknowledgement(sequence: int) -> run_pb2.RunRequest:
    return run_pb2.RunRequest(acknowledge=run_pb2.UpdateAcknowledgement(sequence=sequence))


async def read_to(call: Any, sequence: int) -> int:
    """Reads until an update of at least this number. Returns its number."""
    last = 0
    while last < sequence:
        frame = await call.read()
        batch = merged(frame.updates, frame.text_outputs)
        assert not batch or last_of(batch[-1]) <= CALLER_UPDATES
        last = last_of(batch[-1]) if batch else last
    return last


@pytest.mark.conformance("RUN-20")
async def test_without_acknowledgement_a_client_gets_the_window_and_no_more(tmp_path: Path) -> None:
    async with raw_call(tmp_path / "journal") as (orchestrator, call):
        assert await read_to(call, CALLER_UPDATES) == CALLER_UPDATES
        more = asyncio.ensure_future(call.read())
        await held(orchestrator)
        assert emitted(tmp_path / "journal") <= CALLER_UPDATES + LANES
        assert not more.done()
        await call.write(acknowledgement(CALLER_UPDATES))
        frame = await more
        assert merged(frame.updates, frame.text_outputs)


@pytest.mark.conformance("RUN-20")
@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ([CALLER_UPDATES + 1], "the last update that was sent has the number 256"),
        ([100, 99], "update 100 was acknowledged before"),
        ([2**63], "the last update that was sent has the number 256"),
    ],
)
async def test_a_wrong_acknowledgement_fails_the_call_and_cancels_the_run(
    numbers: list[int], why: str, tmp_path: Path
) -> None:
    async with raw_call(tmp_path / "journal") as (orchestrator, call):
        await read_to(call, CALLER_UPDATES)
        (run,) = orchestrator.runs.known()
        for number in numbers:
            await call.write(acknowledgement(number))
        with suppress(grpc.aio.AioRpcError):
            while isinstance(await call.read(), run_pb2.RunResponse):
                pass
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert why in await call.details()
        await run.ended.wait()
        assert (run.state, why in run.reason) == (5, True)


@pytest.mark.conformance("RUN-20")
async def test_a_call_that_was_half_closed_early_fails_when_the_window_is_used_up(tmp_path: Path) -> None:
    async with raw_call(tmp_path / "journal") as (orchestrator, call):
        await call.done_writing()
        assert await read_to(call, CALLER_UPDATES) == CALLER_UPDATES
        (run,) = orchestrator.runs.known()
        assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "half-closed its call or disconnected, so that it cannot acknowledge" in await call.details()
        await run.ended.wait()
        assert "Half-close after the terminal update" in run.reason


@pytest.mark.conformance("RUN-20")
async def test_the_run_of_a_client_that_dies_while_it_is_held_is_cancelled(tmp_path: Path) -> None:
    async with raw_call(tmp_path / "journal") as (orchestrator, call):
        await read_to(call, CALLER_UPDATES)
        (run,) = orchestrator.runs.known()
        call.cancel()
        await run.ended.wait()
        assert "disconnected" in run.reason  # seen as the end of the call, or first as that of its requests
        await until(lambda: not orchestrator.host.runs)


@pytest.mark.conformance("RUN-20")
async def test_inputs_never_hold_up_the_acknowledgements_behind_them(client: Client) -> None:
    """A source that waits for its client, whose many inputs wait for the source."""
    echo = line(node("a", "tag", "chat", mark="+"))
    run: Run = client.run(echo, inputs=[str(number) for number in range(3_000)])
    found = [one async for one in run.updates() if isinstance(one, OutputUpdate)]
    assert [one.value for one in found] == [f"+{number}" for number in range(3_000)]
