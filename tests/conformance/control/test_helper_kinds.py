"""A kind of helper is one row of a table and the module that the row names. These tests add one, and change nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Client, LanemeshError, Node, Pipeline, Service
from lanemesh.client.updates import OutputUpdate, TraceUpdate
from lanemesh.faults import NodeDefinitionError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.v1 import control_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs import memory_nodes
from rigs.memory_kind import MEMORY, MemoryClient
from rigs.runs import Component, line, node, pipeline, serving

from .conftest import Reach, helper_of


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row."""
    monkeypatch.setitem(HELPER_KINDS, MEMORY.name, MEMORY)


def studying() -> dict[str, Any]:
    """A student with a memory."""
    memory: Component = {**node("memory", "notebook"), "control": [{"classType": "memory", "from": "student"}]}
    studied = line(node("student", "student", "chat"))
    return pipeline(*studied["components"], memory)


SAID = ("[False, False] [('a', 'x'), ('b', 'x')] 1",)


async def test_nodes_of_one_process_call_it_and_traces_show_it() -> None:
    async with Mesh(nodes=[memory_nodes.__file__]) as mesh, mesh.run(studying(), input="x", trace="full") as run:
        updates = [update async for update in run.updates()]

    assert tuple(update.value for update in updates if isinstance(update, OutputUpdate)) == SAID
    traces = [update.value for update in updates if isinstance(update, TraceUpdate) and ":memory" in update.edge]
    kept = [{"request": {"entry": {"key": key, "value_json": "x"}}} for key in "ab"]
    assert traces == [kept[0], {"response": {}}, kept[1], {"response": {}}]


async def test_nodes_call_it_over_grpc() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    try:
        async with (
            serving(orchestrator, "notebooks", services=[Service("notebooks", [memory_nodes.Notebook])]),
            serving(orchestrator, "students", services=[Service("students", [memory_nodes.Student])]),
            Client(orchestrator.address) as client,
        ):
            result = await client.run(studying(), input="x").result()
    finally:
        await orchestrator.close()

    assert result.values == SAID


def test_error_a_method_of_the_wrong_form_is_refused_when_its_class_is_defined() -> None:
    with pytest.raises(NodeDefinitionError, match=r"`put` that takes \(self\); write `def put\(self, context, key"):
        type("Wrong", (Node,), {"offers": ("memory",), "put": lambda self: None})


def test_error_the_kinds_are_listed() -> None:
    built = Pipeline()

    with pytest.raises(LanemeshError, match='what model is to agent: "llm" or "tool" or "memory"'):
        built.add("model", id="model").helps(built.add("agent", id="agent"))


async def test_error_what_a_node_returns_is_checked(reach: Reach) -> None:
    def put(self: Node, context: Any, key: str, value: str) -> int:
        return 3

    odd = type("Odd", (Node,), {"offers": ("memory",), "put": put, "provider": "odd"})
    memory = MemoryClient(await reach.link("memory", helper_of(odd, "memory_1")))

    with pytest.raises(LanemeshError, match=r"memory_1 \(odd\): put returned 3; return a bool"):
        await memory.put("a", "b")


async def test_error_a_method_of_the_service_that_it_does_not_answer(reach: Reach) -> None:
    link = await reach.link("memory", helper_of(memory_nodes.Notebook, "memory_1", resource={}))

    with pytest.raises(LanemeshError, match=r"Search of lanemesh.v1.MemoryService is not served here") as caught:
        await anext(link.stream("Search", control_pb2.MemoryServiceSearchRequest()))

    assert caught.value.fault.reason == "not-offered"
