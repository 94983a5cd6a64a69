"""What pipelines call a node type: its provider, or an alias."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lanemesh.v1 import node_pb2


def by_names(names: Collection[str], types: Mapping[str, node_pb2.Manifest]) -> dict[str, node_pb2.Manifest]:
    """The node types of these names, by name: an alias is one where no provider is called so. What is none is left out.

    `types` are by provider. They are gone through, which may import all of them, only for a name that is no provider.
    """
    found = {name: types[name] for name in names if name in types}
    if len(found) < len(names):
        found = {alias: manifest for manifest in types.values() for alias in manifest.aliases if alias in names} | found
    return found


def of_names(names: Collection[str], types: Mapping[str, node_pb2.Manifest]) -> list[node_pb2.Manifest]:
    """The node types of these names, each once, in alphabetical order."""
    found = {manifest.provider: manifest for manifest in by_names(names, types).values()}
    return [found[provider] for provider in sorted(found)]


def all_names(types: Mapping[str, node_pb2.Manifest]) -> list[str]:
    """Everything that node types are called, aliases first."""
    return [*(alias for manifest in types.values() for alias in manifest.aliases), *types]
