"""The form of workflows of NodeTool: their nodes, edges and properties. Pure functions over JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanemesh.client.variables import VARIABLE_PATTERN

MAX_NODES = 10_000
"""Most nodes of a workflow."""
MAX_EDGES = 100_000
"""Most edges of a workflow."""
MAX_SHOWN = 80
"""Most characters of a name of the workflow in a message."""
PROPERTIES = ("dynamic_properties", "properties", "data")
"""The fields of a node that have its properties."""


class NotAWorkflow(ValueError):
    """A JSON value is not a workflow of NodeTool."""


def parts_of(tree: Any) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The nodes and the edges of a workflow. Texts of properties are escaped where a config would read them as variables.

    Raises:
        NotAWorkflow: it is not of NodeTool's form, or too large.
    """
    graph = tree.get("graph", tree) if isinstance(tree, Mapping) else None
    nodes = graph.get("nodes") if isinstance(graph, Mapping) else None
    edges = graph.get("edges") if isinstance(graph, Mapping) else None
    if not isinstance(nodes, list) or not isinstance(edges, list):
        raise NotAWorkflow('it has no "graph" with a list of "nodes" and a list of "edges"')
    if len(nodes) > MAX_NODES or len(edges) > MAX_EDGES:
        raise NotAWorkflow(f"it has more than {MAX_NODES:,} nodes or {MAX_EDGES:,} edges")
    ids: set[str] = set()
    for place, node in enumerate(nodes):
        if (
            not isinstance(node, Mapping)
            or not isinstance(node.get("type"), str)
            or not isinstance(node.get("id"), str | int)
        ):
            raise NotAWorkflow(f"node {place} has no id or no type")
        if str(node["id"]) in ids:
            raise NotAWorkflow(f'several nodes have the id "{shown(str(node["id"]))}"')
        ids.add(str(node["id"]))
    ends = ("source", "target")
    for place, edge in enumerate(edges):
        if not isinstance(edge, Mapping) or not all(isinstance(edge.get(end), (str, int)) for end in ends):
            raise NotAWorkflow(f"edge {place} has no source or no target")
    return [{**node, **{key: _literal(node[key]) for key in PROPERTIES if key in node}} for node in nodes], edges


def _literal(value: Any) -> Any:
    """A value whose texts stand for themselves in a config, where `${NAME}` would be a variable."""
    if isinstance(value, str):
        return VARIABLE_PATTERN.sub(lambda found: f"${found.group()}", value)
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    return value


def properties_of(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of a node, those of its dynamic ones included."""
    found: dict[str, Any] = {}
    for key in PROPERTIES:
        part = node.get(key)
        if isinstance(part, Mapping):
            inner = part.get("properties")
            found |= {**part, **inner} if isinstance(inner, Mapping) else part
    return found


def title_of(node: Mapping[str, Any]) -> str:
    """The title of a node that its author has given."""
    look = node.get("ui_properties")
    title = look.get("title") if isinstance(look, Mapping) else None
    return title.strip()[:200] if isinstance(title, str) and title.strip() != "Click to edit" else ""


def label_of(node: Mapping[str, Any]) -> str:
    """A node as messages name it: its id and its type."""
    return shown(f"{node.get('id', '')} ({str(node.get('type', '')).rpartition('.')[2]})")


def shown(text: str) -> str:
    """A text of the workflow as messages quote it: at most 80 characters, without control characters."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    return clean if len(clean) <= MAX_SHOWN else f"{clean[:MAX_SHOWN]}..."
