"""Pipelines of test nodes, written short, and what comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from lanemesh.client.results import RunResult
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.client.update_conversion import from_wire
from lanemesh.client.updates import OutputUpdate, RunState
from lanemesh.codec import decode, lane_type_of
from lanemesh.faults import Fault
from lanemesh.features import FEATURES
from lanemesh.node.node import Service
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.server.services import load_file
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

RIGS = Path(__file__).parent
"""Folder of the files with node types."""
NODES = RIGS / "run_nodes.py"
"""The file with the node types."""
FIRING_NODES = NODES.with_name("firing_nodes.py")
JOINING_NODES = NODES.with_name("joining_nodes.py")
GROUPING_NODES = NODES.with_name("grouping_nodes.py")
"""Those that show when they fire, and with what."""

Component = dict[str, Any]
Pipeline = dict[str, Any]


def lane(origin: str, **more: Any) -> dict[str, Any]:
    """One entry of `input`: text from another component."""
    return {"lane": "text", "from": origin, **more}


def node(name: str, provider: str, *origins: str | dict[str, Any], **config: Any) -> Component:
    """A component with text inputs, from others by their names."""
    inputs = [lane(origin) if isinstance(origin, str) else origin for origin in origins]
    return {"id": name, "provider": provider, "config": config, **({"input": inputs} if inputs else {})}


def at(server: str, component: Component) -> Component:
    """The component, on the server with this name as its label "name"."""
    return {**component, "placement": {"labels": {"name": server}}}


def chat(name: str = "chat") -> Component:
    """What the client feeds."""
    return {"id": name, "provider": "chat"}


def response(*origins: str | dict[str, Any], name: str = "out") -> Component:
    """What the client gets."""
    return node(name, "response", *origins, lane="text")


def pipeline(*components: Component, **more: Any) -> Pipeline:
    """A pipeline of these."""
    return {"components": list(components), **more}


def line(*middle: Component, last: str | None = None) -> Pipeline:
    """A chat, these, and a response after the last."""
    return pipeline(chat(), *middle, response(last or middle[-1]["id"]))


@asynccontextmanager
async def serving(
    orchestrator: Orchestrator,
    name: str,
    *,
    advertise: str = "",
    max_instances: int = 0,
    labels: Mapping[str, str] | None = None,
    services: Sequence[Service] | None = None,
    features: Collection[str] = FEATURES,
) -> AsyncIterator[NodeServer]:
    """A node server in this process that has joined, with the node types of `NODES` unless others are given. It supports
    only these features."""
    found = [load_file(NODES)] if services is None else services
    host = NodeHost(found, name=name, max_instances=max_instances, labels=labels)
    host.features = features
    server = NodeServer(host, orchestrator=orchestrator.address, advertise=advertise)
    await server.start()
    assert server.registration is not None
    await server.registration.joined.wait()
    yield server
    await server.stop()


async def ended(run: Run) -> tuple[RunResult, list[update_pb2.Update]]:
    """How a run ended, and all its updates."""
    seen: list[update_pb2.Update] = []
    outputs: list[OutputUpdate] = []
    async for update in wire_updates(run):
        seen.append(update)
        value = from_wire(update)
        if isinstance(value, OutputUpdate):
            outputs.append(value)
    job = seen[-1].job
    error = Fault.from_proto(job.error) if job.HasField("error") else None
    return RunResult(run.id, RunState.from_wire(job.state), tuple(outputs), error, job.reason), seen


def states(updates: Sequence[update_pb2.Update], component: str) -> list[str]:
    """The states that a component went through; what it told again, with another number of firings, counts once."""
    told = [
        update_pb2.NodeState.Name(update.node.state).removeprefix("NODE_STATE_")
        for update in updates
        if update.WhichOneof("kind") == "node" and update.node.component == component
    ]
    return [state for state, _ in groupby(told)]


def node_update(updates: Sequence[update_pb2.Update], component: str) -> update_pb2.NodeUpdate:
    """The last word on a component."""
    return [
        update.node for update in updates if update.WhichOneof("kind") == "node" and update.node.component == component
    ][-1]


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits for something in another process, which no event tells of."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


def lines(journal: Path) -> list[str]:
    """What nodes wrote down."""
    return journal.read_text().splitlines() if journal.exists() else []


def note_down(journal: Path, line: str) -> None:
    """Writes a line for nodes to read."""
    with journal.open("a") as file:
        file.write(f"{line}\n")


def value_of(output: update_pb2.OutputUpdate) -> Any:
    """The value that an output carries."""
    return decode(lane_type_of(output.item), output.item).value
