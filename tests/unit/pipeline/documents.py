"""Node types made by hand, and ways to build and to judge pipelines of them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from lanemesh.v1 import lane_pb2, node_pb2
from lanemesh_orchestrator.pipeline import LANES, Graph, PipelineFault, PipelineInvalid, validate


def takes(name: str, lane: str = "", *, required: bool = True, **fields: Any) -> node_pb2.InputPort:
    """An input; without a lane it takes any."""
    return node_pb2.InputPort(
        name=name, lane_type=LANES[lane] if lane else lane_pb2.LANE_TYPE_UNSPECIFIED, required=required, **fields
    )


def sends(name: str, lane: str, **fields: Any) -> node_pb2.OutputPort:
    """An output."""
    return node_pb2.OutputPort(name=name, lane_type=LANES[lane], **fields)


def schema(required: tuple[str, ...] = (), **properties: Any) -> str:
    """A config schema as pydantic writes it."""
    whole = {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}
    return json.dumps(whole)


def manifests() -> dict[str, node_pb2.Manifest]:
    """The node types of these tests, by their names."""
    question, answer = takes("questions", "questions"), sends("answers", "answers")
    made = [
        node_pb2.Manifest(
            provider="chat",
            boundary=node_pb2.BOUNDARY_SOURCE,
            outputs=[sends("questions", "questions"), sends("text", "text")],
            config_schema_json=schema(),
        ),
        node_pb2.Manifest(
            provider="llm_llamacpp",
            aliases=["llm_local"],
            inputs=[question],
            outputs=[answer, sends("text", "text")],
            offers=["llm"],
            is_streaming_output=True,
            profiles_json=json.dumps({"smollm2": {"model": "smollm2", "temperature": 0.5}, "tiny": {"model": "tiny"}}),
            config_schema_json=schema(
                model={"type": "string"},
                temperature={"type": "number", "minimum": 0, "maximum": 2},
                key={"anyOf": [{"type": "string"}, {"type": "null"}]},
                sampling={"type": "object", "properties": {"top_k": {"type": "integer"}}},
                device={"type": "string", "enum": ["cpu", "gpu"]},
            ),
        ),
        node_pb2.Manifest(
            provider="agent_wave",
            inputs=[question],
            outputs=[answer, sends("text", "text")],
            is_streaming_output=True,
            offers=["tool"],
            invokes=[
                node_pb2.Invocation(class_type="llm", min=1, max=1),
                node_pb2.Invocation(class_type="tool", min=0, max=2),
            ],
        ),
        node_pb2.Manifest(
            provider="tool_python", offers=["tool"], config_schema_json=schema(("file",), file={"type": "string"})
        ),
        node_pb2.Manifest(
            provider="response",
            boundary=node_pb2.BOUNDARY_TARGET,
            inputs=[takes("value")],
            config_schema_json=schema(lane={"type": "string", "default": ""}),
        ),
        node_pb2.Manifest(
            provider="shout",
            inputs=[takes("text", "text")],
            outputs=[sends("shouted", "text")],
            is_streaming_input=True,
        ),
        node_pb2.Manifest(
            provider="add",
            inputs=[takes("a", "data"), takes("b", "data", required=False)],
            outputs=[sends("total", "data")],
        ),
        node_pb2.Manifest(provider="constant", outputs=[sends("data", "data")]),
        node_pb2.Manifest(provider="countdown", outputs=[sends("data", "data")], is_streaming_output=True),
        node_pb2.Manifest(
            provider="collect", inputs=[takes("data", "data", list=True)], outputs=[sends("data", "data")]
        ),
        node_pb2.Manifest(provider="tap", inputs=[takes("anything", required=False)], outputs=[]),
    ]
    return {manifest.provider: manifest for manifest in made}


def component(id: str, provider: str, *inputs: str, **fields: Any) -> dict[str, Any]:  # noqa: A002
    """A component; an input is "lane from", as in "questions chat_1"."""
    entries = [dict(zip(("lane", "from"), entry.split(), strict=True)) for entry in inputs]
    return {"id": id, "provider": provider, **({"input": entries} if entries else {}), **fields}


def helps(invoker: str, kind: str) -> list[dict[str, str]]:
    """A `control` of one entry."""
    return [{"classType": kind, "from": invoker}]


def write(*components: dict[str, Any], **fields: Any) -> str:
    """A document."""
    return json.dumps({"components": list(components), **fields})


def build(
    *components: dict[str, Any],
    environment: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Graph:
    """The graph of a valid pipeline."""
    return validate(write(*components, **fields), manifests(), environment=environment, settings=settings)


def faults_of(
    *components: dict[str, Any],
    environment: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    **fields: Any,
) -> tuple[PipelineFault, ...]:
    """What is wrong with an invalid pipeline."""
    with pytest.raises(PipelineInvalid) as caught:
        build(*components, environment=environment, settings=settings, **fields)
    return caught.value.faults


def reasons(faults: tuple[PipelineFault, ...]) -> list[tuple[str, str]]:
    """Pointers and reasons of faults."""
    return [(fault.pointer, fault.reason) for fault in faults]
