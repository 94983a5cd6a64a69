"""The document of a run that calls tools of a deployed pipeline: the tools, their helpers and what calls them. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from lanemesh.v1 import run_pb2

from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.pipeline.source import components_of, document_tree

CALLER = "tool_caller"
"""Id and node type of the component that calls the tools, if the pipeline has none with this id."""
RESULTS = "tools_listed"
"""Id of the component that delivers lists of tools."""


def tool_components(graph: Graph) -> list[str]:
    """The components whose tools are called from outside: those that the pipeline connects as tools, and those that offer tools and
    are connected to nothing."""
    connected = {edge.producer for edge in graph.edges} | {edge.consumer for edge in graph.edges}
    connected |= {control.helper for control in graph.controls}
    tools = {control.helper for control in graph.controls if control.class_type == "tool"}
    return [
        component.id
        for component in graph.components.values()
        if "tool" in component.manifest.offers and (component.id in tools or component.id not in connected)
    ]


def calling_spec(spec: run_pb2.RunSpec, tools: Collection[str]) -> run_pb2.RunSpec:
    """The spec of a run that calls these components of a deployed pipeline. Each connection has the name of its component."""
    tree = document_tree(spec.pipeline_json)
    components = components_of(tree)
    kept = _with_helpers(components, tools)
    caller = CALLER
    while caller in kept:
        caller += "_"
    entries: list[dict[str, Any]] = [_entry(one, kept, tools, caller) for one in components if one.get("id") in kept]
    entries.append({"id": caller, "provider": CALLER})
    entries.append({"id": RESULTS, "provider": "response", "input": [{"lane": "data", "from": caller}]})
    made = run_pb2.RunSpec()
    made.CopyFrom(spec)
    made.pipeline_json = json.dumps({**tree, "components": entries, "source": caller}, ensure_ascii=False)
    for key in list(made.settings_json):
        if key.partition(".")[0] not in kept:
            del made.settings_json[key]
    return made


def _with_helpers(components: Sequence[dict[str, Any]], tools: Collection[str]) -> set[str]:
    """The components, the helpers that they call, the helpers of these, and so on."""
    helpers: dict[str, list[str]] = {}
    for one in components:
        for entry in one.get("control") or ():
            helpers.setdefault(entry["from"], []).append(one["id"])
    kept: set[str] = set()
    reached = list(tools)
    while reached:
        component = reached.pop()
        if component not in kept:
            kept.add(component)
            reached.extend(helpers.get(component, ()))
    return kept


def _entry(given: dict[str, Any], kept: set[str], tools: Collection[str], caller: str) -> dict[str, Any]:
    """A component without lanes, and with the control connections that remain."""
    entry = {key: value for key, value in given.items() if key not in ("input", "control", "join_on", "sync_mode")}
    control = [one for one in given.get("control") or () if one["from"] in kept]
    if given["id"] in tools:
        control.append({"classType": "tool", "from": caller, "name": given["id"]})
    return entry | {"control": control}
