"""What a node knows of where it runs, and what it reaches through it."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from lanemesh._aio.signal import NOTHING
from lanemesh._aio.time_left import time_left
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.items import ABSENT, Item
from lanemesh.node.helper_list import Helpers
from lanemesh.node.log import ComponentLog, OnLog
from lanemesh.node.progress import REPORTED, OnProgress, Progress
from lanemesh.node.waits import Waits
from lanemesh.redaction import NO_SECRETS, Secrets
from lanemesh.rendering import text_of
from lanemesh.times import stamp
from lanemesh.v1 import update_pb2

if TYPE_CHECKING:
    from lanemesh.channels import Channels
    from lanemesh.chat import ToolProgress, ToolResult
    from lanemesh.gpu import GpuClient
    from lanemesh.node.helper_clients import LlmClient, ToolClient
    from lanemesh.values import ToolCall


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClientInput:
    """One item from the client for a boundary source."""

    port: str
    """Output by which it shall leave; empty: every connected output that can carry it."""
    item: Item
    """The item."""
    kind: str
    """Name of its lane type."""

    @property
    def has_value(self) -> bool:
        """The item has a value; one without only ends a group."""
        return self.item.value is not ABSENT


class ClientLink(Protocol):
    """What a boundary node has of the run's client."""

    def inputs(self, component: str) -> AsyncIterator[ClientInput]:
        """The client's inputs for a source, until it has ended them; none if it feeds another one."""

    async def deliver(self, component: str, port: str, lane: str, item: Item) -> None:
        """Hands an item to the client; waits while the client is behind."""


class Context:
    """One component in one run, as its node sees it."""

    def __init__(
        self,
        *,
        run_id: str,
        component: str,
        provider: str,
        report: Callable[[update_pb2.Update], Awaitable[None]],
        client: ClientLink | None = None,
        gpu: Callable[[], GpuClient] | None = None,
        channels: Channels | None = None,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
        secrets: Secrets = NO_SECRETS,
        incarnation: int = 0,
        traceparent: str = "",
    ) -> None:
        self.run_id = run_id
        """The run."""
        self.component = component
        """Id of the component in the pipeline."""
        self.provider = provider
        """Its node type."""
        self.incarnation = incarnation
        """Above 0 if the component was placed again, since its server was lost: another number each time."""
        self.traceparent = traceparent
        """The trace that the run belongs to: `traceparent` of W3C Trace Context, to be passed on in calls to other services. Empty
        where there is none."""
        self._cancelled = False
        self._whole: Context | None = None
        self.secrets = secrets
        """What is left out of all that the component tells and logs."""
        self.log = ComponentLog(provider, component, run_id, on_log, secrets)
        """A logger whose lines carry the component and the run, and reach the run's clients; never waits."""
        self.progress_reporter = Progress(component, on_progress)
        """What `progress` was told, on its way to the run's clients."""
        self.connected_outputs: frozenset[str] = frozenset()
        """Outputs that lead somewhere."""
        self.waits = Waits()
        """What the component waits for within the run; the SDK keeps it."""
        self.latest_reader: Callable[[str], Any] | None = None
        """What `latest` asks; set by the actor."""
        self._report = report
        self._client = client
        self._helpers: dict[str, Helpers[Any]] = {}
        self._together: dict[str, Any] = {}
        self._make_gpu = gpu
        self._gpu: GpuClient | None = None
        self._channels = channels
        if channels is not None:
            channels.waiting = self.waiting

    @property
    def cancelled(self) -> bool:
        """The component, or the firing, shall stop. Synchronous bodies look at it now and then."""
        return self._cancelled or (self._whole is not None and self._whole._cancelled)

    @cancelled.setter
    def cancelled(self, cancelled: bool) -> None:
        self._cancelled = cancelled

    def latest(self, port: str) -> Any:
        """The newest value of an input, for a body that looks at it during a firing: what came last and waits there, else
        what was taken last, else the input's default, or None if it has none. Takes nothing: what waits fires later as ever.

        Raises:
            LanemeshError: there is no such input, or the node implements `run`, which reads its inputs itself.
        """
        if self._whole is not None:
            return self._whole.latest(port)
        return self._have(self.latest_reader, "`latest` is only for `process` and `gen_process`")(port)

    def child(self) -> Context:
        """The same context for some of the firings, which can be told to stop while the others go on."""
        child = copy.copy(self)
        child._cancelled, child._whole = False, self
        return child

    @property
    def client(self) -> ClientLink:
        """The run's client; boundary nodes only, in the orchestrator's own process."""
        return self._have(
            self._client, "no client: only boundary nodes, which run in the orchestrator's process, have one"
        )

    @property
    def llm(self) -> LlmClient:
        """The model that is wired to this component; of several the one that has no name."""
        return cast("LlmClient", self.helper("llm"))

    @property
    def llms(self) -> Helpers[LlmClient]:
        """All models that are wired to this component: `context.llms["judge"]` by name, `context.llms[0]` in order."""
        return self.helpers("llm")

    @property
    def toolsets(self) -> Helpers[ToolClient]:
        """The tools of each helper apart: `context.toolsets["search"]` by name, `context.toolsets[0]` in order."""
        return self.helpers("tool")

    @property
    def tools(self) -> ToolClient:
        """All tools that are wired to this component."""
        return cast("ToolClient", self.helper("tool"))

    def helper(self, kind: str) -> Any:
        """What it has of the helpers of a kind: all together where the kind has that, as tools do, else the only one, or of several
        the one that has no name.

        Args:
            kind: the name of a kind of helper, such as "llm".

        Raises:
            KeyError: there is no such kind.
            LanemeshError: none is wired ("not-wired"), or it could be several ("several-helpers").
        """
        if (together := self._together.get(kind)) is not None:
            return together
        noun = HELPER_KINDS[kind].noun
        hint = f'no {noun} is wired to it. Add {{"classType": "{kind}", "from": ...}} to a {noun}\'s control'
        return self._have(self.helpers(kind).only(), hint)

    def helpers(self, kind: str) -> Helpers[Any]:
        """The client of each helper of a kind, by name and in order. Raises KeyError if there is no such kind."""
        return self._helpers.get(kind) or Helpers(self.component, HELPER_KINDS[kind])

    @property
    def gpu(self) -> GpuClient:
        """The GPU arbiter: `async with context.gpu.lease() as lease`."""
        if self._whole is not None:
            return self._whole.gpu
        if self._gpu is None:
            self._gpu = self._have(self._make_gpu, "this node server has no GPU arbiter")()
        return self._gpu

    @property
    def channels(self) -> Channels:
        """Named broadcast beside the graph: `await context.channels.publish("progress", {"done": 3})`."""
        return self._have(self._channels, "this process has no channels")

    @property
    def time_left(self) -> float | None:
        """Seconds until the run, the firing or the call that is served has to end; None if there is no such limit. Calls of helpers
        have it as their deadline."""
        return time_left()

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """Goes around each wait that the SDK does for the node: a GPU lease may be yielded meanwhile."""
        if self._gpu is None or not self._gpu.held:
            return NOTHING
        return self._gpu.waiting()

    @asynccontextmanager
    async def waiting_for(self, what: str) -> AsyncIterator[None]:
        """Goes around each wait for something outside the run, which `what` names, such as "the llm helper model"."""
        with self.waits.waiting_outside(what):
            async with self.waiting():
                yield

    def abandon_waits(self) -> None:
        """Ends its waits for a lease, for the sake of synchronous bodies, which no cancellation reaches."""
        if self._whole is not None:
            self._whole.abandon_waits()
        if self._gpu is not None:
            self._gpu.abandon_waits()

    def wire(self, kind: str, each: Sequence[tuple[str, Any]], together: Any = None) -> None:
        """Gives the component its helpers of one kind before the run starts.

        Args:
            kind: the name of the kind.
            each: the client of each helper, with its name or an empty one.
            together: what it has of all of them together, if the kind has that.
        """
        self._helpers[kind] = Helpers(self.component, HELPER_KINDS[kind], each)
        self._together[kind] = together

    def progress(self, done: float, total: float = 0, message: str = "") -> Awaitable[None]:
        """Shows the run's clients how far the node is; they see the latest, at most ten times a second, and the last one always.

        Never waits, and works in synchronous bodies as well: `context.progress(3, 10)`. It may be awaited, and need not be.

        Args:
            done: how much is done, in a unit of the node's own.
            total: how much there is in all, in the same unit; 0 if that is not known.
            message: what is being done, in at most 1,000 characters.

        Raises:
            ValueError: a number is not finite.
        """
        self.progress_reporter.report(done, total, self.secrets.hidden(text_of(message)))
        return REPORTED

    async def report_tool(self, event: str | ToolCall | ToolProgress | ToolResult, *, wave: int = 1) -> None:
        """Reports what an agent does to the run's clients; waits while they are behind.

        Args:
            event: a thought, as a text; a call; progress or result of a call.
            wave: round of the agent's loop, from 1.
        """
        from lanemesh.chat_codec import encode_tool_update

        await self.report(encode_tool_update(event, wave))

    async def report(self, update: update_pb2.ToolUpdate | update_pb2.ProgressUpdate | update_pb2.LogUpdate) -> None:
        """Shows an update to the run's clients; waits while they are behind."""
        update.component = self.component
        whole = update_pb2.Update()
        stamp(whole.time)
        match update:
            case update_pb2.ToolUpdate():
                whole.tool.CopyFrom(update)
            case update_pb2.ProgressUpdate():
                whole.progress.CopyFrom(update)
            case update_pb2.LogUpdate():
                whole.log.CopyFrom(update)
        self.secrets.hide(whole)
        await self._report(whole)

    def _have(self, thing: T | None, otherwise: str) -> T:
        if thing is not None:
            return thing
        raise LanemeshError(
            Fault(
                code=Code.FAILED_PRECONDITION,
                reason="not-wired",
                message=f"{self.component} ({self.provider}): {otherwise}.",
                details={"component": self.component, "provider": self.provider},
            )
        )
