"""Documents as RocketRide's editor writes them: they load as they are, and have the faults that they should have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import all_services, service_names
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.pipeline import PipelineInvalid, parse, validate

FOLDER = Path(__file__).parents[1] / "data" / "rocketride"
UNKNOWN = "unknown-provider"

FAULTS: dict[str, list[tuple[str, str, str]]] = {
    "agent_team": [],
    "broken": [
        ("/components/1/id", "duplicate-id", "chat_1"),
        ("/components/2/config/max_waves", "bad-config", "at least 1"),
        ("/components/2/input/0/lane", "unknown-lane", "Nearest: questions"),
        ("/components/3/config/parameters/temprature", "unknown-config-key", "Nearest: temperature"),
        ("/components/3/config/type", "unknown-config-key", "`type`"),
        ("/components/3/control/0/from", "dangling-reference", "Nearest: agent_rocketride_1"),
        ("/components/4/control/0/classType", "incapable-helper", '"classType": "tool"'),
        ("/components/5/config/profile", "unknown-profile", '"brief"'),
        ("/components/5/uii", "unknown-field", '"uii"'),
        ("/components/6/input/0/lane", "lane-mismatch", "sets it to answers"),
        ("/components/7/input/0/lane", "lane-mismatch", "prompt_1 (prompt) sends prompts (questions)"),
        ("/components/7/provider", UNKNOWN, "Nearest: response_answers"),
        ("/source", "dangling-reference", "Nearest: chat_1"),
    ],
    "chat_with_memory": [],
    "extraction": [],
    "ingest": [
        ("/components/4/config/local/host", "missing-variable", "Set ROCKETRIDE_QDRANT_HOST"),
    ],
    "question_answering": [
        ("/components/2/config/local/collection", "missing-variable", "Set ROCKETRIDE_LIBRARY"),
        ("/components/2/config/local/host", "missing-variable", "Set ROCKETRIDE_QDRANT_HOST"),
        ("/components/4/config/openai-4o/apikey", "missing-variable", "Set ROCKETRIDE_OPENAI_KEY"),
    ],
    "speech": [],
    "summary": [],
    "three_experts": [],
    "translation": [("/components/2/config/house/model", "missing-variable", "Set ROCKETRIDE_HOUSE_MODEL")],
}
"""Every fault of each document where no variable is set: its pointer, its reason and its message."""

pytestmark = pytest.mark.conformance("PIPE-05")


@pytest.fixture(scope="module")
def types() -> dict[str, node_pb2.Manifest]:
    services = all_services(service_names())
    return {node.provider: manifest_of(node, service.name) for service in services for node in service.nodes}


def text(name: str) -> str:
    return (FOLDER / f"{name}.pipe").read_text(encoding="utf-8")


def test_there_are_ten_documents() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(FAULTS)
    assert len(FAULTS) == 10


@pytest.mark.parametrize("name", FAULTS)
def test_a_document_loads_and_has_the_faults_that_it_should_have(
    name: str, types: dict[str, node_pb2.Manifest]
) -> None:
    try:
        assert validate(text(name), types).warnings == ()
        faults = []
    except PipelineInvalid as invalid:
        faults = list(invalid.faults)
    assert [(fault.pointer, fault.reason) for fault in faults] == [expected[:2] for expected in FAULTS[name]]
    for fault, (_, _, said) in zip(faults, FAULTS[name], strict=True):
        assert said in f"{fault.message} {fault.hint}"
        assert fault.hint


@pytest.mark.parametrize("name", FAULTS)
def test_what_the_editor_keeps_in_a_document_is_kept(name: str) -> None:
    document = parse(text(name))
    assert len(str(document.editor["project_id"])) == 36
    assert set(document.editor["viewport"]) == {"x", "y", "zoom"}  # type: ignore[arg-type]
    assert all("position" in component.editor["ui"] for component in document.components)  # type: ignore[operator]


def test_an_alias_of_the_response_is_for_its_lane(types: dict[str, node_pb2.Manifest]) -> None:
    graph = validate(text("three_experts"), types)
    answers = graph.components["response_answers_1"]
    assert (answers.provider, json.loads(answers.config)) == ("response", {"lane": "answers", "laneName": "answers"})
    assert graph.components["agent_rocketride_1"].provider == "agent_wave"
    assert [edge.input for edge in graph.edges if edge.consumer == "response_answers_1"] == ["answers"] * 3
    assert len(graph.controls) == 3


RUNS: dict[str, tuple[str, list[Any]]] = {
    "summary": ("rain", ["The minutes: rain"]),
    "extraction": ("go", [{"city": "Graz", "trams": 8}, {"city": "Linz", "trams": 5}]),
    "three_experts": ("It is dry.", ["Water it in the evening."] * 3),
}
"""What a client gives, and what it gets."""


@pytest.mark.parametrize("spread", [None, "service"])
@pytest.mark.parametrize("name", RUNS)
async def test_a_document_runs_as_it_is(name: str, spread: Any) -> None:
    given, expected = RUNS[name]
    async with Mesh(spread) as mesh:
        result = await mesh.run(FOLDER / f"{name}.pipe", input=given).result()
    assert result.state == "completed"
    if name == "extraction":
        assert list(result.values) == expected
    else:
        said = "".join(getattr(output, "text", output) for output in result.values)
        assert sorted(said.replace(" ", "")) == sorted("".join(expected).replace(" ", ""))


async def test_a_document_with_a_variable_runs_where_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCKETRIDE_HOUSE_MODEL", "smollm2")
    async with Mesh() as mesh:
        result = await mesh.run(FOLDER / "translation.pipe", input="Good morning.").result()
    assert result.state == "completed"
    assert result.values[-1].finish_reason in ("stop", "length")
