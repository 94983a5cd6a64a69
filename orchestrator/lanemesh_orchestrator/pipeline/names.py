"""Node types by every name that documents may use for them."""

from __future__ import annotations

from collections.abc import Iterable

from lanemesh.v1 import node_pb2


def by_name(manifests: Iterable[node_pb2.Manifest]) -> dict[str, node_pb2.Manifest]:
    """Node types by their own names and their aliases. A node type's own name goes before an alias of another; of two that have the
    same alias, the first in alphabetical order has it."""
    in_order = sorted(manifests, key=lambda manifest: manifest.provider, reverse=True)
    aliases = {alias: manifest for manifest in in_order for alias in manifest.aliases}
    return aliases | {manifest.provider: manifest for manifest in in_order}
