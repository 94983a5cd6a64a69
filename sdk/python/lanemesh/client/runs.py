"""A run, as its caller has it: the same whether the mesh is in this process or elsewhere."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakSet

from lanemesh.channels import Channels
from lanemesh.client.reader import Reader
from lanemesh.client.specs import PipelineDocument, Trace
from lanemesh.codec import decode, encode, lane_type_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType, make_item
from lanemesh.v1 import node_pb2, registry_pb2, run_pb2
from lanemesh.values import Answer, Audio, Document, Image, Question, Table, Tags, Video

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.v1 import deployment_pb2

T = TypeVar("T")

TERMINAL = {run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED}
"""States after which nothing more comes of a run."""

_LANES: list[tuple[type, LaneType]] = [
    (str, LaneType.TEXT),
    (Question, LaneType.QUESTIONS),
    (Answer, LaneType.ANSWERS),
    (Document, LaneType.DOCUMENTS),
    (Table, LaneType.TABLE),
    (Tags, LaneType.TAGS),
    (Image, LaneType.IMAGE),
    (Audio, LaneType.AUDIO),
    (Video, LaneType.VIDEO),
]


class RunFailed(LanemeshError):
    """A run that failed or was cancelled; its fault is the first primary cause."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    run_id: str
    """The run."""
    state: run_pb2.RunState.ValueType
    """One of the terminal states."""
    outputs: tuple[Any, ...]
    """Every value that reached a target, in the order of arrival."""
    error: Fault | None = None
    """The first primary cause, if it failed."""
    reason: str = ""
    """Why it was cancelled, if it was."""
    missed: int = 0
    """How many of its updates were no longer kept when they were wanted; the outputs among them are not in `outputs`."""

    def __repr__(self) -> str:
        state = run_pb2.RunState.Name(self.state).removeprefix("RUN_STATE_").lower()
        more = [f", {name}={value!r}" for name in ("error", "reason", "missed") if (value := getattr(self, name))]
        return f"RunResult(run_id={self.run_id!r}, state={state}, outputs={self.outputs!r}{''.join(more)})"


class RunLink(Protocol):
    """What carries a run: an orchestrator in this process, or a `Run` call to one elsewhere."""

    @property
    def run_id(self) -> str:
        """The run's id; known once it has started, else empty."""

    def channels(self) -> Channels:
        """The run's channels. Only after `start`."""

    async def start(self) -> None:
        """Starts the run. Raises LanemeshError if it cannot be: an invalid pipeline, an unreachable orchestrator."""

    def updates(self) -> AsyncGenerator[run_pb2.Update, None]:
        """Every update, to the terminal one. The run waits for a slow reader."""

    async def push(self, given: run_pb2.RunInput) -> None:
        """Feeds the source; waits while it is behind."""

    async def end_input(self) -> None:
        """Tells the source that no more input comes."""

    async def cancel(self, reason: str) -> None:
        """Cancels the run; `updates` goes on to the terminal one."""

    async def close(self) -> None:
        """Cancels what is left and frees everything."""


class RunHost(Protocol):
    """Where pipelines run: `Mesh` in this process, `Client` elsewhere."""

    def run(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | AsyncIterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
    ) -> Run:
        """A run of a pipeline. It starts when it is entered or first read."""

    async def start(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
    ) -> DetachedRun:
        """Starts a run that goes on without its caller."""

    def attach(self, run_id: str, from_sequence: int = 1) -> DetachedRun:
        """A run that is under way or was kept, whoever started it."""

    async def runs(
        self, *, limit: int = 100, states: Iterable[run_pb2.RunState.ValueType] = (), deployment: str = ""
    ) -> list[run_pb2.RunRecord]:
        """The runs that are known, the latest first."""

    async def record(self, run_id: str) -> run_pb2.GetRunResponse:
        """What is known of a run, and its pipeline."""

    def channels(self, run_id: str = "", *, name: str = "client") -> Channels:
        """The channels of a run, or without one those of the mesh, whose names begin with "mesh:"."""

    async def validate(
        self, pipeline: PipelineDocument, *, settings: Mapping[str, Any] | None = None
    ) -> list[run_pb2.PipelineFault]:
        """Everything that is wrong with a pipeline."""

    async def deploy(
        self,
        name: str,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> deployment_pb2.Deployment:
        """Keeps a pipeline ready under a name."""

    async def deployments(self) -> list[deployment_pb2.Deployment]:
        """The deployed pipelines."""

    async def deployment(self, name: str, version: int = 0) -> deployment_pb2.GetDeploymentResponse:
        """A deployed pipeline with its document."""

    async def undeploy(self, name: str) -> None:
        """Takes a deployed pipeline away."""

    async def node_types(self, names: Collection[str] | None = None) -> list[node_pb2.Manifest]:
        """The node types there are, or those of certain names."""

    async def node_servers(self) -> list[registry_pb2.NodeServer]:
        """The node servers there are."""


class RunReader(ABC):
    """What comes of a run: its updates, its outputs, its end."""

    def __init__(self, run_id: str = "") -> None:
        self.id = run_id
        """The run's id; known once it has started."""
        self.state: run_pb2.RunState.ValueType = run_pb2.RUN_STATE_UNSPECIFIED
        """The run's state, as far as its updates were read."""
        self.reason = ""
        """Why it was cancelled, if it was."""
        self.missed = 0
        """How many updates were no longer kept when they were wanted; none of a run that this client owns."""
        self._error: Fault | None = None

    def updates(self) -> AsyncGenerator[run_pb2.Update, None]:
        """Updates of the run, the terminal `JobUpdate` last."""
        return self._reader(self._updates())

    def outputs(self, *components: str) -> AsyncGenerator[Any, None]:
        """Every value that reaches a target, or one of these targets.

        Raises:
            RunFailed: while it is read: the run failed or was cancelled; after the values before that.
        """
        return self._reader(self._outputs(components))

    @abstractmethod
    def _updates(self) -> AsyncGenerator[run_pb2.Update, None]:
        """The updates, by a generator that ends with the first wait that is cancelled."""

    def _reader(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """What is given to the caller to read by."""
        return Reader(source)

    async def _outputs(self, components: Sequence[str]) -> AsyncGenerator[Any, None]:
        async with aclosing(self._updates()) as updates:
            async for update in updates:
                wanted = not components or update.output.component in components
                if update.WhichOneof("kind") == "output" and wanted and update.output.item.WhichOneof("payload"):
                    yield value_of(update.output)
        self._raise_unless_completed()

    async def result(self) -> RunResult:
        """Reads the run to its end and tells how it ended. Does not raise for a failed run."""
        outputs: list[Any] = []
        async with aclosing(self._updates()) as updates:
            async for update in updates:
                if update.WhichOneof("kind") == "output" and update.output.item.WhichOneof("payload") is not None:
                    outputs.append(value_of(update.output))
        return RunResult(self.id, self.state, tuple(outputs), self._error, self.reason, self.missed)

    def _note(self, update: run_pb2.Update) -> None:
        if update.WhichOneof("kind") != "job":
            return
        job = update.job
        self.id = job.run_id or self.id
        self.state = job.state
        self.reason = job.reason or self.reason
        if job.HasField("error"):
            self._error = Fault.from_status(job.error)

    def _raise_unless_completed(self) -> None:
        if self.state == run_pb2.RUN_STATE_COMPLETED:
            return
        why = self.reason or "it was cancelled"
        cancelled = Fault(code=Code.CANCELLED, reason="cancelled", message=f"run {self.id} was cancelled: {why}")
        raise RunFailed(self._error or cancelled)


class Run(RunReader):
    """One run. Iterate its `updates()` or `outputs()`, or await its `result()`; leaving the block cancels what is left."""

    def __init__(
        self, link: RunLink, inputs: Iterable[Any] | AsyncIterable[Any] | None, *, open_input: bool = False
    ) -> None:
        super().__init__()
        self._link = link
        self._inputs = inputs
        self._open_input = open_input
        self._started = False
        self._entered = False
        """It was entered by `async with`, whose end is the end of reading."""
        self._readers: WeakSet[Reader[Any]] = WeakSet()
        self._starting = asyncio.Lock()
        self._cancelled_early: str | None = None
        """Why it was cancelled, if it was before it had started."""
        self._never_ran = False
        self._feeder: asyncio.Task[None] | None = None
        self._channels: Channels | None = None

    @property
    def channels(self) -> Channels:
        """The run's channels, by which its nodes talk beside the graph. Raises RuntimeError before the run has started."""
        if self._channels is None:
            if not self._link.run_id:
                raise RuntimeError("A run has channels once it has started: `async with mesh.run(...) as run:`.")
            self._channels = self._link.channels()
        return self._channels

    async def start(self) -> Run:
        """Starts the run, unless it has started or was cancelled before. Raises LanemeshError if it cannot be started."""
        if self._started:
            return self
        async with self._starting:
            if not self._started:
                await self._start()
        return self

    async def _start(self) -> None:
        if self._cancelled_early is not None:
            self._started = self._never_ran = True
            return
        await self._link.start()
        self._started = True
        if self._cancelled_early is not None:
            await self._link.cancel(self._cancelled_early)
        else:
            self._feeder = asyncio.create_task(self._feed(), name="run inputs")

    def updates(self) -> AsyncGenerator[run_pb2.Update, None]:
        """Every update of the run, the terminal `JobUpdate` last. The run waits for a slow reader; leaving cancels it.

        Inside of `async with`, a wait that is cancelled, as by a timeout, loses nothing, and the same iterator goes on. Outside of
        it, that is the end of reading, and cancels the run.
        """
        return super().updates()

    def _reader(self, source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        if not self._entered:
            return source
        reader = Reader(source)
        self._readers.add(reader)
        return reader

    async def _updates(self) -> AsyncGenerator[run_pb2.Update, None]:
        await self.start()
        try:
            source = self._cancelled_unstarted() if self._never_ran else self._link.updates()
            async with aclosing(source) as updates:
                async for update in updates:
                    self._note(update)
                    yield update
            if self.state not in TERMINAL:
                raise LanemeshError(
                    Fault(code=Code.DATA_LOSS, reason="no-end", message=f"the updates of run {self.id} broke off")
                )
        finally:
            await self.close()

    async def push(self, value: Any, port: str = "") -> None:
        """Feeds the source one value; waits while it is behind. `port` names the source's output, if not every fitting one.

        Raises:
            LanemeshError: the run was made without `open_input`, or its input or itself has ended.
        """
        if not self._open_input:
            raise _refused("input-ended", "it has the inputs that it was made with; say open_input=True to push more")
        await self.start()
        if self._never_ran:
            raise _refused("run-ended", "it was cancelled before it started")
        await self._link.push(to_input(value, port))

    async def end_input(self) -> None:
        """Tells the source that no more input comes."""
        await self.start()
        if not self._never_ran:
            await self._link.end_input()

    async def cancel(self, reason: str = "cancelled by its caller") -> None:
        """Cancels the run. Updates go on to the terminal one; those of a run that has not started are that one alone, and one that
        is starting is cancelled as soon as it has."""
        if not self._started:
            self._cancelled_early = self._cancelled_early or reason
        elif not self._never_ran:
            await self._link.cancel(reason)

    async def close(self) -> None:
        """Cancels what is left of the run and frees what it holds."""
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        if self._channels is not None:
            await self._channels.release()
        await self._link.close()

    async def __aenter__(self) -> Run:
        self._entered = True
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reader in list(self._readers):
            await reader.aclose()
        await self.close()

    async def _cancelled_unstarted(self) -> AsyncGenerator[run_pb2.Update, None]:
        """The updates of a run that was cancelled before it started."""
        yield run_pb2.Update(
            job=run_pb2.JobUpdate(state=run_pb2.RUN_STATE_CANCELLED, reason=self._cancelled_early or "")
        )

    async def _feed(self) -> None:
        """Feeds the inputs that the run was made with. A fault of theirs cancels the run and is its reason."""
        try:
            async for value in _each(self._inputs):
                await self._link.push(to_input(value))
            if not self._open_input:
                await self._link.end_input()
        except LanemeshError as error:
            if error.fault.reason != "run-ended":
                await self._link.cancel(str(error))
        except Exception as error:
            await self._link.cancel(f"its inputs failed: {Fault.from_exception(error).message}")


def to_input(value: Any, port: str = "") -> run_pb2.RunInput:
    """A value as an input of a run. Raises ValueRefused if no lane carries it."""
    if isinstance(value, run_pb2.RunInput):
        return value
    lane_type = next((lane for kind, lane in _LANES if isinstance(value, kind)), LaneType.DATA)
    item = make_item(lane_type, value, where="the client")
    return run_pb2.RunInput(port=port, item=encode(lane_type, item))


def value_of(output: run_pb2.OutputUpdate) -> Any:
    """The value that an output carries."""
    return decode(lane_type_of(output.item), output.item).value


def _refused(reason: str, why: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=reason, message=f"the run takes no input: {why}"))


async def _each(inputs: Iterable[Any] | AsyncIterable[Any] | None) -> AsyncIterator[Any]:
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            yield value
    elif inputs is not None:
        for value in inputs:
            yield value
