"""Checks documents of clients outside the event loop, so that a large document delays no other call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from lanemesh.faults import Code, Fault, LanemeshError

INLINE_BYTES = 16 * 1024
"""Largest document that is checked in the event loop: 16 KiB."""
WORKERS = 2
"""Most large documents that are checked at the same time."""
MAX_CHECKS = 32
"""Most large documents that are being checked or queued; further ones are rejected."""

T = TypeVar("T")


class CheckPool:
    """Threads that check documents. Each check takes time linear in its document, so that none holds a thread for long."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._count = 0

    async def run(self, size: int, check: Callable[[], T]) -> T:
        """Runs a check and returns its result. It runs in a thread if its document has more than 16 KiB.

        A check whose caller is cancelled continues, and counts against the limit until it has ended.

        Args:
            size: bytes of the document.
            check: the check; it must be thread-safe.

        Raises:
            LanemeshError: 32 large documents are being checked already. Further errors are those of the check.
        """
        if size <= INLINE_BYTES:
            return check()
        return await asyncio.shield(asyncio.wrap_future(self._submit(check)))

    def close(self) -> None:
        """Cancels queued checks and starts no further ones."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _submit(self, check: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._count >= MAX_CHECKS:
                raise _busy()
            if self._threads is None:
                self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="lanemesh-checks")
            self._count += 1
        try:
            future = self._threads.submit(check)
        except BaseException:
            self._ended()
            raise
        future.add_done_callback(lambda _: self._ended())
        return future

    def _ended(self) -> None:
        with self._lock:
            self._count -= 1


def _busy() -> LanemeshError:
    message = f"{MAX_CHECKS} large pipelines are already being checked (MAX_CHECKS); retry later"
    return LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many", message=message))
