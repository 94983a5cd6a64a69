"""The order in which many runs are set up: a few at a time, first come first served, so that they do not slow each other down."""

from __future__ import annotations

import asyncio
from collections import deque

from lanemesh.faults import RETRY_SECONDS, Code, Fault, LanemeshError

MOST_AT_ONCE = 4
"""Most runs that are set up at the same time."""
HOLD_SECONDS = 0.1
"""How long a run counts as being set up. One that takes longer, as with a model that loads, does not delay those behind it."""
MAX_PENDING = 10_000
"""Most runs that wait to be set up; further ones are refused."""
PAUSE_SECONDS = 1
"""The pause that a refused client is advised to make."""


class StartGate:
    """Admits runs to their set-up."""

    def __init__(self, most: int = MOST_AT_ONCE, hold_seconds: float = HOLD_SECONDS) -> None:
        """`most` runs at a time, each for `hold_seconds` at most."""
        self.active = 0
        """Number of runs that are being set up."""
        self.pending = 0
        """Number of runs that have not been set up yet."""
        self.hold_seconds = hold_seconds
        self._most = most
        self._queue: deque[asyncio.Future[None]] = deque()

    def enter(self) -> Ticket:
        """The ticket of a new run."""
        return Ticket(self)

    def check(self) -> None:
        """Raises LanemeshError if 10,000 runs wait already."""
        if self.pending >= MAX_PENDING:
            message = f"{self.pending:,} runs already wait to be started; retry in {PAUSE_SECONDS} s, or start fewer runs at once"
            details = {RETRY_SECONDS: str(PAUSE_SECONDS)}
            raise LanemeshError(
                Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many", message=message, details=details)
            )

    async def admit(self) -> None:
        """Waits for a turn, in the order of the calls."""
        if self.active < self._most:
            self.active += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._queue.remove(waiter)
            else:
                self.release()  # it got its turn in the same moment
            raise

    def release(self) -> None:
        """Ends a turn: the first one that waits gets it."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.active -= 1


class Ticket:
    """The admission of one run, which may be set up several times if servers refuse it."""

    def __init__(self, gate: StartGate) -> None:
        self._gate = gate
        self._timer: asyncio.TimerHandle | None = None
        self._is_pending = True
        gate.pending += 1

    async def turn(self) -> None:
        """Waits until the run may be set up. Its turn ends with `leave`, or after `hold_seconds`."""
        await self._gate.admit()
        self._admitted()
        self._timer = asyncio.get_running_loop().call_later(self._gate.hold_seconds, self.leave)

    def leave(self) -> None:
        """Ends the turn of the run, if it has one."""
        self._admitted()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._gate.release()

    def _admitted(self) -> None:
        if self._is_pending:
            self._is_pending = False
            self._gate.pending -= 1
