"""The one waiting primitive of the lanes: many may wait, a firing wakes them all, a cancelled one leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

NOTHING: nullcontext[None] = nullcontext()
"""The wrapper of a wait that has none."""


class Signal:
    """Wakes all waiters. They check their condition again; a signal is not stored."""

    __slots__ = ("waiters",)

    def __init__(self) -> None:
        self.waiters: list[asyncio.Future[None]] = []
        """The current waiters. On hot paths, test it before `fire`."""

    def fire(self) -> None:
        """Wakes all waiters."""
        if self.waiters:
            waiters, self.waiters = self.waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self) -> None:
        """Waits for the next firing."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        except BaseException:  # a firing has removed it otherwise
            self.discard(waiter)
            raise

    def discard(self, waiter: asyncio.Future[None]) -> None:
        """Removes a waiter, if it still waits."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    async def wait_at_most(self, seconds: float) -> bool:
        """Waits for the next firing, but no longer than `seconds`. Returns whether it fired."""
        try:
            async with asyncio.timeout(seconds):
                await self.wait()
        except TimeoutError:
            return False
        return True
