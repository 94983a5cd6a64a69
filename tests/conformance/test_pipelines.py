"""Documents: all faults of a pipeline at once, each with pointer, reason and hint, by every interface; invalid documents."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from lanemesh._grpc.status import DETAILS_KEY
from lanemesh.client.specs import run_spec
from lanemesh.node.manifest import manifest_of
from lanemesh.server.services import all_services, service_names
from lanemesh.v1 import node_pb2, run_pb2, run_pb2_grpc
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import PipelineInvalid, Severity, validate

NODES = Path(__file__).parents[1] / "rigs" / "run_nodes.py"
Part = dict[str, Any]


def part(name: str, provider: str, *inputs: str, **fields: Any) -> Part:
    """A component; "text chat" is an input of text from chat."""
    entries = [dict(zip(("lane", "from"), told.split(), strict=True)) for told in inputs]
    return {"id": name, "provider": provider, **({"input": entries} if entries else {}), **fields}


def helps(invoker: str, kind: str) -> list[Part]:
    return [{"classType": kind, "from": invoker}]


CHAT = part("chat", "chat")
LLM = part("llm", "llm_scripted", "questions chat")
AGENT = part("agent", "agent_wave", "questions chat")
MODEL = part("model", "llm_scripted", control=helps("agent", "llm"))


@dataclass(frozen=True)
class Case:
    """A document with one fault."""

    parts: list[Part]
    pointer: str
    reason: str
    hint: str
    """A part of the hint."""
    said: str = ""
    """A part of the message."""
    more: Part = field(default_factory=dict)
    """Further fields of the document."""

    @property
    def text(self) -> str:
        return json.dumps({"components": self.parts, **self.more}, indent=1)


CASES = {
    "duplicate id": Case(
        [CHAT, LLM, part("llm", "upper_case", "text chat")],
        "/components/2/id",
        "duplicate-id",
        "unique id",
        "/components/1",
    ),
    "dangling id of a lane": Case(
        [CHAT, part("llm", "llm_scripted", "questions chta")],
        "/components/1/input/0/from",
        "dangling-reference",
        "Nearest: chat",
        "chta",
    ),
    "dangling id of a helper": Case(
        [CHAT, LLM, part("m", "llm_scripted", control=helps("agnet", "llm"))],
        "/components/2/control/0/from",
        "dangling-reference",
        "Components: chat, llm, m",
    ),
    "dangling source": Case([CHAT, LLM], "/source", "dangling-reference", "Nearest: chat", more={"source": "chat_1"}),
    "unknown provider": Case(
        [CHAT, part("llm", "llm_scripts", "questions chat")],
        "/components/1/provider",
        "unknown-provider",
        "Nearest: llm_scripted",
        "llm_scripts",
    ),
    "unknown output": Case(
        [CHAT, part("u", "upper_case", input=[{"lane": "text", "from": "chat", "output": "txt"}])],
        "/components/1/input/0/output",
        "unknown-port",
        "Nearest: text",
    ),
    "unknown input": Case(
        [CHAT, part("u", "upper_case", input=[{"lane": "text", "from": "chat", "input": "words"}])],
        "/components/1/input/0/input",
        "unknown-port",
        "Its inputs: text",
    ),
    "unknown lane": Case(
        [CHAT, part("llm", "llm_scripted", "question chat")],
        "/components/1/input/0/lane",
        "unknown-lane",
        "Nearest: questions",
    ),
    "lane mismatch": Case(
        [CHAT, part("llm", "llm_scripted", "text chat")],
        "/components/1/input/0/lane",
        "lane-mismatch",
        'write "lane": "questions"',
        "chat (chat) sends questions, text; llm (llm_scripted) takes questions",
    ),
    "missing helper": Case(
        [CHAT, AGENT], "/components/1", "missing-helper", '"classType": "llm", "from": "agent"', "1..1 llm and has 0"
    ),
    "surplus helper": Case(
        [CHAT, AGENT, MODEL, {**MODEL, "id": "other"}],
        "/components/3/control/0",
        "surplus-helper",
        "at most 1",
        "1..1 llm; other is helper number 2",
    ),
    "cycle": Case(
        [CHAT, part("a", "upper_case", "text chat", "text b"), part("b", "upper_case", "text a")],
        "/components/1/input/1/from",
        "cycle",
        "Remove one of these edges",
        "a → b → a",
    ),
    "bad config": Case(
        [CHAT, {**LLM, "config": {"temperature": "hot"}}],
        "/components/1/config/temperature",
        "bad-config",
        "lanemesh nodes llm_scripted",
        "must be a number, not a string",
    ),
    "unknown setting of a config": Case(
        [CHAT, {**LLM, "config": {"temprature": 1}}],
        "/components/1/config/temprature",
        "unknown-config-key",
        "Nearest: temperature",
    ),
    "missing setting of a config": Case(
        [CHAT, part("llm", "llm_llamacpp", "questions chat")],
        "/components/1/config",
        "missing-config-key",
        'Add "model"',
    ),
    "unknown profile": Case(
        [CHAT, part("llm", "llm_llamacpp", "questions chat", config={"profile": "smollm"})],
        "/components/1/config/profile",
        "unknown-profile",
        "Nearest: smollm2",
    ),
    "missing variable": Case(
        [CHAT, part("p", "prompt", "questions chat", config={"instructions": "${LANEMESH_NOT_SET}"})],
        "/components/1/config/instructions",
        "missing-variable",
        "Set LANEMESH_NOT_SET",
    ),
    "required input unconnected": Case(
        [CHAT, part("u", "upper_case")], "/components/1", "required-input-unconnected", '"input"', '"text"'
    ),
    "unknown field": Case([CHAT, {**LLM, "inputs": []}], "/components/1/inputs", "unknown-field", "Nearest: input"),
    "missing field": Case([CHAT, {"id": "llm"}], "/components/1", "missing-field", 'Add "provider"'),
}

TEN = json.dumps(
    {
        "components": [
            CHAT,
            part("llm", "llm_scripts", "questions chat"),
            part("u", "upper_case", "text chta"),
            part("u", "upper_case", "text chat"),
            part("v", "upper_case"),
            part("w", "llm_scripted", "text chat"),
            part("x", "upper_case", "text y"),
            part("y", "upper_case", "text x"),
            {**LLM, "id": "z", "config": {"temperature": "hot", "temprature": 1}},
            AGENT,
        ],
        "source": "chat_1",
    },
    indent=1,
)
TEN_FAULTS = {
    ("/components/1/provider", "unknown-provider"),
    ("/components/2/input/0/from", "dangling-reference"),
    ("/components/3/id", "duplicate-id"),
    ("/components/4", "required-input-unconnected"),
    ("/components/5/input/0/lane", "lane-mismatch"),
    ("/components/6/input/0/from", "cycle"),
    ("/components/8/config/temperature", "bad-config"),
    ("/components/8/config/temprature", "unknown-config-key"),
    ("/components/9", "missing-helper"),
    ("/source", "dangling-reference"),
}

CIRCUIT = [
    CHAT,
    part("a", "upper_case", "text chat"),
    part(
        "b",
        "two_inputs",
        input=[{"lane": "text", "from": "a", "input": "left"}, {"lane": "text", "from": "chat", "input": "right"}],
    ),
]


@pytest.fixture(scope="module")
def types() -> dict[str, node_pb2.Manifest]:
    """The node types of the installed services, and of a file."""
    services = all_services(service_names(), [NODES])
    return {node.provider: manifest_of(node, service.name) for service in services for node in service.nodes}


@pytest_asyncio.fixture
async def stub() -> AsyncIterator[run_pb2_grpc.RunServiceAsyncStub]:
    orchestrator = Orchestrator(embedded=True, nodes=[NODES])
    await orchestrator.listen()
    async with grpc.aio.insecure_channel(orchestrator.address) as channel:
        yield run_pb2_grpc.RunServiceStub(channel)
    await orchestrator.close()


def told(text: str, types: dict[str, node_pb2.Manifest]) -> list[tuple[str, str, str, str]]:
    with pytest.raises(PipelineInvalid) as caught:
        validate(text, types)
    return [(fault.pointer, fault.reason, fault.message, fault.hint) for fault in caught.value.faults]


@pytest.mark.conformance("PIPE-01")
@pytest.mark.parametrize("name", CASES)
def test_each_class_of_fault_is_reported_alone_with_its_place_reason_and_hint(
    name: str, types: dict[str, node_pb2.Manifest]
) -> None:
    case = CASES[name]
    ((pointer, reason, message, hint),) = told(case.text, types)
    assert (pointer, reason) == (case.pointer, case.reason)
    assert case.hint in hint
    assert case.said in message
    assert message.endswith(".")


@pytest.mark.conformance("PIPE-01")
def test_a_pipeline_without_a_source_is_reported(types: dict[str, node_pb2.Manifest]) -> None:
    """Beside the input that nothing feeds."""
    starts, feeds = told(json.dumps({"components": [part("agent", "agent_wave"), MODEL]}), types)
    assert (starts[0], starts[1], starts[3]) == ("/components", "no-source", "Add a source, such as chat.")
    assert feeds[:2] == ("/components/0", "required-input-unconnected")


@pytest.mark.conformance("PIPE-01")
def test_lockstep_over_reconverging_paths_is_a_warning(types: dict[str, node_pb2.Manifest]) -> None:
    (warning,) = validate(json.dumps({"components": CIRCUIT}), types).warnings
    assert (warning.pointer, warning.reason) == ("/components/2", "reconverging-zip")
    assert warning.severity is Severity.WARNING
    assert "join" in warning.hint


@pytest.mark.conformance("PIPE-01")
def test_a_document_with_ten_faults_reports_ten(types: dict[str, node_pb2.Manifest]) -> None:
    found = told(TEN, types)
    assert len(found) == 10
    assert {(pointer, reason) for pointer, reason, _, _ in found} == TEN_FAULTS
    assert all(message and hint for _, _, message, hint in found)


@pytest.mark.conformance("PIPE-01")
async def test_run_service_reports_the_same_faults(
    stub: run_pb2_grpc.RunServiceAsyncStub, types: dict[str, node_pb2.Manifest]
) -> None:
    """As an answer, and as `BadRequest.field_violations` of a run that never starts."""
    expected = told(TEN, types)
    spec = run_spec(TEN, None)
    faults = (await stub.ValidatePipeline(run_pb2.ValidatePipelineRequest(spec=spec))).faults
    assert [(fault.pointer, fault.reason, fault.message) for fault in faults] == [fault[:3] for fault in expected]

    call = stub.Run()
    await call.write(run_pb2.RunRequest(spec=spec))
    for failing in (stub.StartRun(run_pb2.StartRunRequest(spec=spec)), call.read()):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await failing
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        info, request = _details(caught.value)
        assert (info.reason, info.metadata["faults"]) == ("pipeline-invalid", "10")
        violations = {(one.field, one.description.partition(":")[0]) for one in request.field_violations}
        assert violations == TEN_FAULTS
    assert all(": " in one.description for one in request.field_violations)


def _details(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest]:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata() or ())[DETAILS_KEY])
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for packed in status.details:
        packed.Unpack(info) or packed.Unpack(request)
    return info, request


def lanemesh(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lanemesh")
    return subprocess.run([command, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.conformance("PIPE-01")
def test_the_command_reports_the_same_faults(tmp_path: Path, types: dict[str, node_pb2.Manifest]) -> None:
    """As JSON, and each with its line of the document."""
    file = tmp_path / "ten.pipe"
    file.write_text(TEN)
    expected, lines = told(TEN, types), TEN.splitlines()
    done = lanemesh("validate", str(file), "--json")
    assert done.returncode == 2
    answer = json.loads(done.stdout)
    assert (answer["valid"], answer["summary"]) == (False, "10 faults")
    keys = ("pointer", "reason", "message", "hint")
    assert [tuple(fault[key] for key in keys) for fault in answer["faults"]] == expected
    shown = {fault["reason"]: lines[fault["line"] - 1].strip() for fault in answer["faults"]}
    assert shown["unknown-provider"] == '"provider": "llm_scripts",'
    assert shown["bad-config"] == '"temperature": "hot",'

    done = lanemesh("validate", str(file))
    assert done.returncode == 2
    rendered = done.stdout
    assert rendered.startswith(f"{file}: 10 faults\n")
    for pointer, reason, message, hint in expected:
        assert [line for line in rendered.splitlines() if line.split() == [pointer, reason]] != []
        assert f"    {message} {hint}\n" in rendered + "\n"
    assert '│    "provider": "llm_scripts",\n      │                 ^^^^^^^^^^^\n' in rendered


NO_PIPELINES = {
    "empty": ("", "empty"),
    "blank": (" \n\t ", "empty"),
    "no json": ("components: []", "not-json"),
    "cut off": ('{"components": [', "not-json"),
    "a number too large": ('{"components": [], "timeout": 1e999}', "not-json"),
    "no object": ("[]", "wrong-type"),
    "huge": ('{"components": [' + "{}," * (50 * 2**20 // 3) + "{}]}", "too-large"),
    "huge string": ('{"name": "' + "x" * (50 * 2**20) + '"}', "too-large"),
    "deeply nested": ('{"components": ' + "[" * 200_000 + "]" * 200_000 + "}", "too-deep"),
    "nested objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "too-deep"),
    "a key twice": ('{"components": [{"id": "a", "id": "b", "provider": "chat"}]}', "duplicate-key"),
    "many components": ('{"components": [' + "{}," * 20_000 + "{}]}", "too-large"),
    "many keys twice": ('{"components": [], ' + '"a": 1, "a": 1,' * 100_000 + '"b": 1}', "duplicate-key"),
    "a broken string": ('{"components": [{"id": "\\ud800", "provider": "\\ud800"}]}', "not-text"),
}


@pytest.mark.conformance("PIPE-02")
@pytest.mark.parametrize("name", NO_PIPELINES)
def test_what_is_no_pipeline_is_a_clear_error_quickly(name: str, types: dict[str, node_pb2.Manifest]) -> None:
    text, reason = NO_PIPELINES[name]
    begun = time.thread_time()
    found = told(text, types)
    assert time.thread_time() - begun < 5  # a bound against what never ends; it takes a fraction of a second
    assert reason in [told_reason for _, told_reason, _, _ in found]
    assert len(found) <= 1_001
    assert all(len(message) < 1_000 for _, _, message, _ in found)


@pytest.mark.conformance("PIPE-02")
@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"", b'{"components": [', b"[" * 200_000, b" " * (70 * 2**20)])
def test_the_command_is_as_clear_about_a_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "wrong.pipe"
    file.write_bytes(content)
    done = lanemesh("validate", str(file))
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert 10 < len(said) < 1_000
    assert "Traceback" not in said


def large(components: int) -> str:
    """A valid pipeline with configs, fan-out and fan-in, helpers and a zip."""
    parts, numbers = [CHAT], itertools.count()
    while len(parts) < components - 4:
        number = next(numbers)
        parts += [
            part(f"prompt_{number}", "prompt", "questions chat", config={"template": "{question}"}),
            part(
                f"agent_{number}",
                "agent_wave",
                input=[{"lane": "questions", "from": f"prompt_{number}", "output": "prompts"}],
            ),
            part(
                f"model_{number}",
                "llm_scripted",
                config={"temperature": 0.5, "script": ["yes"]},
                control=helps(f"agent_{number}", "llm"),
            ),
            part(f"tools_{number}", "tool_python", config={"module": "math"}, control=helps(f"agent_{number}", "tool")),
            part(f"upper_{number}", "upper_case", f"text agent_{number}"),
        ]
    agents = [f"text upper_{number}" for number in range(next(numbers))]
    parts += [part("join", "join_text", *agents), part("out", "response", input=[{"lane": "text", "from": "join"}])]
    while len(parts) < components:
        parts.append(part(f"more_{len(parts)}", "upper_case", "text chat"))
    return json.dumps({"components": parts})


@pytest.mark.conformance("PIPE-04")
def test_200_components_are_validated_in_under_a_second(types: dict[str, node_pb2.Manifest]) -> None:
    text = large(200)
    begun = time.thread_time()
    graph = validate(text, types)
    assert time.thread_time() - begun < 1
    assert len(graph.components) == 200
    assert len(graph.edges) > 150
