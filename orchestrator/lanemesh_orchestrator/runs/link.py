"""The `RunLink` of a run in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from lanemesh.v1 import run_pb2

from lanemesh_orchestrator.runs.active import ActiveRun


class LocalRunLink:
    """Carries a run whose orchestrator is in this process."""

    def __init__(self, begin: Callable[[], Awaitable[ActiveRun]]) -> None:
        self._begin = begin
        self._run: ActiveRun | None = None

    @property
    def run(self) -> ActiveRun:
        """The run. Only after `start`."""
        assert self._run is not None, "the run has not been started"
        return self._run

    async def start(self) -> None:
        """Validates, places and starts the run."""
        self._run = await self._begin()

    async def updates(self) -> AsyncGenerator[run_pb2.Update, None]:
        """Every update of the run."""
        async for update in self.run.log.read():
            if isinstance(update, run_pb2.Update):
                yield update

    async def push(self, given: run_pb2.RunInput) -> None:
        """Feeds the source."""
        await self.run.push(given)

    async def end_input(self) -> None:
        """Ends the input."""
        await self.run.push(end=True)

    async def cancel(self, reason: str) -> None:
        """Cancels the run."""
        if self._run is not None:
            self._run.cancel(reason)

    async def close(self) -> None:
        """Cancels what is left, and waits for the terminal update."""
        if self._run is None:
            return
        self._run.cancel("its caller has gone")
        self._run.log.abandon()
        await self._run.ended.wait()
