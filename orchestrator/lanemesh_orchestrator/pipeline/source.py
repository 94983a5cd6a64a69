"""The component of a pipeline document that clients feed, and the lanes that the pipeline takes from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanemesh.node.names import by_names, node_type_name

if TYPE_CHECKING:
    from lanemesh.client.node_types import NodeTypeInfo


@dataclass(frozen=True, slots=True)
class Source:
    """The component that the client feeds."""

    component: str
    """Its id."""
    node_type: NodeTypeInfo
    """Its node type."""
    lanes: frozenset[str]
    """Lane types that other components take from it."""

    @property
    def label(self) -> str:
        """The component as messages name it."""
        return f"{self.component} ({self.node_type.provider})"

    def sends(self, lane: str) -> bool:
        """Whether it has an output of this lane type."""
        return any(port.lane == lane for port in self.node_type.outputs)


def document_tree(text: str) -> dict[str, Any]:
    """The document as JSON; empty if it is not a JSON object, which validation reports."""
    try:
        tree = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def components_of(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The components of a document that are objects."""
    listed = tree.get("components")
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def providers_of(tree: dict[str, Any]) -> set[str]:
    """The names of the node types of a document's components."""
    return {node_type_name(str(entry.get("provider"))) for entry in components_of(tree)}


def knows_node_types(tree: dict[str, Any], types: Iterable[NodeTypeInfo]) -> bool:
    """Whether the node type of each component is among these."""
    names = providers_of(tree)
    return len(by_names(names, {node_type.provider: node_type for node_type in types})) == len(names)


def sources_of(tree: dict[str, Any], types: Sequence[NodeTypeInfo]) -> list[Source]:
    """The components that the client feeds, in the order of the document, as far as their node types are known."""
    named_types = by_names(providers_of(tree), {node_type.provider: node_type for node_type in types})
    components = components_of(tree)
    fed = []
    for entry in components:
        node_type = named_types.get(node_type_name(str(entry.get("provider"))))
        if node_type is not None and node_type.boundary == "source" and isinstance(entry.get("id"), str):
            fed.append(Source(entry["id"], node_type, _lanes_from(entry["id"], components)))
    return fed


def source_of(
    tree: dict[str, Any], types: Sequence[NodeTypeInfo], *, named: str = "", kinds: Collection[str] = ()
) -> Source | None:
    """The component that the client feeds in a run; None if there is none, or it is unknown.

    Args:
        tree: the document.
        types: the node types of its components, as far as they are known.
        named: the source that the run names; empty: none. Then it is the only one of `kinds`, or that of the document, or the only
            one of all.
        kinds: the node types of sources that fit what feeds them, such as "chat".
    """
    fed = sources_of(tree, types)
    fitting = [source for source in fed if source.node_type.provider in kinds]
    own = named or (fitting[0].component if len(fitting) == 1 else tree.get("source"))
    chosen = [source for source in fed if source.component == own] if isinstance(own, str) else fed
    return chosen[0] if len(chosen) == 1 else None


def part_of_tree(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """The document with only the components that a run of this source takes: those that it reaches by lanes, and their helpers."""
    consumers: dict[str, list[str]] = {}
    helpers: dict[str, list[str]] = {}
    components = components_of(tree)
    for entry in components:
        for field, arrows in (("input", consumers), ("control", helpers)):
            connections = entry.get(field)
            for one in connections if isinstance(connections, list) else ():
                if isinstance(one, dict):
                    arrows.setdefault(str(one.get("from")), []).append(str(entry.get("id")))
    taken = reached(reached([source], consumers), helpers)
    return tree | {"components": [entry for entry in components if str(entry.get("id")) in taken]}


def reached(start: Iterable[str], arrows: Mapping[str, Sequence[str]]) -> set[str]:
    """All names that can be reached from some names, these included. `arrows` leads from a name to the next ones."""
    found = set(start)
    rest = list(found)
    while rest:
        for name in arrows.get(rest.pop(), ()):
            if name not in found:
                found.add(name)
                rest.append(name)
    return found


def _lanes_from(component: str, components: Iterable[dict[str, Any]]) -> frozenset[str]:
    entries = (entry for other in components if isinstance(other.get("input"), list) for entry in other["input"])
    taken = (entry for entry in entries if isinstance(entry, dict) and entry.get("from") == component)
    return frozenset(str(entry.get("lane")) for entry in taken)
