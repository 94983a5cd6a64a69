"""Reports to producers that the consumers of their lanes have ended.

The server of a recoverable consumer may be lost directly after it has reported the end of the consumer, and before it has ended the
lanes. Their producers would wait for another consumer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection

from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.runs.host_handle import HostHandle

GRACE_SECONDS = 1.0
"""How long the lanes of an ended consumer may take to end before its end is reported."""


async def report_ended_consumers(
    graph: Graph, hosts: Collection[HostHandle], going: Collection[str], some_finished: asyncio.Event
) -> None:
    """Reports the components that have ended to the active hosts of their producers, 1 s after a host has finished or is lost. Runs
    until cancelled.

    Args:
        graph: the pipeline of the run.
        hosts: the current hosts of the run.
        going: the components that have not ended.
        some_finished: is set when a host has finished or is lost.
    """
    reported: set[str] = set()
    while True:
        await some_finished.wait()
        await asyncio.sleep(GRACE_SECONDS)
        some_finished.clear()
        found = {host: ids - reported for host, ids in _waiting_producers(graph, hosts, going).items()}
        for host, ids in found.items():
            if ids:
                reported |= ids
                await host.send(node_pb2.HostRequest(reroute=node_pb2.Reroute(ended_edges=sorted(ids))))


def _waiting_producers(
    graph: Graph, hosts: Collection[HostHandle], going: Collection[str]
) -> dict[HostHandle, set[str]]:
    """The edges to components that have ended, by the active host of their producer."""
    active = {
        instance.component: host for host in hosts if not host.finished.done() for instance in host.place.instances
    }
    found: dict[HostHandle, set[str]] = defaultdict(set)
    for edge in graph.edges:
        if edge.consumer not in going and edge.producer in active:
            found[active[edge.producer]].add(edge.id)
    return found
