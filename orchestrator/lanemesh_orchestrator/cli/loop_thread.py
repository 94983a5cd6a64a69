"""An event loop beside the main thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from lanemesh._aio.signals import end_at_once

from lanemesh_orchestrator.cli.exits import ExitCode
from lanemesh_orchestrator.cli.interrupts import GAVE_UP, GRACE_SECONDS

_T = TypeVar("_T")


class LoopThread:
    """An event loop in a thread of its own: the main thread can wait for the terminal meanwhile, and takes Ctrl-C."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="lanemesh-loop", daemon=True)

    def __enter__(self) -> LoopThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GRACE_SECONDS)

    def start(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Runs a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs a coroutine in the loop and waits for it; Ctrl-C cancels it and is raised here."""
        future = self.start(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def check(self, seconds: float) -> None:
        """Ends the process if the loop does nothing for so long: user code blocks it, and no later turn would get an answer."""
        try:
            self.start(asyncio.sleep(0)).result(seconds)
        except concurrent.futures.TimeoutError:
            print(GAVE_UP, file=sys.stderr, flush=True)
            end_at_once(ExitCode.INTERRUPTED)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
