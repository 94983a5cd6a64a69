"""The node types of a host: those it was given, and those of installed services, which are imported when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lanemesh.node.node import Node, Service
from lanemesh.server.services import InstalledServices
from lanemesh.v1 import node_pb2


class NodeTypes(Mapping[str, node_pb2.Manifest]):
    """Manifests by provider, in alphabetical order.

    To look one up imports the services that are likely to have it, until one has: what a service of a likelier name has goes
    before what another one has under the same name, and what was given by hand before both. Going through all of them, or
    looking for what is not there, imports every service.
    """

    def __init__(self, services: Iterable[Service] = (), installed: InstalledServices | None = None) -> None:
        """`services`: given by hand, later ones taking precedence; `installed`: None for a host that has none but these."""
        self._installed = installed
        self._known: dict[str, tuple[type[Node], str]] = {}
        """Classes and the names of their services, by provider."""
        self.replace(services)

    def replace(self, services: Iterable[Service]) -> None:
        """Puts other services in the place of those that were given by hand."""
        self._known = {node.provider: (node, service.name) for service in services for node in service.nodes}

    def node_class(self, provider: str) -> type[Node]:
        """The class of a node type. Raises KeyError."""
        return self._find(provider)[0]

    def __getitem__(self, provider: str) -> node_pb2.Manifest:
        node, service = self._find(provider)
        return node.manifest(service)

    def __iter__(self) -> Iterator[str]:
        installed = self._installed.nearest_first("") if self._installed is not None else ()
        return iter(sorted({*self._known, *(node.provider for service in installed for node in service.nodes)}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _find(self, provider: str) -> tuple[type[Node], str]:
        if provider not in self._known and self._installed is not None:
            for service in self._installed.nearest_first(provider):
                found = next((node for node in service.nodes if node.provider == provider), None)
                if found is not None:
                    self._known[provider] = found, service.name
                    break
        return self._known[provider]
