"""Documents as RocketRide's editor writes them: they load as they are, and have the faults that they should have."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Audio, ChatRequest, Image, Message, OutputUpdate, ToolResultUpdate, Video
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import all_services, service_names
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator import Mesh
from lanemesh_orchestrator.pipeline import PipelineInvalid, parse, validate
from lanemesh_services.crewai.crew_config import CrewConfig
from lanemesh_services.llm.hosted_nodes import LlmAnthropic, LlmGemini

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
    "crew": [],
    "extraction": [],
    "ingest": [
        ("/components/4/config/local/host", "missing-variable", "Set ROCKETRIDE_QDRANT_HOST"),
    ],
    "library": [
        ("/components/6/config/local/host", "missing-variable", "Set ROCKETRIDE_QDRANT_HOST"),
        ("/components/8/config/claude/apikey", "missing-variable", "Set ROCKETRIDE_ANTHROPIC_KEY"),
    ],
    "private_scans": [],
    "question_answering": [
        ("/components/2/config/local/collection", "missing-variable", "Set ROCKETRIDE_LIBRARY"),
        ("/components/2/config/local/host", "missing-variable", "Set ROCKETRIDE_QDRANT_HOST"),
        ("/components/4/config/openai-4o/apikey", "missing-variable", "Set ROCKETRIDE_OPENAI_KEY"),
    ],
    "repository": [
        ("/components/2/config/custom/apikey", "missing-variable", "Set ROCKETRIDE_GEMINI_KEY"),
        ("/components/4/config/repoPath", "missing-variable", "Set ROCKETRIDE_REPO"),
        ("/components/4/config/token", "missing-variable", "Set ROCKETRIDE_GIT_TOKEN"),
    ],
    "speech": [],
    "summary": [],
    "three_experts": [],
    "translation": [("/components/2/config/house/model", "missing-variable", "Set ROCKETRIDE_HOUSE_MODEL")],
    "uploads": [],
    "web_answer": [
        ("/components/1/config/apikey", "missing-variable", "Set ROCKETRIDE_EXA_KEY"),
        ("/components/3/config/custom/apikey", "missing-variable", "Set ROCKETRIDE_OPENAI_KEY"),
    ],
}
"""Every fault of each document where no variable is set: its pointer, its reason and its message."""

pytestmark = pytest.mark.conformance("PIPE-05")


@pytest.fixture(scope="module")
def types() -> dict[str, node_pb2.Manifest]:
    services = all_services(service_names())
    return {node.provider: manifest_of(node, service.name) for service in services for node in service.nodes}


def text(name: str) -> str:
    return (FOLDER / f"{name}.pipe").read_text(encoding="utf-8")


def test_every_document_is_tested() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(FAULTS)


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


async def test_what_a_webhook_takes_leaves_by_the_lanes_of_its_types_as_rocketride_calls_them() -> None:
    media = (Image("image/png", b"i"), Audio("audio/wav", b"a"), Video("video/mp4", b"v"))
    async with Mesh() as mesh:
        result = await mesh.run(FOLDER / "uploads.pipe", inputs=[{"crates": 12}, "twelve crates", *media]).result()
    assert result.state == "completed"
    assert (result["json"], result["t"]) == (({"crates": 12},), ("twelve crates",))
    assert (*result["i"], *result["a"], *result["v"]) == media


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Git repository with one commit."""
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "Paint the ferry"]):
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    return tmp_path


async def test_an_agent_reads_the_repository_that_rocketride_calls_repo_path(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.setenv("ROCKETRIDE_REPO", str(repository))
    monkeypatch.setenv("ROCKETRIDE_GIT_TOKEN", "a token of a remote")
    document = json.loads(text("repository"))
    for component in document["components"]:
        if component["provider"] == "llm_gemini":
            script = [{"tool_calls": [{"name": "git_log", "arguments": {"limit": 1}}]}, "Read."]
            component |= {"provider": "llm_scripted", "config": {"script": script}}
    async with Mesh() as mesh:
        updates = await mesh.run(document, input="What was done last?").updates()
    results = [update.content for update in updates if isinstance(update, ToolResultUpdate)]
    assert any("Paint the ferry" in one for one in results)
    assert "Read." in [getattr(update.value, "text", "") for update in updates if isinstance(update, OutputUpdate)]


def test_a_repository_that_writes_or_has_no_path_is_a_fault(types: dict[str, node_pb2.Manifest]) -> None:
    document = json.loads(text("repository"))
    (git,) = (one for one in document["components"] if one["provider"] == "tool_git")
    git["config"] = {"type": "tool_git", "safeMode": False}
    with pytest.raises(PipelineInvalid) as caught:
        validate(json.dumps(document), types, environment={"ROCKETRIDE_GEMINI_KEY": "a key"})
    assert [(fault.pointer, fault.reason) for fault in caught.value.faults] == [
        ("/components/4/config", "missing-config-key"),
        ("/components/4/config/safeMode", "bad-config"),
    ]


def test_the_instructions_of_a_crew_reach_each_agent(types: dict[str, node_pb2.Manifest]) -> None:
    config = json.loads(validate(text("crew"), types).components["agent_crewai_1"].config)
    (agent,) = CrewConfig.model_validate(config).instructed_agents()
    assert (agent.backstory, agent.max_turns) == ("Help.\n\nAnswer well.", 10)
    (brief,) = CrewConfig.model_validate({"max_waves": 3}).instructed_agents()
    assert (brief.backstory, brief.max_turns) == ("Answer well.", 3)


def test_the_tokens_of_an_answer_are_those_that_rocketride_calls_output_tokens() -> None:
    config = LlmGemini.Config.model_validate({"model": "m", "modelTotalTokens": 100_000, "outputTokens": 4_096})
    assert config.apply(ChatRequest(messages=(Message("user", "x"),))).sampling.max_tokens == 4_096
    claude = LlmAnthropic.Config.model_validate({**LlmAnthropic.profiles["claude"], "outputTokens": 100})
    assert claude.apply(ChatRequest(messages=(Message("user", "x"),))).sampling.max_tokens == 100
