"""Documents of clients that attack a shared orchestrator: none delays, or breaks, the calls of other clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from lanemesh import Client, Question, codec
from lanemesh.client.run_host import RunHost
from lanemesh.client.specs import Deployed
from lanemesh.faults import LanemeshError
from lanemesh.items import LaneType
from lanemesh.v1 import lane_pb2, node_pb2, run_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import redaction
from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.pipeline.redaction import without_secrets
from lanemesh_orchestrator.runs import inputs
from lanemesh_orchestrator.runs.check_pool import INLINE_BYTES, MAX_CHECKS, CheckPool

from rigs.runs import RIGS, Pipeline, line, node

pytestmark = pytest.mark.asyncio(loop_scope="session")

TAG = line(node("a", "tag", "chat", mark="+"))
LARGE = {**TAG, "ui": "x" * INLINE_BYTES}
INPUT = Question("x" * (inputs.INLINE_BYTES + 1))
HALF = "\ud800"


class Gate:
    """Holds each check of a large pipeline until it is opened."""

    def __init__(self, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = asyncio.Event()
        self.opened = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._validate = orchestrator.runs.validate
        monkeypatch.setattr(orchestrator.runs, "validate", self.check)
        monkeypatch.setattr(orchestrator.deployments, "read", lambda spec, folder: self.check(spec))

    def check(self, spec: run_pb2.RunSpec, *more: Any) -> Graph:
        if len(spec.pipeline_json) > INLINE_BYTES:
            self._loop.call_soon_threadsafe(self.entered.set)
            assert self.opened.wait(60), "no other call was answered while this one was checked"
        return self._validate(spec, *more)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.validate(LARGE),
        lambda client: client.run(LARGE, input="x").result(),
        lambda client: client.start(LARGE, input="x"),
        lambda client: client.deploy("large", LARGE),
    ],
    ids=["validate", "run", "start", "deploy"],
)
async def test_the_check_of_a_large_document_does_not_stop_another_call(
    serving: Orchestrator,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Client], Awaitable[Any]],
) -> None:
    gate = Gate(serving, monkeypatch)
    large = asyncio.ensure_future(call(client))
    try:
        await gate.entered.wait()
        async with Client(serving.address) as other:
            assert (await other.run(TAG, input="x").result()).values == ("+x",)
        assert not large.done()
    finally:
        gate.opened.set()
    await large
    if "large" in {deployed.name for deployed in await client.deployments()}:
        await client.undeploy("large")


@pytest.mark.parametrize(
    ("own", "version"),
    [({"settings": {"a.mark": "+"}}, 0), ({"variables": {"OWN": "+"}}, 0), ({"variables": {"OWN": "+"}}, 2), ({}, 1)],
    ids=["settings", "variables", "version-and-variables", "superseded"],
)
async def test_a_run_that_changes_a_large_deployment_does_not_stop_another_call(
    serving: Orchestrator, client: Client, monkeypatch: pytest.MonkeyPatch, own: dict[str, Any], version: int
) -> None:
    for _ in range(2):
        await client.deploy("large", LARGE)
    gate = Gate(serving, monkeypatch)
    large = asyncio.ensure_future(client.run(Deployed("large", version), input="x", **own).result())
    try:
        await gate.entered.wait()
        async with Client(serving.address) as other:
            assert (await other.run(TAG, input="x").result()).values == ("+x",)
        assert not large.done()
    finally:
        gate.opened.set()
    assert (await large).values == ("+x",)
    await client.undeploy("large")


async def test_a_run_that_changes_a_small_deployment_is_not_refused_for_others(
    serving: Orchestrator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.deploy("small", TAG)
    monkeypatch.setattr(serving.runs.checks, "_submit", lambda check: pytest.fail("it waits for large pipelines"))
    run = client.run(Deployed("small", 1), input="x", settings={"a.mark": "-"}, variables={"OWN": "+"})
    assert (await run.result()).values == ("-x",)
    await client.undeploy("small")


async def test_a_large_document_is_read_for_its_secrets_once_and_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readers: list[threading.Thread] = []

    def reading(text: str, types: Mapping[str, node_pb2.Manifest]) -> str:
        readers.append(threading.current_thread())
        return without_secrets(text, types)

    monkeypatch.setattr(redaction, "without_secrets", reading)
    leaky = line(node("a", "leaky", "chat", mode="log", api_key="sk-written-out"))
    orchestrator = Orchestrator(embedded=True, nodes=[RIGS / "secret_nodes.py"])
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        run = await client.start({**leaky, "ui": "x" * INLINE_BYTES}, input="x")
        await run.result()
        for _ in range(2):
            record = await client.record(run.id)
            assert '"***"' in record.pipeline_json
            assert "sk-written-out" not in record.pipeline_json
    await orchestrator.close()
    assert len(readers) == 1
    assert readers[0] is not threading.current_thread()


async def feed(client: Client) -> None:
    run = await client.start(TAG, open_input=True)
    await run.push(INPUT)
    await run.end_input()
    await run.result()


@pytest.mark.parametrize(
    "call",
    [feed, lambda client: client.start(TAG, input=INPUT), lambda client: client.run(TAG, input=INPUT).result()],
    ids=["push", "start", "run"],
)
async def test_the_reading_of_a_large_input_does_not_stop_another_call(
    serving: Orchestrator,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Client], Awaitable[Any]],
) -> None:
    loop, entered, opened, real = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), codec.decode

    def decode(lane_type: LaneType, item: lane_pb2.Item) -> Any:
        if item.ByteSize() > inputs.INLINE_BYTES:
            loop.call_soon_threadsafe(entered.set)
            assert opened.wait(60), "no other call was answered while this input was read"
        return real(lane_type, item)

    monkeypatch.setattr(inputs, "decode", decode)
    large = asyncio.ensure_future(call(client))
    try:
        await entered.wait()
        async with Client(serving.address) as other:
            assert (await other.run(TAG, input="x").result()).values == ("+x",)
        assert not large.done()
    finally:
        opened.set()
    await large


async def test_checks_are_bounded() -> None:
    pool, opened = CheckPool(), threading.Event()
    waiting = [asyncio.ensure_future(pool.run(INLINE_BYTES + 1, opened.wait)) for _ in range(MAX_CHECKS)]
    try:
        await asyncio.sleep(0)
        with pytest.raises(LanemeshError, match="MAX_CHECKS"):
            await pool.run(INLINE_BYTES + 1, opened.wait)
        assert await pool.run(1, lambda: "small") == "small"
    finally:
        opened.set()
    await asyncio.gather(*waiting)
    assert await pool.run(INLINE_BYTES + 1, lambda: "again") == "again"
    pool.close()


@pytest.mark.parametrize(
    ("document", "pointer"),
    [({**TAG, "name": HALF}, "/name"), (line(node("a", "tag", "chat", mark=HALF)), "/components/1/config/mark")],
)
async def test_text_that_no_message_holds_is_refused_and_breaks_no_list(
    client: Client, document: Pipeline, pointer: str
) -> None:
    (fault,) = await client.validate(document)
    assert (fault.pointer, fault.reason) == (pointer, "not-text")
    with pytest.raises(LanemeshError, match="not valid Unicode"):
        await client.start(document, input="x")
    with pytest.raises(LanemeshError, match="not valid Unicode"):
        await client.run(document, input="x").result()
    with pytest.raises(LanemeshError, match="not valid Unicode"):
        await client.deploy("half", document)
    await client.runs()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.validate(TAG, settings={f"a.{HALF}": 1}),
        lambda client: client.start(TAG, input="x", settings={"a.mark": HALF}),
        lambda client: client.start(Deployed(HALF)),
        lambda client: client.deploy(HALF, TAG),
        lambda client: client.undeploy(HALF),
        lambda client: client.deployment(HALF),
        lambda client: client.record(HALF),
        lambda client: client.attach(HALF).result(),
        lambda client: client.session_of_run(HALF),
        lambda client: client.approve(HALF, "call"),
        lambda client: client.tools(HALF),
        lambda client: client.call_tool(HALF),
        lambda client: client.call_tool("tool", deployment=HALF),
        lambda client: client.runs(deployment=HALF),
        lambda client: client.start(TAG, input=HALF),
        lambda client: client.channels("run").publish(HALF, 1),
        lambda client: client.channels(HALF).publish("name", 1),
        lambda client: client.channels("run").publish("name", HALF),
    ],
)
@pytest.mark.parametrize("embedded", [False, True])
async def test_text_that_no_message_holds_is_refused_by_a_fault(
    client: Client, call: Callable[[RunHost], Awaitable[Any]], embedded: bool
) -> None:
    async with Mesh() as mesh:
        with pytest.raises(LanemeshError) as caught:
            await call(mesh if embedded else client)
    str(caught.value).encode()
