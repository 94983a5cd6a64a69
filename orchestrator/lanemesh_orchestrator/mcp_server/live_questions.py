"""Approvals as requests to the user of a client in the middle of a call, as before 2026-07-28."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lanemesh.client.updates import ApprovalState, ApprovalUpdate

from lanemesh_orchestrator.mcp_server.approvals import answer, key_of

if TYPE_CHECKING:
    from lanemesh.client.run_reader import RunReader

log = logging.getLogger("lanemesh.mcp")

MAX_ASKED = 16
"""Most questions of one call that its user has at once; further ones wait."""

Ask = Callable[[ApprovalUpdate], Awaitable[Any]]
"""Asks the user; returns the answer, an `ElicitResult`."""


class LiveQuestions:
    """The questions of one call. Each is asked in a task of its own, so the run is read while the user decides. A question ends
    with its approval, by any decision, and at the latest with the block: `async with LiveQuestions(ask) as questions:`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._limit = asyncio.Semaphore(MAX_ASKED)
        self._asked: dict[str, asyncio.Task[None]] = {}

    def note(self, run: RunReader, update: ApprovalUpdate) -> None:
        """Asks about an approval that is requested, and ends the question about one that is decided or withdrawn."""
        key = key_of(update)
        if update.state is not ApprovalState.REQUESTED:
            task = self._asked.get(key)
            if task is not None:
                task.cancel()
        elif key not in self._asked:
            task = asyncio.create_task(self._question(run, key, update), name=f"question about {key}")
            self._asked[key] = task
            task.add_done_callback(lambda _: self._asked.pop(key, None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asked = list(self._asked.values())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    async def _question(self, run: RunReader, key: str, update: ApprovalUpdate) -> None:
        seconds = (update.deadline - datetime.now(UTC)).total_seconds() if update.deadline is not None else None
        try:
            async with asyncio.timeout(seconds), self._limit:
                reply = await self._ask(update)
        except Exception as error:  # its client is gone, or cannot ask: another client of the mesh may decide
            log.warning("the user of an MCP client was not asked about %s: %s", key, error)
            return
        await answer(run, key, reply)
