"""Outputs that a config names, and providers that are deployed pipelines."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh.node.names import outputs_of_config
from lanemesh.v1 import node_pb2
from lanemesh_orchestrator.pipeline import Graph, PipelineInvalid, validate

from unit.pipeline.documents import component, manifests, schema, takes, write

CASES = {"type": "object", "format": "output-names"}
NAMES = {"type": "array", "format": "output-names"}


def types() -> dict[str, node_pb2.Manifest]:
    """The node types of the other tests, and one whose config names outputs."""
    switch = node_pb2.Manifest(
        provider="switch",
        inputs=[takes("item")],
        outputs=[node_pb2.OutputPort(name="otherwise")],
        config_schema_json=schema(cases=CASES),
    )
    sub = node_pb2.Manifest(
        provider="sub_pipeline",
        inputs=[takes("items")],
        outputs=[node_pb2.OutputPort(name="target")],
        config_schema_json=schema(pipeline={"type": "string"}),
    )
    return {**manifests(), "switch": switch, "sub_pipeline": sub}


def switched(**taken: str) -> Graph:
    """A switch with the cases "a" and "b", and a consumer."""
    out = component("out", "response", input=[{"lane": "text", "from": "s", **taken}])
    switch = component("s", "switch", "text chat", config={"cases": {"a": "1", "b": "2"}})
    return validate(write(component("chat", "chat"), switch, out), types())


def test_a_consumer_names_a_case() -> None:
    edge = next(edge for edge in switched(output="b").edges if edge.producer == "s")
    assert (edge.id, edge.output, edge.output_port) == ("s.b>out.text", "b", "otherwise")
    assert any(edge.output == "otherwise" for edge in switched(output="otherwise").edges)


@pytest.mark.parametrize(
    ("taken", "reason", "said"),
    [
        ({}, "ambiguous-port", "a, b, otherwise"),
        ({"output": "c"}, "unknown-port", "a, b, otherwise"),
        ({"output": "otherwis"}, "unknown-port", "Nearest: otherwise"),
    ],
)
def test_other_names_are_faults(taken: dict[str, str], reason: str, said: str) -> None:
    with pytest.raises(PipelineInvalid) as invalid:
        switched(**taken)
    (fault,) = invalid.value.faults
    assert fault.reason == reason
    assert said in f"{fault.message} {fault.hint}"


def test_a_provider_with_an_at_sign_is_a_deployed_pipeline() -> None:
    out = component("out", "response", "text s")
    graph = validate(write(component("chat", "chat"), component("s", "@work:2", "text chat"), out), types())
    assert graph.components["s"].provider == "sub_pipeline"
    assert graph.components["s"].config == '{"pipeline": "@work:2"}'


@pytest.mark.parametrize(
    ("form", "value", "names"),
    [
        (CASES, {"x": "1", "y": "2"}, ["x", "y"]),
        (NAMES, ["x", 5, "y"], ["x", "y"]),
        (NAMES, None, []),
        (NAMES, "xy", []),
        ({"type": "object"}, {"x": "1"}, []),
        ("no form", {"x": "1"}, []),
    ],
)
def test_outputs_of_configs(form: Any, value: Any, names: list[str]) -> None:
    assert outputs_of_config({"properties": {"cases": form}}, {"cases": value}) == names


def test_no_schema_names_no_outputs() -> None:
    assert outputs_of_config({}, {"cases": {"x": ""}}) == []
