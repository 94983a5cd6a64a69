"""The trace that a run belongs to reaches every node and every lane, and goes on after a call that names none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from lanemesh import Client, Context, In, Node, Out
from lanemesh._grpc.traceparent import is_traceparent
from lanemesh.client.inputs import to_input
from lanemesh.client.specs import run_spec
from lanemesh.node.node import Service
from lanemesh.server.host.host import NodeHost
from lanemesh.v1 import lane_pb2, run_pb2, run_pb2_grpc
from lanemesh_orchestrator.mesh import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import line, node, serving

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Trace(Node):
    """Appends the trace that it sees."""

    text: In[str]
    traced: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        return {"traced": f"{self.text} {context.traceparent}"}


class TraceThere(Trace):
    """The same, elsewhere."""


TRACES = line(node("a", "trace", "chat"), node("b", "trace_there", "a"))


@pytest_asyncio.fixture
async def orchestrator() -> AsyncIterator[Orchestrator]:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    async with (
        serving(orchestrator, "here", services=[Service("here", (Trace,))]),
        serving(orchestrator, "there", services=[Service("there", (TraceThere,))]),
    ):
        yield orchestrator
    await orchestrator.close()


@pytest.mark.parametrize(
    "given", [(("traceparent", GIVEN),), (), (("traceparent", "nonsense"),)], ids=["given", "none", "bad"]
)
async def test_every_node_and_lane_of_a_run_sees_its_trace(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, given: tuple[tuple[str, str], ...]
) -> None:
    opened: dict[str, str] = {}
    accept = NodeHost.accept

    def spied(host: NodeHost, opening: lane_pb2.LaneOpen) -> Any:
        opened[opening.edge_id] = opening.traceparent
        return accept(host, opening)

    monkeypatch.setattr(NodeHost, "accept", spied)
    async with grpc.aio.insecure_channel(orchestrator.address) as channel:
        stub: run_pb2_grpc.RunServiceAsyncStub = run_pb2_grpc.RunServiceStub(channel)
        call = stub.Run(metadata=given)
        await call.write(run_pb2.RunRequest(spec=run_spec(TRACES, None)))
        await call.write(run_pb2.RunRequest(input=to_input("x")))
        await call.done_writing()
        updates = [update async for response in call for update in response.updates]
        started = await stub.StartRun(
            run_pb2.StartRunRequest(spec=run_spec(TRACES, None), inputs=[to_input("x")]), metadata=given
        )
    (output,) = [update.output.item.text for update in updates if update.HasField("output")]
    marker, first, second = output.split(" ")
    assert marker == "x"
    assert first == second
    assert is_traceparent(first)
    assert (first == GIVEN) == (given == (("traceparent", GIVEN),))
    async with Client(orchestrator.address) as client:
        (detached,) = (await asyncio.wait_for(client.attach(started.run_id).result(), 20)).values
    assert (detached == output) == (first == GIVEN)
    assert len(opened) == 3
    assert set(opened.values()) <= {first, detached.split(" ")[1]}


async def test_an_embedded_run_has_a_trace_of_its_own() -> None:
    async with Mesh(nodes=__file__) as mesh:
        document = line(node("a", "trace", "chat"))
        one, two = [(await mesh.run(document, input="x").result()).values[0] for _ in range(2)]
    assert one != two
    assert is_traceparent(one.split(" ")[1])
