"""The verdict on a run: when it has to end, in which state, and by which cause."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from lanemesh.faults import Fault
from lanemesh.redaction import Secrets
from lanemesh.rendering import valid_unicode
from lanemesh.v1 import update_pb2

if TYPE_CHECKING:
    from lanemesh_orchestrator.runs.steps import Steps

PRIMARY_SECONDS = 1.0
"""How long a run with only secondary faults waits for the primary one."""
SILENT_SECONDS = 4.0
"""How much longer it waits for servers that do not answer: theirs may be the primary one."""

log = logging.getLogger("lanemesh.runs")

T = TypeVar("T")


class Verdict:
    """Collects the faults of one run, and decides. A primary fault or a cancellation ends the run at once; what goes wrong after a
    cancellation is its consequence, and counts no more."""

    def __init__(
        self,
        run_id: str,
        secrets: Secrets,
        probe: Callable[[float], Awaitable[object]],
        steps: Steps | None = None,
    ) -> None:
        """The verdict on a run that goes on.

        Args:
            run_id: for the names of tasks.
            secrets: are taken out of faults and reasons.
            probe: asks every server of the run what it is doing, and returns once all have answered or after so many seconds. A
                server that has answered has reported every fault that it knew of before.
            steps: logs each fault.
        """
        self.stopping = asyncio.Event()
        """Set once the run has to end."""
        self.reason = ""
        """Why it was cancelled; empty: it was not."""
        self._run_id = run_id
        self._secrets = secrets
        self._probe = probe
        self._steps = steps
        self._faults: list[Fault] = []
        self._awaiting_primary: asyncio.Task[None] | None = None

    def cancel(self, reason: str) -> bool:
        """Cancels the run, unless it is ending already. Returns whether that was so."""
        if self.stopping.is_set():
            return False
        self.reason = self._secrets.hidden(valid_unicode(reason)) or "cancelled"
        self.stopping.set()
        return True

    def add(self, *faults: Fault) -> None:
        """Takes faults into account, in the order in which they were reported."""
        if self.reason:
            return
        for fault in faults:
            shown = self._secrets.fault(fault)
            if self._steps is not None:
                self._steps.fault(shown)
            self._faults.append(shown)
            if not fault.secondary:
                self.stopping.set()
            elif self._awaiting_primary is None and not self.stopping.is_set():
                self._awaiting_primary = asyncio.create_task(
                    self._await_primary(), name=f"{self._run_id} primary fault"
                )

    @property
    def may_go_on(self) -> bool:
        """There is no fault, not even a secondary one, and no cancellation."""
        return not self._faults and not self.stopping.is_set()

    @property
    def is_failing(self) -> bool:
        """There is a fault; if all are secondary, the primary one is still waited for."""
        return bool(self._faults)

    @property
    def cause(self) -> Fault | None:
        """Why the run has failed: the first primary fault; among secondary ones a lost server says more than a lane that broke with
        it. None if it has not failed."""
        if self.reason or not self._faults:
            return None
        primary = (fault for fault in self._faults if not fault.secondary)
        lost = (fault for fault in self._faults if fault.reason == "server-lost")
        return next(primary, None) or next(lost, None) or self._faults[0]

    @property
    def state(self) -> update_pb2.RunState.ValueType:
        """The state in which the run ends, if it ends now."""
        if self.reason:
            return update_pb2.RUN_STATE_CANCELLED
        return update_pb2.RUN_STATE_FAILED if self._faults else update_pb2.RUN_STATE_COMPLETED

    async def conclude(self) -> None:
        """The run ends, whatever for: no primary fault is waited for any more."""
        self.stopping.set()
        if self._awaiting_primary is not None:
            self._awaiting_primary.cancel()
            await asyncio.gather(self._awaiting_primary, return_exceptions=True)

    async def until(self, answers: Iterable[asyncio.Future[Any]], *, first: bool = False) -> None:
        """Waits until all of these are there, or the first of them, or until the run has to end."""
        stopping = asyncio.create_task(self.stopping.wait())
        waiting: set[asyncio.Future[Any]] = {answer for answer in answers if not answer.done()}
        try:
            while waiting and not stopping.done():
                done, _ = await asyncio.wait([*waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
                waiting = set() if first else waiting - done
        finally:
            stopping.cancel()

    async def unless_stopping(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What some work returns. It is cancelled when the run has to end: then None. Raises what the work raises."""
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

    async def _await_primary(self) -> None:
        """Gives the primary fault, of which a secondary one is the consequence, time to arrive."""
        try:
            await asyncio.sleep(PRIMARY_SECONDS)
            await self._probe(SILENT_SECONDS)
        except Exception:
            log.exception("run %s: its node servers could not be asked for the primary fault", self._run_id)
        finally:
            self.stopping.set()
