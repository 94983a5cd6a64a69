"""A kind of helper is one row of a table and the module that the row names. These tests add one, and change nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Client, LanemeshError, Node, Pipeline, Service
from lanemesh.client.updates import OutputUpdate, TraceUpdate
from lanemesh.faults import NodeDefinitionError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs import notes_nodes
from rigs.notes_kind import NOTES, Everything, NotesClient
from rigs.runs import Component, line, node, pipeline, serving

from .conftest import Reach, helper_of


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row."""
    monkeypatch.setitem(HELPER_KINDS, NOTES.name, NOTES)


def studying() -> dict[str, Any]:
    """A student with a notebook."""
    notes: Component = {**node("notes", "notebook"), "control": [{"classType": "notes", "from": "student"}]}
    studied = line(node("student", "student", "chat"))
    return pipeline(*studied["components"], notes)


SAID = ("[False, False] [('a', 'x'), ('b', 'x')] 1",)


async def test_nodes_of_one_process_call_it_and_traces_show_it() -> None:
    async with Mesh(nodes=[notes_nodes.__file__]) as mesh, mesh.run(studying(), input="x", trace="full") as run:
        updates = [update async for update in run.updates()]

    assert tuple(update.value for update in updates if isinstance(update, OutputUpdate)) == SAID
    traces = [update.value for update in updates if isinstance(update, TraceUpdate) and ":notes" in update.edge]
    kept = [{"request": {"title": title, "text": "x"}} for title in "ab"]
    assert traces == [kept[0], {"response": {}}, kept[1], {"response": {}}]


async def test_nodes_call_it_over_grpc() -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    try:
        async with (
            serving(orchestrator, "notebooks", services=[Service("notebooks", [notes_nodes.Notebook])]),
            serving(orchestrator, "students", services=[Service("students", [notes_nodes.Student])]),
            Client(orchestrator.address) as client,
        ):
            result = await client.run(studying(), input="x").result()
    finally:
        await orchestrator.close()

    assert result.values == SAID


def test_error_a_method_of_the_wrong_form_is_refused_when_its_class_is_defined() -> None:
    with pytest.raises(
        NodeDefinitionError, match=r"`write` that takes \(self\); write `def write\(self, context, title"
    ):
        type("Wrong", (Node,), {"offers": ("notes",), "write": lambda self: None})


def test_error_the_kinds_are_listed() -> None:
    built = Pipeline()

    with pytest.raises(LanemeshError, match='helper model of agent: "llm" or "tool" or "memory" or "agent" or "notes"'):
        built.add("model", id="model").helps(built.add("agent", id="agent"))


async def test_error_what_a_node_returns_is_checked(reach: Reach) -> None:
    def write(self: Node, context: Any, title: str, text: str) -> int:
        return 3

    odd = type("Odd", (Node,), {"offers": ("notes",), "write": write, "provider": "odd"})
    notes = NotesClient(await reach.link("notes", helper_of(odd, "notes_1")))

    with pytest.raises(LanemeshError, match=r"notes_1 \(odd\): write returned 3; return a bool"):
        await notes.write("a", "b")


async def test_error_a_method_of_the_service_that_it_does_not_answer(reach: Reach) -> None:
    link = await reach.link("notes", helper_of(notes_nodes.Notebook, "notes_1", resource={}))

    with pytest.raises(LanemeshError, match=r"Burn of rigs.NotesService is not served here") as caught:
        await anext(link.stream("Burn", Everything()))

    assert caught.value.fault.reason == "not-offered"
