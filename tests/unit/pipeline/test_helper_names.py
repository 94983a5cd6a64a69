"""Several helpers of one kind: by name, in order, and what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lanemesh.v1 import lane_pb2, node_pb2
from lanemesh_orchestrator.pipeline import LANES, Graph, PipelineInvalid, validate


def invokes(*calls: tuple[int, int, str]) -> dict[str, node_pb2.Manifest]:
    """Manifests: a model, and a node that calls models with these bounds and names."""
    node = node_pb2.Manifest(
        provider="node",
        boundary=node_pb2.BOUNDARY_SOURCE,
        outputs=[node_pb2.OutputPort(name="text", lane_type=LANES["text"])],
        config_schema_json="{}",
        invokes=[node_pb2.Invocation(class_type="llm", min=low, max=high, name=name) for low, high, name in calls],
    )
    model = node_pb2.Manifest(provider="model", offers=["llm"], config_schema_json="{}")
    target = node_pb2.Manifest(
        provider="response",
        boundary=node_pb2.BOUNDARY_TARGET,
        inputs=[node_pb2.InputPort(name="text", lane_type=lane_pb2.LANE_TYPE_TEXT, required=True)],
        config_schema_json="{}",
    )
    return {"node": node, "model": model, "response": target}


def graph(manifests: dict[str, node_pb2.Manifest], *names: str | None) -> Graph:
    """A pipeline whose node has a model for each of these names; None: without a name."""
    models: list[dict[str, Any]] = [
        {
            "id": f"model_{number}",
            "provider": "model",
            "control": [{"classType": "llm", "from": "node_1", **({"name": name} if name is not None else {})}],
        }
        for number, name in enumerate(names, 1)
    ]
    response = {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "node_1"}]}
    return validate(json.dumps({"components": [{"id": "node_1", "provider": "node"}, response, *models]}), manifests)


@pytest.mark.parametrize(
    ("calls", "given", "known_as"),
    [
        ([(2, 2, "")], [None, None], ["", ""]),
        ([(1, 0, "")], ["a", "b", None], ["a", "b", ""]),
        ([(1, 1, "writer"), (1, 1, "judge")], ["judge", "writer"], ["judge", "writer"]),
        ([(1, 1, ""), (1, 1, "judge")], [None, "judge"], ["", "judge"]),
        ([(1, 1, "judge")], [None], ["judge"]),
        ([(2, 3, "judge")], ["judge", "judge"], ["judge", "judge"]),
    ],
)
def test_every_helper_has_its_name(
    calls: list[tuple[int, int, str]], given: list[str | None], known_as: list[str]
) -> None:
    made = graph(invokes(*calls), *given)
    assert [control.name for control in made.controls] == known_as
    ids = [shape.edge_id for shape in made.shapes() if shape.class_type]
    assert len(set(ids)) == len(given)


@pytest.mark.parametrize(
    ("calls", "given", "reasons"),
    [
        ([(1, 1, "writer"), (1, 1, "judge")], ["judge", None], ["ambiguous-helper"]),
        ([(1, 1, "writer"), (1, 1, "judge")], ["writer", "jugde"], ["unknown-helper-name"]),
        ([(1, 1, "writer"), (1, 1, "judge")], ["judge"], ["missing-helper"]),
        ([(1, 1, "writer"), (1, 1, "judge")], ["writer", "judge", "judge"], ["surplus-helper"]),
        ([(2, 2, "")], [None], ["missing-helper"]),
        ([(2, 2, "")], [None, None, None], ["surplus-helper"]),
        ([(2, 0, "")], ["a", "a"], ["duplicate-helper-name"]),
    ],
)
def test_extra_missing_and_ambiguous_helpers_are_faults(
    calls: list[tuple[int, int, str]], given: list[str | None], reasons: list[str]
) -> None:
    with pytest.raises(PipelineInvalid) as caught:
        graph(invokes(*calls), *given)
    assert [fault.reason for fault in caught.value.faults] == reasons
