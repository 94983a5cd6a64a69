"""Ctrl-C: the first one asks the command to stop, the second one ends the process at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from types import TracebackType

from lanemesh_orchestrator.cli.exits import ExitCode

GRACE_SECONDS = 2.0
"""How long a cancelled run may take before the command leaves it."""
LAST_SECONDS = 3.0
"""How long leaving may take after that before the process ends all the same."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Handles SIGINT, and SIGTERM like it, while a command runs. Enter it inside the command's main task."""

    def __init__(self) -> None:
        self.interrupted = False
        """There was one."""
        self.cancel: Callable[[], Awaitable[None]] | None = None
        """How to ask what runs now to stop; None: the main task is cancelled."""
        self._loop = asyncio.get_running_loop()
        self._main = asyncio.current_task()
        self._asking: asyncio.Future[None] | None = None

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in _SIGNALS:
            self._loop.remove_signal_handler(number)
        # From here on nothing is worth waiting for, and the default handler would print a traceback.
        signal.signal(signal.SIGINT, lambda *_: os._exit(ExitCode.INTERRUPTED))

    def _on_signal(self) -> None:
        if self.interrupted:
            os._exit(ExitCode.INTERRUPTED)
        self.interrupted = True
        self._loop.call_later(GRACE_SECONDS + LAST_SECONDS, _give_up)
        if self.cancel is None:
            self._cancel_main()
        else:
            self._asking = asyncio.ensure_future(self._ask(self.cancel))
            self._loop.call_later(GRACE_SECONDS, self._cancel_main)

    async def _ask(self, cancel: Callable[[], Awaitable[None]]) -> None:
        try:
            await cancel()
        except Exception:  # It cannot be asked, such as when the mesh is gone: leave at once.
            self._cancel_main()

    def _cancel_main(self) -> None:
        if self._main is not None:
            self._main.cancel()


def _give_up() -> None:
    """Ends the process though something in it goes on: a run that is cancelled ends sooner."""
    with contextlib.suppress(OSError):
        os.write(2, b"gave up waiting: a node ignores its cancellation, or a node server does not answer\n")
    os._exit(ExitCode.INTERRUPTED)
