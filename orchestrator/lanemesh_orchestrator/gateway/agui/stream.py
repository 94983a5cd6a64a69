"""Reads a run for the client of one request, which may disconnect."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from ag_ui.core import BaseEvent
from ag_ui.encoder import EventEncoder
from lanemesh.client.run_reader import wire_batches
from lanemesh.client.update_conversion import from_entry
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry, last_of
from lanemesh.v1 import run_pb2

from lanemesh_orchestrator.gateway.agui.events import AgentEvents
from lanemesh_orchestrator.reasons import Reason

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.updates import Update

log = logging.getLogger("lanemesh.gateway")

_ENCODER = EventEncoder()


class AgentStream:
    """The events of one request, as server-sent events. A detached run is behind it, because it may outlive the request."""

    def __init__(
        self, run: DetachedRun, events: AgentEvents, *, after: int = 0, waiting: Collection[tuple[str, str]] = ()
    ) -> None:
        """A run that has started.

        Args:
            run: the run, from its first update on.
            events: makes the events.
            after: number of the last update whose events the client has.
            waiting: components and ids of approvals that were requested before, and still wait.
        """
        self._run = run
        self._events = events
        self._after = after
        self._waiting = waiting
        self._started = False

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._run.id

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The events, one chunk per batch of updates. They end with the run, or where it waits for approvals."""
        try:
            if not self._after:
                yield _encoded(self._start())
            async with aclosing(wire_batches(self._run)) as batches:
                async for batch in batches:
                    found = self._gap(batch) if isinstance(batch, run_pb2.Gap) else self._batch(batch)
                    if found:
                        yield _encoded(found)
                    if self._events.ended:
                        return
        except LanemeshError as error:
            yield _encoded(self._events.fail(error.fault))

    async def close(self) -> None:
        """Cancels the run if its client has gone before the end, unless it waits for an approval."""
        events = self._events
        if events.run_ended or events.waits:
            return
        try:
            await self._run.cancel("the client of AG-UI disconnected")
        except LanemeshError as error:
            log.warning("run %s has lost its client, and cannot be cancelled: %s", self.run_id, error)

    def _batch(self, batch: Sequence[Entry]) -> list[BaseEvent]:
        updates = [update for entry in batch for update in from_entry(entry)]
        last = last_of(batch[-1])
        self._events.read(_until(updates, self._after))
        if last < self._after:
            return []
        found = [] if self._started else self._start()
        found += self._events.read(update for update in updates if update.sequence > self._after)
        if last > self._after and self._events.waits and not self._events.ended:
            found += self._events.interrupt(last)
        return found

    def _gap(self, gap: run_pb2.Gap) -> list[BaseEvent]:
        if gap.to_sequence <= self._after:
            return []
        first = max(gap.from_sequence, self._after + 1)
        missing = f"the updates {first:,} to {gap.to_sequence:,} of the run {self.run_id}"
        message = f"{missing} are no longer kept: the client is too slow. Run the agent again"
        fault = Fault(code=Code.DATA_LOSS, reason=Reason.UPDATES_NOT_KEPT, message=message)
        return self._events.fail(fault)

    def _start(self) -> list[BaseEvent]:
        self._started = True
        return self._events.start(self._waiting)


def _until(updates: Sequence[Update], sequence: int) -> Iterator[Update]:
    return (update for update in updates if update.sequence <= sequence)


def _encoded(events: Sequence[BaseEvent]) -> bytes:
    return "".join(map(_ENCODER.encode, events)).encode()
