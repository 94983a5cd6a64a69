"""The node types of a host: given ones, and those of installed services, which are imported on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lanemesh.node.manifest import manifest_of
from lanemesh.node.node import Node, Service
from lanemesh.node.packages import missing_packages
from lanemesh.server.services import InstalledServices
from lanemesh.v1 import node_pb2


class NodeTypes(Mapping[str, node_pb2.Manifest]):
    """Manifests by provider, in alphabetical order.

    A lookup imports the services that are likely to have the node type, until one has it. A service with a more similar name takes
    precedence over others, and given services over both. Iteration, or a lookup of an unknown name, imports every service.
    """

    def __init__(self, services: Iterable[Service] = (), installed: InstalledServices | None = None) -> None:
        """`services`: given explicitly, later ones taking precedence; `installed`: None for a host without installed services."""
        self._installed = installed
        self._known: dict[str, tuple[type[Node], str]] = {}
        """Classes and the names of their services, by provider."""
        self.apart: set[str] = set()
        """Services of known node types that need a Python environment other than the running one."""
        self._incomplete: dict[str, node_pb2.Manifest] = {}
        """Manifests with missing packages, by provider: the same object as long as the same packages are missing."""
        self.replace(services)

    def replace(self, services: Iterable[Service]) -> None:
        """Replaces the given services."""
        self._known = {node.provider: (node, service.name) for service in services for node in service.nodes}

    def node_class(self, provider: str) -> type[Node]:
        """The class of a node type. Raises KeyError."""
        return self._find(provider)[0]

    def __getitem__(self, provider: str) -> node_pb2.Manifest:
        node, service = self._find(provider)
        manifest = manifest_of(node, service)
        # A service with an environment of its own is described by the node server that runs in it.
        missing = missing_packages(node.python_packages) if node.python_packages and service not in self.apart else ()
        return self._lacking(manifest, missing) if missing else manifest

    def __iter__(self) -> Iterator[str]:
        installed = self._installed.nearest_first("") if self._installed is not None else ()
        return iter(sorted({*self._known, *(node.provider for service in installed for node in service.nodes)}))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _lacking(self, manifest: node_pb2.Manifest, missing: tuple[str, ...]) -> node_pb2.Manifest:
        marked = node_pb2.Manifest()
        marked.CopyFrom(manifest)
        marked.missing_packages.extend(missing)
        if self._incomplete.get(manifest.provider) != marked:
            self._incomplete[manifest.provider] = marked
        return self._incomplete[manifest.provider]

    def _find(self, provider: str) -> tuple[type[Node], str]:
        if provider not in self._known and self._installed is not None:
            for service in self._installed.nearest_first(provider):
                found = next((node for node in service.nodes if node.provider == provider), None)
                if found is not None:
                    self._known[provider] = found, service.name
                    if service.environment is not None and not service.environment.is_here():
                        self.apart.add(service.name)
                    break
        return self._known[provider]
