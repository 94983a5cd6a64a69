"""The names of a node type in pipelines: its provider, its aliases, and the outputs that a config names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol, TypeVar

OUTPUT_NAMES = "output-names"
"""The `format`, in the JSON schema of a config, of a setting that names outputs: an object by its keys, or a list of names. The
node type has an output that accepts any lane; each of the names is a further one."""
DEPLOYED = "sub_pipeline"
"""The node type of a component whose provider is a deployed pipeline, as "@name"."""


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


def outputs_of_config(schema: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The outputs that a config names.

    Args:
        schema: the JSON schema of the config.
        config: the settings.
    """
    names: list[str] = []
    properties = schema.get("properties")
    for setting, form in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(form, Mapping) and form.get("format") == OUTPUT_NAMES:
            value = config.get(setting)
            names += [name for name in value if isinstance(name, str)] if isinstance(value, dict | list) else []
    return names


def node_type_name(provider: str) -> str:
    """The name of the node type of a component: its provider, or that of deployed pipelines for "@name"."""
    return DEPLOYED if provider.startswith("@") else provider
