"""The verdict on a run: decides when it ends, in which state, and with which cause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from lanemesh.faults import Fault
from lanemesh.redaction import Secrets
from lanemesh.rendering import valid_unicode
from lanemesh.v1 import update_pb2

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.steps import Steps

PRIMARY_SECONDS = 1.0
"""Time that a run with only secondary faults waits for the primary fault."""
SILENT_SECONDS = 4.0
"""Extra time that it waits for servers that do not answer, because the primary fault may be theirs."""

log = logging.getLogger("lanemesh.runs")

T = TypeVar("T")


class Verdict:
    """Collects the faults of one run and decides its end. A primary fault or a cancellation ends the run at once. Faults after a
    cancellation are its consequences and are ignored."""

    def __init__(
        self,
        run_id: str,
        secrets: Secrets,
        probe: Callable[[float], Awaitable[object]],
        steps: Steps | None = None,
    ) -> None:
        """Creates the verdict of a run that has not ended.

        Args:
            run_id: used in the names of tasks.
            secrets: the values that are removed from faults and reasons.
            probe: probes every server of the run, and returns when all have answered or after the given number of seconds. A
                server reports all known faults before it answers.
            steps: logs each fault.
        """
        self.stopping = asyncio.Event()
        """Set when the run has to end."""
        self.reason = ""
        """The reason of the cancellation; empty: not cancelled."""
        self._run_id = run_id
        self._secrets = secrets
        self._probe = probe
        self._steps = steps
        self._faults: list[Fault] = []
        self._awaiting_primary: asyncio.Task[None] | None = None
        self._until: set[asyncio.Future[None]] = set()
        """Are done when the run has to end: those of the present calls of `until`."""

    def cancel(self, reason: str) -> bool:
        """Cancels the run unless it is already ending. Returns whether it was cancelled."""
        if self.stopping.is_set():
            return False
        self.reason = self._secrets.hidden(valid_unicode(reason)) or "cancelled"
        self._stop()
        return True

    def add(self, *faults: Fault) -> None:
        """Adds faults in the order in which they were reported."""
        if self.reason:
            return
        for fault in faults:
            shown = self._secrets.fault(fault)
            if self._steps is not None:
                self._steps.fault(shown)
            self._faults.append(shown)
            if not fault.secondary:
                self._stop()
            elif self._awaiting_primary is None and not self.stopping.is_set():
                self._awaiting_primary = asyncio.create_task(
                    self._await_primary(), name=f"{self._run_id} primary fault"
                )

    @property
    def may_go_on(self) -> bool:
        """Whether there is neither a fault, primary or secondary, nor a cancellation."""
        return not self._faults and not self.stopping.is_set()

    @property
    def is_failing(self) -> bool:
        """Whether there is a fault. If all faults are secondary, the verdict still waits for the primary one."""
        return bool(self._faults)

    def lane_fault(self, reason: str, lanes: Collection[str]) -> Fault | None:
        """The first fault with this reason of one of these lanes, given by their ids. None if there is none."""
        found = (each for each in self._faults if each.reason == reason and each.details.get("lane") in lanes)
        return next(found, None)

    @property
    def cause(self) -> Fault | None:
        """The cause of the failure: the first primary fault, else the first lost server, else the first fault. None if the run has
        not failed."""
        if self.reason or not self._faults:
            return None
        primary = (fault for fault in self._faults if not fault.secondary)
        lost = (fault for fault in self._faults if fault.reason == "server-lost")
        return next(primary, None) or next(lost, None) or self._faults[0]

    @property
    def state(self) -> update_pb2.RunState.ValueType:
        """The terminal state, if the run ends now."""
        if self.reason:
            return update_pb2.RUN_STATE_CANCELLED
        return update_pb2.RUN_STATE_FAILED if self._faults else update_pb2.RUN_STATE_COMPLETED

    async def conclude(self) -> None:
        """Ends the verdict: the run stops, and no primary fault is awaited any more."""
        self._stop()
        if self._awaiting_primary is not None:
            self._awaiting_primary.cancel()
            await asyncio.gather(self._awaiting_primary, return_exceptions=True)

    async def until(self, answers: Iterable[asyncio.Future[Any]]) -> None:
        """Waits until all of the futures are done, or until the run has to end."""
        stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting: set[asyncio.Future[Any]] = {answer for answer in answers if not answer.done()}
        self._until.add(stopping)
        try:
            while waiting and not self.stopping.is_set():
                done, _ = await asyncio.wait([*waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
                waiting -= done
        finally:
            self._until.discard(stopping)
            stopping.cancel()

    async def unless_stopping(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Runs a coroutine and returns its result. Cancels it and returns None if the run has to end. Raises its errors."""
        if self.stopping.is_set():
            work.close()
            return None
        task = asyncio.create_task(work, name=f"{self._run_id} until it has to end")
        try:
            await self.until([task])
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return None if task.cancelled() else task.result()

    def _stop(self) -> None:
        """Makes the run end."""
        self.stopping.set()
        for waiter in self._until:
            if not waiter.done():
                waiter.set_result(None)

    async def _await_primary(self) -> None:
        """Waits for the primary fault that has caused a secondary one, for a limited time."""
        try:
            await asyncio.sleep(PRIMARY_SECONDS)
            await self._probe(SILENT_SECONDS)
        except Exception:
            log.exception("run %s: its node servers could not be asked for the primary fault", self._run_id)
        finally:
            self._stop()
