"""`lanemesh nodes --servers`: the node servers of a mesh, with their health, load and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lanemesh.client.node_servers import NodeServerInfo

from lanemesh_orchestrator.cli.output.visible import cells

NONE = (
    "There are no node servers. Start one with `lanemesh node SERVICE --orchestrator ADDRESS`, "
    "or add one to the orchestrator: `lanemesh serve --server ADDRESS`."
)


def load(server: NodeServerInfo) -> str:
    """Its load: `3 of 8`, or `3` without a limit."""
    most = server.max_instances
    return f"{server.active_instances} of {most}" if most else str(server.active_instances)


def table(servers: Sequence[NodeServerInfo]) -> Any:
    """The servers as a table of rich's."""
    from rich.table import Table

    drawn = Table("server", "health", "load", "labels", "node types", box=None, pad_edge=False)
    for server in servers:
        conflicting, replaced = set(server.conflicting_node_types), set(server.replaced_node_types)
        incomplete = set(server.incomplete_node_types)
        types = ", ".join(
            provider for provider in server.node_types if provider not in conflicting | replaced | incomplete
        )
        notes = [types] if types else []
        if conflicting:
            notes.append(
                f"not used, because other servers have another manifest for them: {', '.join(sorted(conflicting))}"
            )
        if replaced:
            notes.append(f"replaced by newer servers: {', '.join(sorted(replaced))}")
        if server.incomplete_node_types:
            notes.append(f"not used, because Python packages are missing: {', '.join(server.incomplete_node_types)}")
        if server.health_detail:
            notes.append(server.health_detail)
        texts = (
            "\n".join(dict.fromkeys((server.name, server.address))),
            server.health,
            load(server),
            "\n".join(f"{key}={value}" for key, value in sorted(server.labels.items())),
            "\n".join(notes),
        )
        drawn.add_row(*cells(texts))
    return drawn
