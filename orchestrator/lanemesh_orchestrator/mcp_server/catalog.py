"""The tools that a mesh offers now: its deployed pipelines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.mcp_server.offers import Offer, offer_of
from lanemesh_orchestrator.pipeline.faults import nearest
from lanemesh_orchestrator.pipeline.source import document_tree, providers_of

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

FRESH_SECONDS = 1.0
"""How long a list is used without asking the orchestrator again."""
MAX_AT_ONCE = 16
"""Most documents that are read at the same time."""


class Catalog:
    """The deployed pipelines of a mesh as tools. The document of each version is read once, or with each list until its node types
    are known."""

    def __init__(self, host: RunHost) -> None:
        self._host = host
        self._offers: dict[str, Offer] = {}
        self._read_at = -FRESH_SECONDS
        self._reading: asyncio.Task[None] | None = None

    async def offers(self) -> Mapping[str, Offer]:
        """The tools by name, in alphabetical order; at most a second old. Raises LanemeshError if the mesh cannot be reached."""
        if time.monotonic() - self._read_at >= FRESH_SECONDS:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read(), name="deployed pipelines")
            reading = self._reading  # of all who ask meanwhile, so a mesh that hangs delays them together
            await asyncio.wait([reading])
            reading.result()
        return self._offers

    async def _read(self) -> None:
        asked_at = time.monotonic()
        deployed = await self._host.deployments()
        known = self._offers
        final = {offer.name: offer.version for offer in known.values() if offer.is_final}
        missing = [one.name for one in deployed if final.get(one.name) != one.version]
        limit = asyncio.Semaphore(MAX_AT_ONCE)
        read = await asyncio.gather(*(self._offer(name, limit) for name in missing))
        new = {offer.name: offer for offer in read if offer is not None}
        self._offers = {
            one.name: found for one in deployed if (found := new.get(one.name) or known.get(one.name)) is not None
        }
        self._read_at = asked_at

    async def _offer(self, name: str, limit: asyncio.Semaphore) -> Offer | None:
        """The tool of the current version of a deployed pipeline; None if it has just been removed."""
        async with limit:
            try:
                info = await self._host.deployment(name)
            except LanemeshError as error:
                if error.fault.code is Code.NOT_FOUND:
                    return None
                raise
            types = await self._host.node_types(providers_of(document_tree(info.pipeline_json)))
            return offer_of(name, info.version, info.pipeline_json, types)


def unknown_tool(name: str, known: Iterable[str]) -> LanemeshError:
    """The error of a call of a tool that does not exist, with the nearest name."""
    near = nearest(name, list(known))
    hint = f'Did you mean "{near}"? ' if near else ""
    message = f'there is no tool "{name[:80]}". {hint}tools/list has all of them'
    return LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-tool", message=message))
