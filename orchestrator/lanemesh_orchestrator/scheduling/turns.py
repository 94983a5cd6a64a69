"""Turns of the event loop for requests that arrive together: one of them begins in each, so that what began before goes on."""

from __future__ import annotations

import asyncio
from collections import deque


class Turns:
    """Gives turns in the order of the requests, one in each pass of the event loop. A request that is alone does not wait."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._given = False
        """A turn was given in this pass, or is being given in each of the next ones."""

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._waiting)

    async def turn(self) -> None:
        """Waits for a turn."""
        loop = asyncio.get_running_loop()
        if not self._given:
            self._given = True
            loop.call_soon(self._next)
            return
        waiter = loop.create_future()
        self._waiting.append(waiter)
        await waiter

    def _next(self) -> None:
        """Gives a turn to the first request that still waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._given = False
