"""The names of results: what a target delivers can be read by a name of its config, beside its id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lanemesh.v1 import node_pb2
from pydantic import JsonValue

from lanemesh_orchestrator.pipeline.config import json_object
from lanemesh_orchestrator.pipeline.faults import PipelineFault
from lanemesh_orchestrator.pipeline.graph import Component

RESULT_NAME = "result-name"
"""The `format` of settings of targets that hold the name of their result."""


def result_name(manifest: node_pb2.Manifest, config: Mapping[str, JsonValue]) -> str:
    """The name of the result of a target; empty if it has none."""
    if manifest.boundary != node_pb2.BOUNDARY_TARGET:
        return ""
    properties = json_object(manifest.config_schema_json).get("properties", {})
    settings = properties.items() if isinstance(properties, dict) else ()
    named = [name for name, about in settings if isinstance(about, dict) and about.get("format") == RESULT_NAME]
    return next((name for setting in named if isinstance(name := config.get(setting), str) and name), "")


def clashes(components: Mapping[str, Component]) -> Iterator[PipelineFault]:
    """Results of one run with the same name, or with the id of another target as their name."""
    targets = [one for one in components.values() if one.manifest.boundary == node_pb2.BOUNDARY_TARGET]
    owners = {target.id: target.id for target in targets}
    for target in targets:
        owner = owners.setdefault(target.result_name, target.id) if target.result_name else target.id
        if owner != target.id:
            message = (
                f'{target.id} ({target.provider}) delivers to the result "{target.result_name}", and so does {owner}.'
            )
            yield PipelineFault(
                f"{target.pointer}/config", "duplicate-result", message, "Give each result of a run a name of its own."
            )
