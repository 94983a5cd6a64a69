"""Signs of life on a long-lived stream: due when it has been idle for a while, since proxies cut silent streams."""

from __future__ import annotations

import asyncio

from lanemesh._aio.signal import Signal
from lanemesh.protocol import IDLE_FRAME_SECONDS


class Heartbeat:
    """Notifies a stream's writer when an empty frame is due: after at most 20 s without another one.

    The writer clears `idle` when it writes and `due` when it has written the empty frame. One timer that checks twice per period
    has no cost for a busy stream.
    """

    def __init__(self, work: Signal, seconds: float = IDLE_FRAME_SECONDS) -> None:
        self.idle = True
        """Nothing was written since the timer last looked."""
        self.due = False
        """An empty frame is wanted."""
        self._work = work
        self._seconds = seconds / 2
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Starts the timer."""
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def stop(self) -> None:
        """Stops the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self.idle:
            self.due = True
            self._work.fire()
        self.idle = True
        self.start()
