"""Producers and consumers on two node servers of this process, so that lanes are recorded at both ends in one order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer

from model.recording import Act, End, Event, Records, recorded
from rigs.lane_nodes import SERVICE
from rigs.lane_proxies import Cable
from rigs.lanes import Here, Rig


@asynccontextmanager
async def near_and_far() -> AsyncIterator[tuple[Rig, Records, Callable[[], None]]]:
    """A rig whose components of names with "consumer" are on a server behind a cable, and a function that breaks its connections.
    After the block the servers are closed, and the records complete."""
    with recorded() as records:
        far, near = NodeHost([SERVICE], name="far"), NodeHost([SERVICE], name="near")
        server = NodeServer(far)
        await server.start()
        try:
            async with Cable(server.address) as cable:
                there: Any = Here(far, cable.address)
                there.name = "there"

                def snap(cable: Cable = cable) -> None:
                    for record in records.lanes.values():
                        record.events.append(Event(End.CONNECTION, Act.BROKE))
                    cable.snap()

                try:
                    yield Rig(Here(near, ""), there, "consumer"), records, snap
                    await near.close()
                finally:
                    await near.close()
        finally:
            await server.stop()
