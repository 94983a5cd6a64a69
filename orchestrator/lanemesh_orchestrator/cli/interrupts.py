"""Ctrl-C: the first one stops the command, the second one ends the process at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from types import TracebackType

from lanemesh._aio.signals import StopSignals, end_at_once

from lanemesh_orchestrator.cli.exits import ExitCode

GRACE_SECONDS = 2.0
"""How long a cancelled run may take before the command leaves it."""
LAST_SECONDS = 3.0
"""How long leaving may take after that before the process ends all the same."""

GAVE_UP = "stopped waiting: a node ignores its cancellation or blocks the event loop, or a node server does not answer"
"""Reported when that time is over."""


class Interrupts:
    """Handles SIGINT, and SIGTERM like it, while a command runs. Enter it inside the command's main task."""

    def __init__(self) -> None:
        self.interrupted = False
        """There was one."""
        self.cancel: Callable[[], Awaitable[None]] | None = None
        """Stops the running command; None: the main task is cancelled."""
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._asking: asyncio.Future[None] | None = None
        self._signals = StopSignals(self._on_first, last_seconds=GRACE_SECONDS + LAST_SECONDS, gave_up=GAVE_UP)

    def __enter__(self) -> Interrupts:
        self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.__exit__(kind, error, trace)
        # From here on nothing is worth waiting for, and the default handler would print a traceback.
        signal.signal(signal.SIGINT, lambda *_: end_at_once(ExitCode.INTERRUPTED))

    def _on_first(self) -> None:
        self.interrupted = True
        if self.cancel is None:
            self._cancel_main()
        else:
            self._asking = asyncio.ensure_future(self._ask(self.cancel))
            self._loop.call_later(GRACE_SECONDS, self._cancel_main)

    async def _ask(self, cancel: Callable[[], Awaitable[None]]) -> None:
        try:
            await cancel()
        except Exception:  # It cannot be stopped, such as when the mesh is unreachable: leave at once.
            self._cancel_main()

    def _cancel_main(self) -> None:
        if self._main is not None:
            self._main.cancel()
