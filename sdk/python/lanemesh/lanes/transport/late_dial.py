"""When a lane that merges frames dials its consumer, and whether it is sent as a short lane instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lanemesh._aio.signal import Signal

DIAL_SECONDS = 1.0
"""How long a lane that merges frames waits for its first item, or for its end, before it is dialled without one."""
PASSES = 3
"""How often a lane lets other work of the event loop run before it sends its first frame, which takes what has come by then."""


class LateDial:
    """Dials the consumer at the first item or the end of a lane, after a second at the latest.

    A lane that may be a short one lets other work of the event loop run before that. If it has ended by then, it is sent without a
    call of its own.
    """

    def __init__(
        self, work: Signal, dial: Callable[[], None], send_short: Callable[[], Callable[[], None] | None] | None
    ) -> None:
        """Waits from now on.

        Args:
            work: fires at the first item.
            dial: dials the consumer.
            send_short: sends the lane, which has ended, as a short one. Returns a function that ends the wait for its consumer, or
                None if the lane has to be dialled. None: the consumer does not accept short lanes.
        """
        loop = asyncio.get_running_loop()
        self.short_closed: asyncio.Future[None] | None = None
        """Set at the first item or the end of a lane that may be a short one. Done when it is closed, or has a call of its own."""
        self._work = work
        self._dial = dial
        self._send_short = send_short
        self._has_ended = False
        self._first_item: asyncio.Future[None] = loop.create_future()
        self._first_item.add_done_callback(self._on_first_item)
        work.waiters.append(self._first_item)
        self._timer: asyncio.TimerHandle | None = loop.call_later(DIAL_SECONDS, self._begin)
        """Ends the wait for the first item."""
        self._turn: asyncio.Handle | None = None
        """The next turn of a lane that lets other work run."""
        self._forget: Callable[[], None] | None = None
        """Ends the wait for the end of a short lane."""

    def end(self) -> None:
        """The producer has ended the lane."""
        self._has_ended = True
        if self._timer is not None:
            self._begin()
        elif self._turn is not None:
            self._turn.cancel()
            self._decide(0)

    def close_short(self) -> None:
        """The short lane is closed, or is none."""
        if self.short_closed is not None and not self.short_closed.done():
            self.short_closed.set_result(None)

    def forget(self) -> None:
        """Ends the wait for the consumer of a short lane."""
        if self._forget is not None:
            self._forget()
            self.close_short()

    def _on_first_item(self, _: asyncio.Future[None]) -> None:
        if self._timer is not None:
            self._begin()

    def _begin(self) -> None:
        """Dials the consumer, or begins to let other work run before that."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        has_item = self._first_item.done()
        self._work.fire()  # nothing else waits for it yet
        if self._send_short is None or not (has_item or self._has_ended):
            self._dial()
            return
        self.short_closed = asyncio.get_running_loop().create_future()
        self._decide(0 if self._has_ended else PASSES)

    def _decide(self, passes: int) -> None:
        """Sends the lane as a short one if it ends within so many turns of the event loop, and otherwise on a call of its own."""
        self._turn = None
        if passes and not self._has_ended:
            self._turn = asyncio.get_running_loop().call_soon(self._decide, passes - 1)
            return
        if self._has_ended and self._send_short is not None:
            self._forget = self._send_short()
        if self._forget is None:
            self._dial()
            self.close_short()
