"""Runs and their views without `await`; their event loop runs in a separate thread."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from lanemesh._aio.loop_thread import LoopThread
from lanemesh.client.detached import DetachedRun
from lanemesh.client.results import RunResult
from lanemesh.client.run_reader import RunReader
from lanemesh.client.runs import Run
from lanemesh.client.sync_channels import SyncChannels
from lanemesh.client.updates import NodeUpdate, OutputUpdate, RunState, ToolUpdate, Update
from lanemesh.client.views import View

if TYPE_CHECKING:
    from lanemesh.channels import Channels
    from lanemesh.client.requests import Request

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
All = TypeVar("All")
ReaderT = TypeVar("ReaderT", bound=RunReader)

_END = object()


class Call(Protocol):
    """Runs a coroutine in the event loop and waits for it."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """The result of the coroutine."""


class Readable(Protocol[T_co]):
    """An iterator that is read piece by piece and closed at the end."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """Itself."""

    def __anext__(self) -> Awaitable[T_co]:
        """The next piece."""

    async def aclose(self) -> None:
        """Closes the iterator."""


def each(loop: LoopThread, call: Call, values: Readable[T]) -> Iterator[T]:
    """The values of an asynchronous iterator, read synchronously. Leaving early closes it."""
    turn = asyncio.Lock()  # an interrupted wait may still be ending during `close`

    async def upcoming() -> Any:
        async with turn:
            return await anext(values, _END)

    async def close() -> None:
        async with turn:
            await values.aclose()

    loop.reading.add(values)
    try:
        while (value := call(upcoming())) is not _END:
            yield value
    finally:
        loop.reading.discard(values)
        loop.call_unless_closed(close())


class SyncView(Generic[T, All]):
    """A view of a run, from the first read on: iterate over it, or take `all()` values."""

    def __init__(self, loop: LoopThread, call: Call, view: View[T, All]) -> None:
        self._loop = loop
        self._call = call
        self._view = view
        self._values: Iterator[T] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._values is None:
            self._values = each(self._loop, self._call, self._view)
        return next(self._values)

    def all(self) -> All:
        """Reads to the run's end. Returns everything at once; raises as iterating does."""
        return self._call(self._view.all())

    def close(self) -> None:
        """Closes the view."""
        self._call(self._view.aclose())


class _SyncReader(ABC, Generic[ReaderT]):
    """The common part of a run and a detached run."""

    def __init__(self, loop: LoopThread, run: ReaderT, host: object) -> None:
        """The run refers to `host`, because a mesh without references is closed."""
        self._loop = loop
        self._run = run
        self._host = host

    @property
    def id(self) -> str:
        """The run's id; known once it has started."""
        return self._run.id

    @property
    def state(self) -> RunState:
        """The run's state, as far as its updates were read."""
        return self._run.state

    @property
    def reason(self) -> str:
        """The reason of its cancellation, if it was cancelled."""
        return self._run.reason

    @property
    def missed(self) -> int:
        """Number of updates that were no longer kept when they were requested."""
        return self._run.missed

    def updates(self) -> SyncView[Update, list[Update]]:
        """Every update of the run. See `Run.updates`."""
        return self._view(self._run.updates())

    def outputs(self, *components: str) -> SyncView[OutputUpdate, list[OutputUpdate]]:
        """Every output, with its component, lane and group. See `Run.outputs`."""
        return self._view(self._run.outputs(*components))

    def values(self, *components: str) -> SyncView[Any, list[Any]]:
        """Every value that reaches a target. See `Run.values`."""
        return self._view(self._run.values(*components))

    def text(self, *components: str) -> SyncView[str, str]:
        """The text, piece by piece; `all()`: as one text. See `Run.text`."""
        return self._view(self._run.text(*components))

    def json(self, model: Any = None, *components: str) -> SyncView[Any, Any]:
        """The JSON values; `all()`: the only one. See `Run.json`."""
        return self._view(self._run.json(model, *components))

    def tools(self, *components: str) -> SyncView[ToolUpdate, list[ToolUpdate]]:
        """The actions of agents. See `Run.tools`."""
        return self._view(self._run.tools(*components))

    def nodes(self, *components: str) -> SyncView[NodeUpdate, list[NodeUpdate]]:
        """The states of nodes. See `Run.nodes`."""
        return self._view(self._run.nodes(*components))

    def result(self) -> RunResult:
        """Reads the run to its end. Returns the result; does not raise for a failed run."""
        return self._call(self._run.result())

    def approve(self, call_id: str, *, component: str = "") -> None:
        """Approves a call for which a component of the run waits. See `Run.approve`."""
        self._call(self._run.approve(call_id, component=component))

    def refuse(self, call_id: str, reason: str = "", *, component: str = "") -> None:
        """Refuses a call for which a component of the run waits. See `Run.refuse`."""
        self._call(self._run.refuse(call_id, reason, component=component))

    def raise_unless_completed(self) -> None:
        """Raises RunFailed if the run has not completed."""
        self._run.raise_unless_completed()

    @property
    def channels(self) -> SyncChannels:
        """The run's channels, for messages of its nodes outside the graph. Raises RuntimeError before the run has started."""
        return SyncChannels(self._loop, self._run_channels())

    @abstractmethod
    def _run_channels(self) -> Channels:
        """The channels of the run."""

    def _view(self, view: View[T, All]) -> SyncView[T, All]:
        return SyncView(self._loop, self._call, view)

    def _call(self, work: Coroutine[Any, Any, T], /) -> T:
        return self._loop.call(work)


class SyncRun(_SyncReader[Run]):
    """One run: `lanemesh.Run` without `await`. Ctrl-C during a wait cancels the run. So does leaving its block, or a loop over its
    only view, early."""

    def start(self) -> Self:
        """Starts the run, unless it has started. Raises LanemeshError if it cannot be started."""
        self._call(self._run.start())
        return self

    def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value; waits while it is behind. See `Run.push`."""
        self._call(self._run.push(value, port))

    def end_input(self) -> None:
        """Ends the input of the source."""
        self._call(self._run.end_input())

    def cancel(self, reason: str = "cancelled by its caller") -> None:
        """Cancels the run; `result` and the loops over its views continue to its end."""
        self._call(self._run.cancel(reason))

    def close(self) -> None:
        """Cancels unfinished work of the run and frees its resources."""
        self._call(self._run.close())

    def __enter__(self) -> Self:
        self._call(self._run.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_unless_closed(self._run.close(), self._interrupted)

    def _run_channels(self) -> Channels:
        return self._run.channels

    def _call(self, work: Coroutine[Any, Any, T], /) -> T:
        return self._loop.call(work, self._interrupted)

    async def _interrupted(self) -> None:
        await self._run.cancel("interrupted")
        await self._run.close()


class SyncRequest(SyncRun):
    """One input to a pipeline, and what it returns: `lanemesh.Request` without `await`. Iterate over its values, or take its result
    by `all()`. Ctrl-C during a wait cancels it; so does leaving its block, or a loop over it, early."""

    _run: Request

    def __iter__(self) -> Iterator[Any]:
        return self.values()

    def all(self) -> RunResult:
        """Reads the request to its end. Returns the result; raises RunFailed if it failed or was cancelled. See `Request.all`."""
        return self._call(self._run.all())


class SyncDetachedRun(_SyncReader[DetachedRun]):
    """A run that continues without its caller: `lanemesh.DetachedRun` without `await`. Ctrl-C ends only the wait."""

    def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value; returns when the run has taken it. See `DetachedRun.push`."""
        self._call(self._run.push(value, port))

    def end_input(self) -> None:
        """Ends the input of the source."""
        self._call(self._run.end_input())

    def cancel(self, reason: str = "cancelled by a client") -> None:
        """Cancels the run."""
        self._call(self._run.cancel(reason))

    def _run_channels(self) -> Channels:
        return self._run.channels
