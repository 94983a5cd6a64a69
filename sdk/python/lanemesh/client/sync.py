"""Runs for callers that do not await: the same mesh or client, with its event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from lanemesh._aio.loop_thread import LoopThread
from lanemesh.client.client import Client
from lanemesh.client.detached import DetachedRun
from lanemesh.client.runs import Run, RunHost, RunReader, RunResult
from lanemesh.client.specs import PipelineDocument
from lanemesh.node.firing.bodies import in_threads
from lanemesh.v1 import node_pb2, registry_pb2, run_pb2

T = TypeVar("T")
ReaderT = TypeVar("ReaderT", bound=RunReader)
SyncHostT = TypeVar("SyncHostT", bound="SyncHost")

_END = object()


class _Reading(Generic[ReaderT]):
    """What a run and a detached run have in common."""

    def __init__(self, loop: LoopThread, run: ReaderT) -> None:
        self._loop = loop
        self._run = run

    @property
    def id(self) -> str:
        """The run's id; known once it has started."""
        return self._run.id

    @property
    def state(self) -> run_pb2.RunState.ValueType:
        """The run's state, as far as its updates were read."""
        return self._run.state

    @property
    def reason(self) -> str:
        """Why it was cancelled, if it was."""
        return self._run.reason

    @property
    def missed(self) -> int:
        """How many updates were no longer kept when they were wanted."""
        return self._run.missed

    def updates(self) -> Iterator[run_pb2.Update]:
        """What `updates` of the asynchronous run yields."""
        return self._each(self._run.updates())

    def outputs(self, *components: str) -> Iterator[Any]:
        """Every value that reaches a target, or one of these targets, as it comes.

        Raises:
            RunFailed: the run failed or was cancelled; after the values before that.
        """
        return self._each(self._run.outputs(*components))

    def result(self) -> RunResult:
        """Reads the run to its end and tells how it ended. Does not raise for a failed run."""
        return self._call(self._run.result())

    def _each(self, values: AsyncGenerator[T, None]) -> Iterator[T]:
        turn = asyncio.Lock()  # an interrupted wait may still be ending when its generator is closed

        async def upcoming() -> Any:
            async with turn:
                return await anext(values, _END)

        async def close() -> None:
            async with turn:
                await values.aclose()

        self._loop.reading.add(values)
        try:
            while (value := self._call(upcoming())) is not _END:
                yield value
        finally:
            self._loop.reading.discard(values)
            if not self._loop.closed:
                self._loop.call(close())

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.call(work)


class SyncRun(_Reading[Run]):
    """One run, as `lanemesh.Run` without `await`. Ctrl-C in a call that waits cancels the run, and so does leaving its block, or a
    loop over its values, early."""

    def start(self) -> SyncRun:
        """Starts the run, unless it has started. Raises LanemeshError if it cannot be started."""
        self._call(self._run.start())
        return self

    def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value; waits while it is behind. See `Run.push`."""
        self._call(self._run.push(value, port))

    def end_input(self) -> None:
        """Tells the source that no more input comes."""
        self._call(self._run.end_input())

    def cancel(self, reason: str = "cancelled by its caller") -> None:
        """Cancels the run; `result` and the loops over its values go on to its end."""
        self._call(self._run.cancel(reason))

    def close(self) -> None:
        """Cancels what is left of the run and frees what it holds."""
        self._call(self._run.close())

    def __enter__(self) -> SyncRun:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._loop.closed:
            self.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.call(work, self._interrupted)

    async def _interrupted(self) -> None:
        await self._run.cancel("interrupted")
        await self._run.close()


class SyncDetachedRun(_Reading[DetachedRun]):
    """A run that goes on without its caller, as `lanemesh.DetachedRun` without `await`. Ctrl-C ends the wait alone."""

    def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value; returns when the run has taken it. See `DetachedRun.push`."""
        self._call(self._run.push(value, port))

    def end_input(self) -> None:
        """Tells the source that no more input comes."""
        self._call(self._run.end_input())

    def cancel(self, reason: str = "cancelled by a client") -> None:
        """Cancels the run."""
        self._call(self._run.cancel(reason))


class SyncHost:
    """A `Mesh` or a `Client` for callers that do not await. Its methods are theirs, any thread may call them, and they work where
    an event loop runs already, as in a notebook.

    It lives in a thread of its own from its making to `close`, the end of its `with` block, or the end of the program.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[RunHost]]) -> None:
        """`make` makes the host; it is called in the event loop. Raises what that raises."""
        self._loop = LoopThread(type(self).__name__)
        try:
            self._opened, self._host = self._loop.call(_open(make))
        except BaseException:
            self._loop.stop()
            raise
        self._closing = weakref.finalize(self, _close, self._loop, self._opened)

    def run(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | AsyncIterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SyncRun:
        """A run of a pipeline. It starts when it is entered or first read. The arguments are those of `Mesh.run`; `inputs` may be
        an iterator that waits for its values."""
        many = (
            inputs if inputs is None or isinstance(inputs, (AsyncIterable, list, tuple, str, bytes)) else _read(inputs)
        )

        async def make() -> Run:
            return self._host.run(
                pipeline, input=input, inputs=many, open_input=open_input, settings=settings, timeout=timeout
            )

        return SyncRun(self._loop, self._loop.call(make()))

    def start(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> SyncDetachedRun:
        """Starts a run that goes on without its caller. The arguments are those of `Mesh.start`."""
        starting = self._host.start(
            pipeline, input=input, inputs=inputs, open_input=open_input, settings=settings, timeout=timeout
        )
        return SyncDetachedRun(self._loop, self._loop.call(starting))

    def attach(self, run_id: str, from_sequence: int = 1) -> SyncDetachedRun:
        """A run that is under way or was kept, by its id, whoever started it."""

        async def make() -> DetachedRun:
            return self._host.attach(run_id, from_sequence)

        return SyncDetachedRun(self._loop, self._loop.call(make()))

    def validate(
        self, pipeline: PipelineDocument, *, settings: Mapping[str, Any] | None = None
    ) -> list[run_pb2.PipelineFault]:
        """Everything that is wrong with a pipeline, warnings included; empty if it can run."""
        return self._loop.call(self._host.validate(pipeline, settings=settings))

    def node_types(self) -> list[node_pb2.Manifest]:
        """The node types there are, in alphabetical order."""
        return self._loop.call(self._host.node_types())

    def node_servers(self) -> list[registry_pb2.NodeServer]:
        """The node servers there are."""
        return self._loop.call(self._host.node_servers())

    def close(self) -> None:
        """Ends every run that it owns, and its thread. Closing twice changes nothing."""
        self._closing()

    def __enter__(self: SyncHostT) -> SyncHostT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SyncClient(SyncHost):
    """A `lanemesh.Client` for callers that do not await: `with SyncClient("127.0.0.1:7070") as client:`."""

    def __init__(self, address: str) -> None:
        """A client of the orchestrator at this address. Raises LanemeshError if it is no address."""
        super().__init__(lambda: Client(address))


async def _open(
    make: Callable[[], AbstractAsyncContextManager[RunHost]],
) -> tuple[AbstractAsyncContextManager[RunHost], RunHost]:
    opened = make()
    return opened, await opened.__aenter__()


def _close(loop: LoopThread, opened: AbstractAsyncContextManager[RunHost]) -> None:
    """Must not hold the `SyncHost`, which would never be collected."""
    if loop.closed:
        return
    with contextlib.suppress(KeyboardInterrupt):
        loop.call(_left(opened, tuple(loop.reading)))
    loop.stop()


async def _left(opened: AbstractAsyncContextManager[RunHost], reading: Iterable[AsyncGenerator[Any, None]]) -> None:
    for values in reading:
        with contextlib.suppress(RuntimeError):  # another thread waits for its next value, and gets the run's end
            await values.aclose()
    await opened.__aexit__(None, None, None)


async def _read(values: Iterable[Any]) -> AsyncIterator[Any]:
    """Values of an iterable that may keep its reader waiting: in a thread, so that the event loop goes on meanwhile."""
    async with contextlib.aclosing(in_threads(values)) as read:
        async for value in read:
            yield value
