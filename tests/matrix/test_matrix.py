"""A client in each language runs pipelines with nodes in each language, on node servers in their languages."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from lanemesh import Client, Node, Service
from lanemesh.client.updates import NodeState, NodeUpdate
from lanemesh.faults import Code
from lanemesh.items import LaneType
from lanemesh_orchestrator.conformance import nodes as conformance_nodes
from lanemesh_orchestrator.orchestrator import Orchestrator

from matrix.probes import PROBES, Probe
from matrix.probes import SERVICE as PROBE_NODES
from matrix.programs import LANGUAGES, ClientProcess, clients, process, servers
from matrix.values import ANSWERS, EVERY_LANE, MEDIA, QUESTION, TEXTS, fields, lanes_of, text
from rigs.registration_log import registration_log
from rigs.runs import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY_CLIENT = pytest.mark.parametrize("client", LANGUAGES, indirect=True)
EVERY_NODE = pytest.mark.parametrize("node", LANGUAGES)
REGISTRY = "lanemesh.registry"
"""The logger that has a line for each node server that has joined."""
START_SECONDS = 100.0
"""How long the node servers may take to start."""
WINDOW_UPDATES = 256
"""Most updates of a run that its client has not acknowledged."""

OTHER_RUNS = 10
"""Runs that pass a run which stands still."""


@dataclass
class Languages:
    """A mesh with a node server in each language that is built."""

    address: str
    watcher: Client
    servers: frozenset[str]
    processes: contextlib.AsyncExitStack
    clients: dict[str, ClientProcess] = field(default_factory=dict)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[Languages]:
    """The mesh."""
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(orchestrator.close)
        await stack.enter_async_context(serving(orchestrator, "python", services=[python_nodes()]))
        await stack.enter_async_context(serving(orchestrator, "probes", services=[PROBE_NODES]))
        commands = servers(orchestrator.address)
        with registration_log(REGISTRY) as log:
            for command in commands.values():
                await stack.enter_async_context(process(command))
            await log.until(*(f"{language}_values" for language in commands), seconds=START_SECONDS)
        watcher = await stack.enter_async_context(Client(orchestrator.address))
        yield Languages(orchestrator.address, watcher, frozenset({"python", *commands}), stack)


@pytest_asyncio.fixture(loop_scope="module")
async def client(mesh: Languages, request: pytest.FixtureRequest) -> ClientProcess:
    """The client of a language: that of the test before, unless it is in the middle of a run."""
    language = request.param
    command = clients(mesh.address).get(language)
    if command is None:
        pytest.skip(f"the client in {LANGUAGES[language]} is not built")
    if language not in mesh.clients or mesh.clients[language].running:
        started = await mesh.processes.enter_async_context(process(command))
        mesh.clients[language] = ClientProcess(started)
    return mesh.clients[language]


@pytest.fixture(autouse=True)
def built(mesh: Languages, request: pytest.FixtureRequest) -> None:
    """Skips a test of a node server that is not built."""
    for name in ("node", "producer", "consumer"):
        language = request.node.callspec.params.get(name, "python")
        if language not in mesh.servers:
            pytest.skip(f"the node server in {LANGUAGES[language]} is not built")


def python_nodes() -> Service:
    """The node types of `lanemesh conformance` under names such as python_echo."""
    return Service("python", [renamed(one) for one in vars(conformance_nodes).values() if is_node(one)])


def is_node(one: object) -> bool:
    """It is a node type of that module."""
    return inspect.isclass(one) and issubclass(one, Node) and one.__module__ == conformance_nodes.__name__


def renamed(one: type[Node]) -> type[Node]:
    """The same node type with another name."""
    made = type(one.__name__.replace("Conformance", "Python"), (one,), {"__doc__": one.__doc__, "__module__": __name__})
    assert issubclass(made, Node)
    return made


def chain(source: str, *components: Mapping[str, Any], lane: str = "text") -> dict[str, Any]:
    """A source, components c1, c2 and so on one after the other by the lane, and a response.

    Of a component, `edge` has further fields of its edge. One whose names of ports are those of `conformance_values` needs `output`
    in the edge of the next.
    """
    made: list[dict[str, Any]] = [{"id": "source", "provider": source}]
    for number, component in enumerate(components, 1):
        given = dict(component)
        edge = {"lane": lane, "from": made[-1]["id"], **given.pop("edge", {})}
        made.append({"id": f"c{number}", **given, "input": [edge]})
    made.append({"id": "out", "provider": "response", "input": [{"lane": lane, "from": made[-1]["id"]}]})
    return {"components": made}


@EVERY_NODE
@EVERY_CLIENT
async def test_text(client: ClientProcess, node: str) -> None:
    """Texts pass unchanged and in order: more than a client may send unasked, and more outputs than it may leave unread."""
    given = [*TEXTS, *(text(str(number)) for number in range(700))]
    result = await client.run(chain("chat", {"provider": f"{node}_echo"}), given)
    assert result.fault is None
    assert fields(result.outputs) == fields(given)


@EVERY_NODE
@EVERY_CLIENT
async def test_questions_and_answers(client: ClientProcess, node: str) -> None:
    """A question passes through the node to the one that answers, and the answers back through another one, field by field."""
    document = {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "asked", "provider": f"{node}_values", "input": [{"lane": "questions", "from": "chat"}]},
            {"id": "answer", "provider": "probe_answer", "input": [{"lane": "questions", "from": "asked"}]},
            {"id": "answered", "provider": f"{node}_values", "input": [{"lane": "answers", "from": "answer"}]},
            {
                "id": "out",
                "provider": "response",
                "input": [{"lane": "questions", "from": "asked"}, {"lane": "answers", "from": "answered"}],
            },
        ]
    }
    await client.begin(document, [QUESTION])
    run_id = await client.started()
    result = await client.result()
    assert result.fault is None
    assert lanes_of(result.outputs) == lanes_of([QUESTION, *ANSWERS])
    assert fields(PROBES.pop(run_id).received) == fields([QUESTION])


@EVERY_NODE
@EVERY_CLIENT
async def test_media(client: ClientProcess, node: str) -> None:
    """A picture larger than a frame, audio, and a video by its address pass unchanged."""
    lanes = ("image", "audio", "video")
    document = {
        "components": [
            {"id": "source", "provider": "webhook"},
            {"id": "c1", "provider": f"{node}_values", "input": [{"lane": lane, "from": "source"} for lane in lanes]},
            {"id": "out", "provider": "response", "input": [{"lane": lane, "from": "c1"} for lane in lanes]},
        ]
    }
    result = await client.run(document, MEDIA)
    assert result.fault is None
    assert lanes_of(result.outputs) == lanes_of(MEDIA)


@EVERY_NODE
@EVERY_CLIENT
async def test_faults(client: ClientProcess, node: str) -> None:
    """The fault of a node reaches the client after the outputs before it; a wrong setting is a fault before the run starts."""
    result = await client.run(chain("chat", {"provider": f"{node}_fail"}), [text("ok"), text("fail")])
    assert fields(result.outputs) == fields([text("ok")])
    assert result.fault is not None
    assert (result.fault.code, result.fault.reason, result.fault.secondary) == (Code.UNKNOWN, "node-error", False)
    assert "got the text that it fails at" in result.fault.message
    assert result.fault.details["component"] == "c1"
    assert result.fault.details["provider"] == f"{node}_fail"
    slow = {"provider": f"{node}_slow", "config": {"milliseconds": "soon"}}
    result = await client.run(chain("chat", slow), [text("x")])
    assert result.fault is not None
    assert (result.fault.code, result.fault.reason) == (Code.INVALID_ARGUMENT, "pipeline-invalid")
    assert "milliseconds" in result.fault.message


@EVERY_NODE
@EVERY_CLIENT
async def test_cancel(mesh: Languages, client: ClientProcess, node: str) -> None:
    """A client cancels a run while a node is in the middle of a firing: the firing ends, and the client gets the reason."""
    slow = {"provider": f"{node}_slow", "config": {"milliseconds": 3_600_000}, "edge": {"buffer_limit": 1}}
    await client.begin(chain("chat", {"provider": "probe_numbers"}, slow), [text("3")])
    run_id = await client.started()
    await PROBES[run_id].until_blocked(2)  # of a lane with one place: the first item was taken
    await client.send("cancel it is enough")
    last: NodeUpdate | None = None
    async for update in mesh.watcher.attach(run_id).updates():
        if isinstance(update, NodeUpdate) and update.component == "c2":
            last = update
    assert last is not None
    assert last.state is NodeState.CANCELLED
    assert "abandoned" not in last.detail
    result = await client.result()
    assert result.fault is not None
    assert (result.fault.code, result.fault.reason) == (Code.CANCELLED, "cancelled")
    assert "it is enough" in result.fault.message
    PROBES.pop(run_id)


@EVERY_NODE
@EVERY_CLIENT
async def test_backpressure(mesh: Languages, client: ClientProcess, node: str) -> None:
    """A node holds its producer when its consumer takes nothing, and a client that reads nothing holds the run."""
    limit = 8
    edge = {"buffer_limit": limit}
    passing = {"provider": f"{node}_echo", "edge": edge}
    taking = chain("chat", {"provider": "probe_numbers"}, passing, {"provider": "probe_take", "edge": edge})
    await client.begin(taking, [text("600")])
    run_id = await client.started()
    result = await client.result()
    assert result.fault is None
    assert fields(result.outputs) == fields([text("600")])
    assert PROBES.pop(run_id).most <= 2 * limit + 4  # both lanes, and what the nodes hold

    count, read = 3_000, 10
    held = chain("chat", {"provider": "probe_numbers"}, passing)
    held["components"][-1]["input"][0].update(edge)  # every lane of the run has this limit
    await client.begin(held, [text(str(count))], hold=read)
    run_id = await client.started()
    before = await client.held()
    probe = PROBES[run_id]
    await standstill(mesh, probe, node)
    assert probe.emitted <= read + 2 * WINDOW_UPDATES + 4 * limit
    await client.send("go")
    result = await client.result()
    assert result.fault is None
    assert fields([*before, *result.outputs]) == fields(text(str(number)) for number in range(count))
    PROBES.pop(run_id)


async def standstill(mesh: Languages, probe: Probe, node: str) -> None:
    """Waits until a producer has emitted all; or nothing more, while several other runs have passed through the same servers."""
    emitted = -1
    while not probe.done and emitted != probe.emitted:
        await probe.until_blocked(WINDOW_UPDATES // 2)
        emitted = probe.emitted
        for _ in range(OTHER_RUNS):
            assert await mesh.watcher.request(chain("chat", {"provider": f"{node}_echo"}), "x").text() == "x"


@pytest.mark.parametrize("consumer", LANGUAGES)
@pytest.mark.parametrize("producer", LANGUAGES)
async def test_lanes(mesh: Languages, producer: str, consumer: str) -> None:
    """Values of every lane type pass from a node server in one language to one in another, field by field."""
    lanes = [lane.value for lane in LaneType]
    names = ("values", "c1", "c2", "collect")
    providers = ("probe_values", f"{producer}_values", f"{consumer}_values", "probe_collect")
    components: list[dict[str, Any]] = [
        {"id": "chat", "provider": "chat"},
        {"id": names[0], "provider": providers[0], "input": [{"lane": "text", "from": "chat"}]},
    ]
    for origin, name, provider in zip(names, names[1:], providers[1:], strict=False):
        components.append(
            {"id": name, "provider": provider, "input": [{"lane": lane, "from": origin} for lane in lanes]}
        )
    components.append({"id": "out", "provider": "response", "input": [{"lane": "text", "from": "collect"}]})
    async with mesh.watcher.run({"components": components}, input="x") as run:
        assert await run.text() == str(len(EVERY_LANE))
        assert lanes_of(PROBES.pop(run.id).received) == lanes_of(EVERY_LANE)
