"""Selects the manifest of a node type if several servers offer it, and validates the description of a server."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import node_pb2, registry_pb2

ORCHESTRATOR = "the orchestrator"
"""The owner of the boundary node types."""

Offers = tuple[str, Mapping[str, node_pb2.Manifest]]
"""A server's name, and its node types by provider."""


def check(info: registry_pb2.ServerInfo, *, static: bool = False) -> None:
    """Raises LanemeshError for a server with an invalid address or manifest. The address of a static one was checked when it was
    given, and may be a DNS name that has no addresses yet."""
    from lanemesh._grpc.connections import check_host_port

    if not static:
        check_host_port(info.address)
    for manifest in info.manifests:
        if not manifest.provider:
            raise _bad(info, "a node type without a name")
        for name in ("config_schema_json", "profiles_json"):
            text = getattr(manifest, name)
            try:
                is_object = not text or isinstance(json.loads(text), dict)
            except (ValueError, RecursionError):
                is_object = False
            if not is_object:
                raise _bad(info, f'the node type "{manifest.provider}" with a {name} that is not a JSON object')


def _bad(info: registry_pb2.ServerInfo, what: str) -> LanemeshError:
    message = f'the node server "{info.name or info.address}" offers {what}. Correct its manifest and restart it'
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-manifest", message=message))


def agree(
    own: Mapping[str, node_pb2.Manifest], servers: Iterable[Offers]
) -> tuple[dict[str, node_pb2.Manifest], dict[str, dict[str, str]]]:
    """Selects the manifests in force: those of the orchestrator, then those of the servers in the given order. Only the
    orchestrator can offer boundary node types.

    Returns the manifests by provider. Also returns, for each server, the node types that it offers with a different manifest,
    each with the owner of the manifest in force.
    """
    in_force = dict(own)
    by = dict.fromkeys(own, ORCHESTRATOR)
    conflicts: dict[str, dict[str, str]] = {}
    for name, offered in servers:
        for provider, manifest in offered.items():
            if provider not in in_force and not manifest.boundary:
                in_force[provider], by[provider] = manifest, name
            elif provider not in in_force or differ(manifest, in_force[provider]):
                conflicts.setdefault(name, {})[provider] = by.get(provider, ORCHESTRATOR)
    return in_force, conflicts


class Replacing(Protocol):
    """The properties of a server that decide which others it replaces."""

    @property
    def name(self) -> str:
        """Unique in the mesh."""

    @property
    def info(self) -> registry_pb2.ServerInfo:
        """The description that it has sent."""

    @property
    def manifests(self) -> Mapping[str, node_pb2.Manifest]:
        """Its node types by provider."""

    @property
    def started_at(self) -> int:
        """When it was started."""

    @property
    def draining(self) -> bool:
        """Whether it accepts no new runs."""


def replacements(servers: Collection[Replacing]) -> dict[str, dict[str, str]]:
    """The replaced node types of each server, by its name. Maps a node type to the name of the newer server that replaces it.

    A server replaces older ones if it was started with --replace and is not draining.
    """
    newest: dict[str, Replacing] = {}
    for server in servers:
        if server.info.replaces and not server.draining:
            for provider in server.manifests:
                if provider not in newest or newest[provider].started_at < server.started_at:
                    newest[provider] = server
    return {
        server.name: {
            provider: newest[provider].name
            for provider in server.manifests
            if provider in newest and server is not newest[provider] and server.started_at < newest[provider].started_at
        }
        for server in servers
    }


def differ(one: node_pb2.Manifest, other: node_pb2.Manifest) -> bool:
    """Whether two manifests differ in what pipelines use. Versions, descriptions, missing packages and what they need of GPUs
    may differ."""
    return one is not other and _comparable(one) != _comparable(other)


def with_missing(manifest: node_pb2.Manifest, lacking: Collection[Collection[str]]) -> node_pb2.Manifest:
    """The manifest of a node type with the packages that are missing in the mesh: none if one of its servers has them all.

    Args:
        lacking: the missing packages of each server that offers it.
    """
    missing = () if any(not packages for packages in lacking) else {name for packages in lacking for name in packages}
    if set(manifest.missing_packages) == set(missing):
        return manifest
    marked = node_pb2.Manifest()
    marked.CopyFrom(manifest)
    marked.ClearField("missing_packages")
    marked.missing_packages.extend(name for name in manifest.packages if name in missing)
    return marked


def _comparable(manifest: node_pb2.Manifest) -> node_pb2.Manifest:
    bare = node_pb2.Manifest()
    bare.CopyFrom(manifest)
    bare.version = bare.description = ""
    del bare.missing_packages[:]
    bare.ClearField("gpu")
    for taken in bare.inputs:
        taken.description = ""
    for given in bare.outputs:
        given.description = ""
    return bare
