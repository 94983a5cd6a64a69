"""A run for its caller: the same interface for a mesh in this process and a remote one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Protocol, Self

from lanemesh._aio.loops import check_loop
from lanemesh._aio.user_errors import failure_of
from lanemesh.channels import Channels
from lanemesh.client.fanout import Fanout
from lanemesh.client.inputs import each_input, few_inputs, to_input
from lanemesh.client.run_reader import RunReader
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.text_outputs import Entry
from lanemesh.v1 import run_pb2, update_pb2


class RunLink(Protocol):
    """The transport of a run: an orchestrator in this process, or a `Run` call to a remote one."""

    @property
    def run_id(self) -> str:
        """The run's id; empty before it has started."""

    def channels(self) -> Channels:
        """The run's channels. Only after `start`."""

    async def start(self, given: Sequence[run_pb2.RunInput] | None = None) -> bool:
        """Starts the run. `given` are all of its inputs, if they are few and known. Returns whether the run has got them and the
        end of its input; otherwise `feed` it. Raises LanemeshError if the start fails: an invalid pipeline, an unreachable
        orchestrator."""

    def batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        """Every update, to the terminal one. Further ones come as `acknowledge` is called."""

    def acknowledge(self, sequence: int) -> None:
        """The program has taken the updates up to a number. The run waits when 256 updates or 1 MiB are not acknowledged."""

    async def feed(self, given: run_pb2.RunInput) -> None:
        """Feeds the source an input that was given at the creation of the run; waits while the source is behind. A rejection raises
        LanemeshError, or cancels the run with the reason. `end_input` comes after it; a `push` may overtake it."""

    async def push(self, given: run_pb2.RunInput) -> None:
        """Feeds the source; returns when the run has taken the input. A rejection raises LanemeshError, and the run continues. Make
        one call at a time, and none during `feed` or `end_input`."""

    async def end_input(self) -> None:
        """Ends the input of the source."""

    async def cancel(self, reason: str) -> None:
        """Cancels the run; `updates` continues to the terminal one."""

    async def decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval for which a component waits. Raises LanemeshError if no such approval is pending."""

    async def close(self) -> None:
        """Cancels unfinished work and frees all resources."""


class Run(RunReader):
    """One run. Read its `text()`, `values()`, `outputs()`, `updates()` and the like, several concurrently, or await its `result()`.

    Leaving its `async with` block cancels unfinished work. Without a block, closing the only view does.
    """

    def __init__(
        self, link: RunLink, inputs: Iterable[Any] | AsyncIterable[Any] | None, *, open_input: bool = False
    ) -> None:
        super().__init__()
        self._link = link
        self._inputs = inputs
        self._open_input = open_input
        self._started = False
        self._starting = asyncio.Lock()
        self._cancelled_early: str | None = None
        """The reason of a cancellation before its start, if there was one."""
        self._never_ran = False
        self._feeder: asyncio.Task[None] | None = None
        self._pushing = asyncio.Lock()
        """Inputs, and the end of them, reach the run in the order of the calls."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channels: Channels | None = None
        self._fanout = Fanout(self._batches, self._acknowledge)
        self._entered = False
        self._released = False
        self._freeing: asyncio.Task[None] | None = None

    @property
    def channels(self) -> Channels:
        """The run's channels, for messages of its nodes outside the graph. Raises RuntimeError before the run has started."""
        if self._channels is None:
            if not self._link.run_id:
                raise RuntimeError("A run has channels once it has started: `async with mesh.run(...) as run:`.")
            self._channels = self._link.channels()
        return self._channels

    async def start(self) -> Self:
        """Starts the run, unless it has started or was cancelled. Raises LanemeshError if it cannot be started."""
        check_loop(self._loop, "this run")
        if self._started:
            return self
        async with self._starting:
            if not self._started:
                await self._start()
        return self

    async def _start(self) -> None:
        if self._cancelled_early is not None:
            self._started = self._never_ran = True
            self.reason = self._cancelled_early
            return
        self._loop = asyncio.get_running_loop()
        has_inputs = await self._link.start(None if self._open_input else few_inputs(self._inputs))
        self.id = self._link.run_id
        self._started = True
        if self._cancelled_early is not None:
            await self._link.cancel(self._cancelled_early)
        elif not has_inputs:
            self._feeder = asyncio.create_task(self._feed(), name="run inputs")

    async def _batches(self) -> AsyncGenerator[Sequence[Entry], None]:
        await self.start()
        try:
            source = self._cancelled_unstarted() if self._never_ran else self._link.batches()
            async with aclosing(source) as batches:
                async for batch in batches:
                    self._note(batch)
                    yield batch
            if not self.state.is_terminal:
                raise LanemeshError(
                    Fault(
                        code=Code.DATA_LOSS,
                        reason="no-end",
                        message=f"the updates of run {self.id} stopped before its end",
                    )
                )
        finally:
            await self._release()

    def _batches_and_gaps(self) -> AsyncGenerator[Sequence[Entry] | run_pb2.Gap, None]:
        return self._batches()  # it has no gaps

    def _acknowledge(self, sequence: int) -> None:
        if not self._never_ran:
            self._link.acknowledge(sequence)

    async def open_updates(self) -> Fanout:
        """The only reader of the run's updates; starts the run."""
        await self.start()
        return self._fanout

    async def close_updates(self, fanout: Fanout) -> None:
        """Cancels the run if this was its only view and the run has no block."""
        if not (self._entered or fanout.is_watched):
            await self.close()

    async def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value, after all `inputs` of the run and all earlier pushes. Returns when the run has taken the
        value, which waits for these, and while the source is behind.

        Args:
            value: a value that the source accepts, such as text.
            port: the source's output for the value; empty: every output that can carry it.

        Raises:
            LanemeshError: the source rejects the value ("bad-input"), and the run continues without it; or the run was created
                without `open_input`, or its input ("input-ended") or the run itself ("run-ended") has ended.
        """
        if not self._open_input:
            raise _refused("input-ended", "it was created without open_input=True, which `push` needs")
        await self.start()
        if self._never_ran:
            raise _refused("run-ended", "it was cancelled before it started")
        given = to_input(value, port)
        async with self._pushing:
            if not await self._inputs_fed():
                raise _refused("run-ended", "it was closed, or its inputs failed")
            await self._link.push(given)

    async def end_input(self) -> None:
        """Ends the input of the source, after all `inputs` of the run and all earlier pushes, for which it waits."""
        await self.start()
        async with self._pushing:
            if not self._never_ran and await self._inputs_fed():
                await self._link.end_input()

    async def _inputs_fed(self) -> bool:
        """Waits until the inputs that the run was made with have been fed. Returns False if it was closed before that, or cannot be
        fed."""
        if self._feeder is None:  # cancelled while it was starting
            return True
        await asyncio.wait([self._feeder])
        return not self._feeder.cancelled() and self._feeder.exception() is None

    async def cancel(self, reason: str = "cancelled by its caller") -> None:
        """Cancels the run. Updates continue to the terminal one. A run that has not started has only that update, and one that is
        starting is cancelled as soon as it has started."""
        if not self._started:
            self._cancelled_early = self._cancelled_early or reason
        elif not self._never_ran:
            await self._link.cancel(reason)

    async def _decide(self, decision: run_pb2.DecideApprovalRequest) -> None:
        if not self._started or self._never_ran:
            message = f'the run has no approval "{decision.call_id}": it has not started'
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="run-not-started", message=message))
        await self._link.decide(decision)

    async def close(self) -> None:
        """Cancels unfinished work of the run and frees its resources. Open views end. A run that has not started never does. One
        that is starting is cancelled as soon as it has started; this waits for that."""
        check_loop(self._loop, "this run")
        if not self._started:
            await self.cancel("closed before it started")
            async with self._starting:  # its link cannot be closed before it has started
                pass
        await self._fanout.close()
        await self._release()

    async def _release(self) -> None:
        """Frees what the run holds. A cancellation of the caller does not leave it half done."""
        if not self._released:
            self._released = True
            self._freeing = asyncio.create_task(self._free(), name="release of a run")
        if self._freeing is not None:
            await asyncio.shield(self._freeing)

    async def _free(self) -> None:
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        if self._channels is not None:
            await self._channels.release()
        await self._link.close()

    async def __aenter__(self) -> Self:
        self._entered = True
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _cancelled_unstarted(self) -> AsyncGenerator[Sequence[Entry], None]:
        """The updates of a run that was cancelled before it started."""
        job = update_pb2.JobUpdate(state=update_pb2.RUN_STATE_CANCELLED, reason=self._cancelled_early or "")
        yield [update_pb2.Update(job=job)]

    async def _feed(self) -> None:
        """Feeds the inputs that were given at the creation of the run. An input fault cancels the run and is the reason.

        Those of an open input are pushed: when the last call has returned, the run has taken all of them, and pushes may follow.
        """
        feed = self._link.push if self._open_input else self._link.feed
        try:
            async for value in each_input(self._inputs):
                await feed(to_input(value))
            if not self._open_input:
                await self._link.end_input()
        except LanemeshError as error:
            if error.fault.reason != "run-ended":
                await self._link.cancel(str(error))
        except BaseException as error:
            failure = failure_of(error)
            await self._link.cancel(f"its inputs failed: {Fault.from_exception(failure).message}")


def _refused(reason: str, why: str) -> LanemeshError:
    return LanemeshError(
        Fault(code=Code.FAILED_PRECONDITION, reason=reason, message=f"the run accepts no input: {why}")
    )
