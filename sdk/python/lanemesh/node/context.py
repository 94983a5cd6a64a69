"""The context of a node: the run that it belongs to, and access to helpers, channels and the GPU."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
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
from lanemesh.node.waits import WaitingOutside, Waits
from lanemesh.redaction import NO_SECRETS, Secrets
from lanemesh.rendering import text_of
from lanemesh.times import stamp
from lanemesh.v1 import update_pb2

if TYPE_CHECKING:
    from lanemesh.channels import Channels
    from lanemesh.chat import ToolProgress, ToolResult
    from lanemesh.gpu import GpuClient
    from lanemesh.node.approvals import Approval, Approvals
    from lanemesh.node.helper_clients import AgentClient, LlmClient, MemoryClient, ToolClient
    from lanemesh.node.usage_sum import UsageSum
    from lanemesh.permissions import Permissions
    from lanemesh.values import ToolCall, Usage


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClientInput:
    """One item from the client for a boundary source."""

    port: str
    """Output for the item; empty: every connected output that can carry it."""
    item: Item
    """The item."""
    kind: str
    """Name of its lane type."""

    @property
    def has_value(self) -> bool:
        """The item has a value; one without only ends a group."""
        return self.item.value is not ABSENT


class ClientLink(Protocol):
    """The link of a boundary node to the run's client."""

    def inputs(self, component: str) -> AsyncIterator[ClientInput]:
        """The client's inputs for a source, until it has ended them; none if it feeds another one."""

    async def capacity(self) -> tuple[int, int]:
        """Waits while the client is behind. Returns the numbers of items and of bytes that may be delivered then without a wait in
        between."""

    def deliver(self, component: str, port: str, lane: str, item: Item) -> None:
        """Delivers an item to the client."""

    def deliver_texts(self, component: str, port: str, texts: list[str]) -> None:
        """Delivers text items without envelopes to the client."""


class Context:
    """One component in one run, as its node sees it."""

    def __init__(
        self,
        *,
        run_id: str,
        component: str,
        provider: str,
        report: Callable[[update_pb2.Update], Awaitable[None]] | None = None,
        client: ClientLink | None = None,
        gpu: Callable[[], GpuClient] | None = None,
        channels: Channels | None = None,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
        secrets: Secrets = NO_SECRETS,
        permissions: Permissions | None = None,
        mesh_link: Callable[[], object] = lambda: "",
        incarnation: int = 0,
        traceparent: str = "",
        session: str = "",
        depth: int = 0,
    ) -> None:
        self.run_id = run_id
        """The run."""
        self.component = component
        """Id of the component in the pipeline."""
        self.provider = provider
        """Its node type."""
        self.incarnation = incarnation
        """Above 0 if the component was placed again after the loss of its server: a new number each time."""
        self.traceparent = traceparent
        """The trace of the run: `traceparent` of W3C Trace Context, to be passed on in calls to other services. Empty if there is
        no trace."""
        self.depth = depth
        """How many runs are above this one: a run that a node has started is below that node's run."""
        self.session = session
        """The session that the run belongs to, such as a conversation; empty if it belongs to none. It gives access to the memory
        of the session, so treat it as a secret."""
        self._cancelled = False
        self._whole: Context | None = None
        self.secrets = secrets
        """Secrets that are redacted from all reports and logs of the component."""
        self._permissions = permissions
        self.mesh_link = mesh_link
        """Returns the mesh that the component runs in, for `lanemesh.extend.mesh_of`."""
        self.log = ComponentLog(provider, component, run_id, on_log, secrets)
        """A logger whose lines carry the component and the run, and reach the run's clients; never waits."""
        self.progress_reporter = Progress(component, on_progress)
        """The progress on its way to the run's clients."""
        self.connected_outputs: frozenset[str] = frozenset()
        """The connected outputs."""
        self.waits = Waits()
        """The waits of the component within the run, which the SDK records."""
        self.latest_reader: Callable[[str], Any] | None = None
        """The function behind `latest`; set by the actor."""
        self._report = report
        self._used: UsageSum | None = None
        self._client = client
        self._helpers: dict[str, Helpers[Any]] = {}
        self._together: dict[str, Any] = {}
        self._make_gpu = gpu
        self._gpu: GpuClient | None = None
        self._approvals: Approvals | None = None
        self._channels = channels
        if channels is not None:
            channels.waiting = self.waiting

    @property
    def cancelled(self) -> bool:
        """The component, or the firing, has to stop. Synchronous bodies should check it regularly."""
        return self._cancelled or (self._whole is not None and self._whole._cancelled)

    @cancelled.setter
    def cancelled(self, cancelled: bool) -> None:
        self._cancelled = cancelled

    def latest(self, port: str) -> Any:
        """The newest value of an input, read during a firing: the newest waiting value, otherwise the last one taken, otherwise the
        input's default, or None if it has none. Takes nothing: waiting items fire later as usual.

        Raises:
            LanemeshError: there is no such input, or the node implements `run`, which reads its inputs itself.
        """
        if self._whole is not None:
            return self._whole.latest(port)
        return self._have(self.latest_reader, "`latest` is only for `process` and `gen_process`")(port)

    @property
    def permissions(self) -> Permissions:
        """What the operator of the node server lets components do."""
        if self._permissions is None:
            from lanemesh.permissions import Permissions

            self._permissions = Permissions.local()
        return self._permissions

    def child(self) -> Context:
        """The same context for some of the firings, which can be stopped while the others continue."""
        child = copy.copy(self)
        child._cancelled, child._whole = False, self
        return child

    @property
    def client(self) -> ClientLink:
        """The run's client; only for boundary nodes, in the orchestrator's own process."""
        return self._have(
            self._client, "no client: only boundary nodes, which run in the orchestrator's process, have one"
        )

    @property
    def llm(self) -> LlmClient:
        """The connected model; of several, the one without a name."""
        return cast("LlmClient", self.helper("llm"))

    @property
    def llms(self) -> Helpers[LlmClient]:
        """All connected models: `context.llms["judge"]` by name, `context.llms[0]` in order."""
        return self.helpers("llm")

    @property
    def toolsets(self) -> Helpers[ToolClient]:
        """The tools of each helper separately: `context.toolsets["search"]` by name, `context.toolsets[0]` in order."""
        return self.helpers("tool")

    @property
    def tools(self) -> ToolClient:
        """All connected tools."""
        return cast("ToolClient", self.helper("tool"))

    @property
    def memory(self) -> MemoryClient:
        """The connected memory; of several, the one without a name."""
        return cast("MemoryClient", self.helper("memory"))

    @property
    def memories(self) -> Helpers[MemoryClient]:
        """All connected memories: `context.memories["facts"]` by name, `context.memories[0]` in order."""
        return self.helpers("memory")

    @property
    def agents(self) -> Helpers[AgentClient]:
        """All connected agents: `context.agents["researcher"]` by name, `context.agents[0]` in order."""
        return self.helpers("agent")

    def helper(self, kind: str) -> Any:
        """The client for the helpers of a kind: one for all together if the kind has that, as tools do; otherwise the client of the
        only helper, or of the only one without a name.

        Args:
            kind: the name of a kind of helper, such as "llm".

        Raises:
            KeyError: there is no such kind.
            LanemeshError: none is connected ("not-wired"), or several qualify ("several-helpers").
        """
        if (together := self._together.get(kind)) is not None:
            return together
        noun = HELPER_KINDS[kind].noun
        hint = f'no {noun} is connected to it. Add {{"classType": "{kind}", "from": ...}} to a {noun}\'s control'
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
        """Seconds until the time limit of the run, of the firing or of the served call; None if there is no limit. It is the
        deadline of calls to helpers."""
        return time_left()

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """Context manager around each wait that the SDK does for the node: a GPU lease may be yielded meanwhile."""
        if self._gpu is None or not self._gpu.held:
            return NOTHING
        return self._gpu.waiting()

    def waiting_for(self, what: str) -> AbstractAsyncContextManager[None]:
        """Context manager around each wait for an event outside the run, which `what` names, such as "the llm helper model"."""
        return WaitingOutside(self.waits, what, self.waiting)

    def abandon_waits(self) -> None:
        """Ends its waits for a lease, for synchronous bodies, which no cancellation reaches."""
        if self._whole is not None:
            self._whole.abandon_waits()
        if self._gpu is not None:
            self._gpu.abandon_waits()

    def wire(self, kind: str, each: Sequence[tuple[str, Any]], together: Any = None) -> None:
        """Sets the helpers of one kind before the run starts.

        Args:
            kind: the name of the kind.
            each: the client of each helper, with its name or an empty one.
            together: the client for all of them together, if the kind has one.
        """
        self._helpers[kind] = Helpers(self.component, HELPER_KINDS[kind], each)
        self._together[kind] = together

    def using(self, kind: str, each: Sequence[tuple[str, Any]], together: Any = None) -> Context:
        """The same context with other helpers of one kind, for code that shall call the helpers through them. The arguments are
        those of `wire`."""
        child = self.child()
        child._helpers, child._together = dict(self._helpers), dict(self._together)
        child.wire(kind, each, together)
        return child

    def progress(self, done: float, total: float = 0, message: str = "") -> Awaitable[None]:
        """Reports progress to the run's clients. They get the latest at most ten times a second, and always the last one.

        Never waits, and works in synchronous bodies as well: `context.progress(3, 10)`. The result may be awaited.

        Args:
            done: the amount done, in a unit that the node chooses.
            total: the total amount, in the same unit; 0 if it is unknown.
            message: the present activity, in at most 1,000 characters.

        Raises:
            ValueError: a number is not finite.
        """
        self.progress_reporter.report(done, total, self.secrets.hidden(text_of(message)))
        return REPORTED

    @property
    def approvals(self) -> Approvals:
        """The approvals of the component, created on first use."""
        if self._whole is not None:
            return self._whole.approvals
        if self._approvals is None:
            from lanemesh.node.approvals import Approvals

            self._approvals = Approvals(self.incarnation, self._report_approval, self.waiting_for, self.secrets.hidden)
        return self._approvals

    async def approval(
        self, description: str, *, tool: str = "", arguments: str = "", call_id: str = "", timeout: float | None = None
    ) -> Approval:
        """Asks the clients of the run for an approval, and waits for the decision: `if await context.approval("Send the mail"):`.

        Clients get an `ApprovalUpdate` and answer by `run.approve(call_id)` or `run.refuse(call_id, reason)`. A cancellation ends
        the wait.

        Args:
            description: what is to be approved, in words; at most 1,000 characters are shown.
            tool: the name of the tool that is to be called, if it is for a call.
            arguments: the arguments of the call as JSON text. They are shown without secrets; of more than 4,000 characters the
                first 4,000 and the number of the others.
            call_id: the wanted id of the approval; it gets a number if the component has used it before. Empty: "approval".
            timeout: seconds until it is refused without a decision, at most a week; None: 600.

        Returns:
            The decision; true if approved.

        Raises:
            ValueError: the timeout is not above 0, or is too long.
        """
        if self._report is None:
            from lanemesh.node.approvals import Approval

            return Approval(False, "no client can decide here")
        return await self.approvals.request(
            description, tool=tool, arguments=arguments, call_id=call_id, timeout=timeout
        )

    async def report_tool(self, event: str | ToolCall | ToolProgress | ToolResult, *, wave: int = 1) -> None:
        """Reports an event of an agent to the run's clients; waits while they are behind.

        Args:
            event: a thought, as a text; a call; progress or result of a call.
            wave: round of the agent's loop, from 1.
        """
        from lanemesh.chat_codec import encode_tool_update

        if self._report is None:
            return
        tool = encode_tool_update(event, wave)
        tool.component = self.component
        update = update_pb2.Update(tool=tool)
        stamp(update.time)
        self.secrets.hide(update)
        await self._report(update)

    async def report_usage(self, source: str, calls: int, usage: Usage | None = None) -> None:
        """Reports to the run's clients what the component has used beyond its helpers, such as the models of a run that it has
        started. The clients get the sum of all sources. Waits while they are behind.

        Args:
            source: what has used it, such as the id of that run and the component there.
            calls: number of its calls so far.
            usage: their tokens so far; None: they are unknown.
        """
        from lanemesh.node.usage_sum import UsageSum, Used
        from lanemesh.value_codec import encode_usage

        if self._report is None:
            return
        self._used = self._used or UsageSum()
        used = self._used.take(source, Used(calls, usage))
        update = update_pb2.Update(helper=update_pb2.HelperUpdate(component=self.component, calls=used.calls))
        if used.usage is not None:
            update.helper.usage.CopyFrom(encode_usage(used.usage))
        stamp(update.time)
        await self._report(update)

    async def _report_approval(self, approval: update_pb2.ApprovalUpdate) -> None:
        assert self._report is not None, "approvals are refused without clients"
        approval.component = self.component
        update = update_pb2.Update(approval=approval)
        stamp(update.time)
        self.secrets.hide(update)
        await self._report(update)

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
