"""Which manifest of each node type is in force, as servers come, change and go; the servers of others are warned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property

from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.registry.manifests import ORCHESTRATOR, agree, replacements, with_missing
from lanemesh_orchestrator.registry.member import Member

log = logging.getLogger("lanemesh.registry")


class ManifestsInForce:
    """The manifests in force: the orchestrator's own, and for every other node type that of the server with precedence."""

    def __init__(self, own: Callable[[], Iterable[node_pb2.Manifest]]) -> None:
        """`own` returns the node types that the orchestrator runs itself. It is called at the first use,
        and again after `own_changed`."""
        self._ask_own = own
        self._manifests: dict[str, node_pb2.Manifest] | None = None

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The manifests, by provider, as of the latest `update`."""
        if self._manifests is None:
            self._manifests = self._own
        return dict(self._manifests)

    def own_changed(self) -> None:
        """Reloads the orchestrator's own node types at the next `update`."""
        self.__dict__.pop("_own", None)

    @cached_property
    def _own(self) -> dict[str, node_pb2.Manifest]:
        return {manifest.provider: manifest for manifest in self._ask_own()}

    def update(self, members: Mapping[str, Member]) -> None:
        """Decides again, after a change of the servers in use, which are given by name in the order of joining. Records at each
        server which of its node types are not in force, and warns it once of each."""
        in_order = sorted(members.values(), key=_precedence)
        replaced = replacements(in_order)
        offers = [
            (
                member.name,
                {name: offer for name, offer in member.manifests.items() if name not in replaced[member.name]},
            )
            for member in in_order
        ]
        self._manifests, conflicts = agree(self._own, offers)
        for member in members.values():
            for provider in replaced[member.name].keys() - member.replaced.keys():
                member.warn(_replaced_text(provider, replaced[member.name][provider]))
            member.replaced = replaced[member.name]
        for name, member in members.items():
            found = conflicts.get(name, {})
            for provider in found.keys() - member.conflicts.keys():
                log.warning(
                    '%s at %s offers the node type "%s" with another manifest than %s, which joined earlier: it is not used for '
                    "it. Start the same version of its service on both",
                    *(name, member.info.address, provider, found[provider]),
                )
                member.warn(_conflict_text(provider, found[provider], members.get(found[provider])))
            member.conflicts = found
        self._manifests = {
            provider: manifest if provider in self._own else with_missing(manifest, _missing(members, provider))
            for provider, manifest in self._manifests.items()
        }


def _missing(members: Mapping[str, Member], provider: str) -> list[Collection[str]]:
    """The Python packages of a node type that are missing on each server that offers it."""
    return [member.lacks(provider) for member in members.values() if member.runs(provider)]


def _precedence(member: Member) -> tuple[bool, bool, int]:
    """Sort key of manifests in force: replacing servers first, the newest before older ones; unreachable servers last."""
    unreachable = member.static and bool(member.unreachable)
    replaces = member.info.replaces and not member.draining
    return unreachable, not replaces, -member.started_at if replaces else 0


def _conflict_text(provider: str, name: str, winner: Member | None) -> str:
    """The warning for a server whose manifest of a node type is not in force."""
    if winner is None:
        return f'the node type "{provider}" of this server is not used, because it is one of {ORCHESTRATOR}. Give it another name'
    return (
        f'the node type "{provider}" of this server is not used: its manifest differs from that of the server {winner.shown}, '
        f'which was there before. Stop "{name}", or start this server with --replace to use its node types in place of older ones'
    )


def _replaced_text(provider: str, winner: str) -> str:
    """The warning for a server whose node type is replaced by a newer server."""
    return (
        f'the node type "{provider}" of this server is replaced by the server "{winner}", which was started later with --replace. '
        "Runs that use it here go on to their end, and new ones do not use it here"
    )
