"""Requests of one socket that take effect in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lanemesh_orchestrator.gateway.websocket import requests

OrderKey = tuple[str, str]
"""The id of a run, empty for the mesh, and what its requests have in common."""


@dataclass(slots=True)
class _Queue:
    """The requests of a key."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """That of the request that takes effect now; the others wait for it in their order."""
    length: int = 0
    """Their number."""


class Orders:
    """A queue of requests for each key that has any."""

    def __init__(self) -> None:
        self._queues: dict[OrderKey, _Queue] = {}

    @asynccontextmanager
    async def turn(self, key: OrderKey | None) -> AsyncIterator[None]:
        """Waits for the earlier requests of a key. None: the request waits for no other."""
        if key is None:
            yield
            return
        queue = self._queues.setdefault(key, _Queue())
        queue.length += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[key]


def order_of(request: requests.Request) -> OrderKey | None:
    """The key of a request. Inputs and messages wait while a run is behind, so that what controls a run does not wait for them."""
    run_id: str = getattr(request, "run_id", "")
    if isinstance(request, requests.Publish):
        return run_id, f"publish {request.channel}"
    if isinstance(request, requests.Subscribe | requests.Unsubscribe):
        return run_id, f"subscribe {request.channel}"
    if not run_id:
        return None
    return run_id, "input" if isinstance(request, requests.Input) else "control"
