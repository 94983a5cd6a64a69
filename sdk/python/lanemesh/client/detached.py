"""A run that goes on without its caller: watched, fed and cancelled by whoever knows its id."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from lanemesh.channels import Channels
from lanemesh.client.fanout import Fanout
from lanemesh.client.runs import TERMINAL, RunReader, to_input
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import run_pb2, update_pb2

log = logging.getLogger("lanemesh.client")


class DetachedLink(Protocol):
    """What reaches a run that somebody started: an orchestrator in this process, or calls to one elsewhere."""

    def updates(self, from_sequence: int) -> AsyncGenerator[update_pb2.Update | run_pb2.Gap, None]:
        """Its updates from a number on, to the terminal one, each once; where some are no longer kept, what was missed."""

    async def push(self, given: run_pb2.RunInput | None, *, end: bool) -> None:
        """Feeds its source; returns when the run has taken the input."""

    async def cancel(self, reason: str) -> None:
        """Cancels it."""


class DetachedRun(RunReader):
    """A run that goes on without its caller, with the interface of `Run`.

    Reading slows nothing, or nobody but a run that fills its log unread; to stop reading cancels nothing. Each of `updates()`,
    `outputs()` and `result()` reads from the first update wanted on, however often it is called.
    """

    def __init__(self, run_id: str, link: DetachedLink, channels: Channels, from_sequence: int = 1) -> None:
        """`from_sequence` is the first update wanted; they are numbered from 1."""
        super().__init__(run_id)
        self.channels = channels
        """The run's channels, by which its nodes talk beside the graph."""
        self._link = link
        self._from = from_sequence

    async def _messages(self) -> AsyncGenerator[update_pb2.Update, None]:
        # A connection that breaks is made again, and the updates continue. Those that are no longer kept are counted and logged.
        self.missed = 0
        last_state = update_pb2.RUN_STATE_UNSPECIFIED
        async with aclosing(self._link.updates(self._from)) as updates:
            async for update in updates:
                if isinstance(update, run_pb2.Gap):
                    self._miss(update)
                    continue
                self._note(update)
                last_state = update.job.state
                yield update
        if last_state not in TERMINAL:
            message = f"run {self.id} has ended, and the number of its last update is less than {self._from}"
            raise LanemeshError(Fault(code=Code.OUT_OF_RANGE, reason="nothing-left", message=message))

    async def open_updates(self) -> Fanout:
        """A reader of its own for each view, which begins at the first update wanted."""
        return Fanout(self._messages)

    async def close_updates(self, fanout: Fanout) -> None:
        """Ends the reader of a view."""
        await fanout.close()

    async def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value; returns when the run has taken it, which waits while the source is behind.

        `port` names the source's output, if not every fitting one. A push that fails on the way may have been taken: it is not
        tried again.

        Raises:
            LanemeshError: the run or its input has ended, its caller feeds it, or the orchestrator cannot be reached.
        """
        await self._link.push(to_input(value, port), end=False)

    async def end_input(self) -> None:
        """Tells the source that no more input comes. Doing so twice changes nothing."""
        await self._link.push(None, end=True)

    async def cancel(self, reason: str = "cancelled by a client") -> None:
        """Cancels the run. Cancelling one that has ended changes nothing."""
        await self._link.cancel(reason)

    def _miss(self, missed: run_pb2.Gap) -> None:
        self.missed += missed.to_sequence - missed.from_sequence + 1
        told = "run %s: updates %d to %d are no longer kept; this reader does not get their outputs"
        log.warning(told, self.id, missed.from_sequence, missed.to_sequence)
