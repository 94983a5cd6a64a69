"""The names of a node type in pipelines: its provider, and its aliases."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol, TypeVar


class Named(Protocol):
    """A node type, as its manifest or as its value."""

    @property
    def provider(self) -> str:
        """Its own name."""

    @property
    def aliases(self) -> Iterable[str]:
        """Its other names."""


NamedT = TypeVar("NamedT", bound=Named)


def by_name(manifests: Iterable[NamedT]) -> dict[str, NamedT]:
    """Node types by their own names and their aliases. A node type's own name takes precedence over an alias of another. If two
    have the same alias, it means the first in alphabetical order."""
    in_order = sorted(manifests, key=lambda manifest: manifest.provider, reverse=True)
    aliases = {alias: manifest for manifest in in_order for alias in manifest.aliases}
    return aliases | {manifest.provider: manifest for manifest in in_order}


def by_names(names: Collection[str], types: Mapping[str, NamedT]) -> dict[str, NamedT]:
    """The node types with these names, by name. An alias counts only if no provider has that name. Unknown names are left out.

    `types` are by provider. All of them are read, which may import them, only for a name that is not a provider.
    """
    found = {name: types[name] for name in names if name in types}
    if len(found) < len(names):
        found = {name: manifest for name, manifest in by_name(types.values()).items() if name in names}
    return found


def of_names(names: Collection[str], types: Mapping[str, NamedT]) -> list[NamedT]:
    """The node types with these names, each once, in alphabetical order."""
    found = {manifest.provider: manifest for manifest in by_names(names, types).values()}
    return [found[provider] for provider in sorted(found)]


def all_names(types: Mapping[str, Named]) -> list[str]:
    """All names of node types, aliases first."""
    return [*(alias for manifest in types.values() for alias in manifest.aliases), *types]
