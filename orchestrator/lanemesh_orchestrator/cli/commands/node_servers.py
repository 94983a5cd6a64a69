"""`lanemesh nodes --servers`: the node servers of a mesh, with their health, load and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lanemesh.v1 import registry_pb2

NONE = (
    "There are no node servers. Start one with `lanemesh node SERVICE --orchestrator ADDRESS`, "
    "or name one to the orchestrator: `lanemesh serve --server ADDRESS`."
)


def to_json(server: registry_pb2.NodeServer) -> dict[str, Any]:
    """A server as JSON."""
    info = server.info
    return {
        "name": info.name,
        "address": info.address,
        "health": health(server),
        **({"health_detail": server.health_detail} if server.health_detail else {}),
        "active_instances": server.active_instances,
        "max_instances": info.max_instances or None,
        "labels": dict(info.labels),
        "node_types": list(server.providers),
        "conflicting_node_types": list(server.conflicting_providers),
        "replaced_node_types": list(server.replaced_providers),
        "static": server.static,
        "pid": info.pid or None,
    }


def health(server: registry_pb2.NodeServer) -> str:
    """Whether it can be used, in a word: serving, draining or unreachable."""
    return registry_pb2.ServerHealth.Name(server.health).removeprefix("SERVER_HEALTH_").lower()


def load(server: registry_pb2.NodeServer) -> str:
    """What it runs: `3 of 8`, or `3` where there is no limit."""
    most = server.info.max_instances
    return f"{server.active_instances} of {most}" if most else str(server.active_instances)


def table(servers: Sequence[registry_pb2.NodeServer]) -> Any:
    """The servers as a table of rich's."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table("server", "health", "load", "labels", "node types", box=None, pad_edge=False)
    for server in servers:
        conflicting, replaced = set(server.conflicting_providers), set(server.replaced_providers)
        types = ", ".join(provider for provider in server.providers if provider not in conflicting | replaced)
        notes = [types] if types else []
        if conflicting:
            notes.append(
                f"not used, since other servers have them with another manifest: {', '.join(sorted(conflicting))}"
            )
        if replaced:
            notes.append(f"replaced by newer servers: {', '.join(sorted(replaced))}")
        if server.health_detail:
            notes.append(server.health_detail)
        cells = (
            "\n".join(dict.fromkeys((server.info.name, server.info.address))),
            health(server),
            load(server),
            "\n".join(f"{key}={value}" for key, value in sorted(server.info.labels.items())),
            "\n".join(notes),
        )
        drawn.add_row(*(Text(cell, overflow="fold") for cell in cells))
    return drawn
