"""The instances of one run on one node host, and their creation: nodes, contexts, and outgoing lanes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh.channels import Channels
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import Edge, Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.lanes.transport.sender import LaneSender
from lanemesh.node.context import ClientLink, Context
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.inputs import inbox_of
from lanemesh.node.names import outputs_of_config
from lanemesh.node.node import Node
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.node.runtime.actor import Actor
from lanemesh.node.runtime.resources import Resources, loads
from lanemesh.redaction import Secrets
from lanemesh.server.host.log_lines import log_update
from lanemesh.server.host.reporting import RunReporter
from lanemesh.server.host.rules import is_isolated, rules_of
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lanemesh._grpc.connections import ConnectionPool
    from lanemesh.channels import ChannelLink
    from lanemesh.gpu import ArbiterLink
    from lanemesh.lanes.transport.short_lanes import ShortLanes
    from lanemesh.node.firing.batch_bodies import BatchBody
    from lanemesh.permissions import Permissions
    from lanemesh.server.host.recovery import CommitTracker
    from lanemesh.server.host.taps import Traces
    from lanemesh.server.isolation.parent import IsolatedBody
    from lanemesh.server.node_files import NodeFiles


class InstanceHost(Protocol):
    """The interface of a host for its runs and preloads."""

    @property
    def name(self) -> str:
        """Its name, for faults."""

    @property
    def node_files(self) -> NodeFiles | None:
        """Files with node types, which are loaded again when they change; None: there are none."""

    def mesh_link(self) -> object:
        """The mesh that components run in: an object of this process, or the address of an orchestrator; empty: none."""

    @property
    def permissions(self) -> Permissions | None:
        """What components may do; None: what they may in local runs."""

    @property
    def resources(self) -> Resources:
        """The results of `load`, shared by all runs."""

    @property
    def edge_update_seconds(self) -> float:
        """Least time between two updates of one edge; infinite: only the last is reported."""

    @property
    def pool(self) -> ConnectionPool:
        """Connections to other node servers."""

    @property
    def short_lanes(self) -> ShortLanes:
        """The calls that carry short lanes to other node servers."""

    @property
    def gpu_link(self) -> ArbiterLink:
        """The link to the GPU arbiter."""

    @property
    def channel_link(self) -> ChannelLink:
        """The link to the broker of channels. Raises LanemeshError if there is none."""

    def node_class(self, provider: str) -> type[Node]:
        """The class of a node type. Raises LanemeshError if there is none."""

    def config_of(self, instance: node_pb2.Instance) -> BaseModel:
        """The config of an instance. Raises LanemeshError if it is invalid."""


@dataclass(slots=True)
class HostedInstance:
    """One instance."""

    instance: node_pb2.Instance
    node: Node
    context: Context
    inbox: Inbox
    rules: FiringRules
    isolated: IsolatedBody | None = None
    """Runs its bodies, if they run in a separate process."""
    batches: BatchBody | None = None
    """Runs its bodies, if its class has a `batch`."""
    outputs: Outputs | None = None
    actor: Actor | None = None
    commits: CommitTracker | None = None
    """Tracks the committed items, if the instance is recoverable."""
    ended: bool = False
    """Its end was reported."""

    async def abort(self, fault: Fault) -> None:
        """Ends its outgoing lanes with a fault, if it has any yet."""
        if self.outputs is not None:
            await asyncio.gather(*(sender.abort(fault) for sender in self.outputs.senders))


class InstanceFactory:
    """Creates the instances of one run's part on this host."""

    def __init__(
        self,
        host: InstanceHost,
        place: node_pb2.Place,
        reporter: RunReporter,
        client: ClientLink | None,
        secrets: Secrets,
        traces: Traces | None,
    ) -> None:
        self._host = host
        self._place = place
        self._reporter = reporter
        self._client = client
        self._secrets = secrets
        self._traces = traces
        self._arriving: dict[str, list[node_pb2.Edge]] = {}
        """The edges by their consumers."""
        self._leaving: dict[str, list[node_pb2.Edge]] = {}
        """The edges by their producers."""
        for edge in place.edges:
            self._arriving.setdefault(edge.consumer, []).append(edge)
            self._leaving.setdefault(edge.producer, []).append(edge)

    def makes_at_once(self, instance: node_pb2.Instance) -> bool:
        """Whether `instance` waits for nothing: no resource is loaded, and the bodies run in this process."""
        try:
            node_class = self._host.node_class(instance.provider)
        except LanemeshError:
            return False
        return not loads(node_class) and not is_isolated(instance, node_class)

    async def instance(self, instance: node_pb2.Instance) -> HostedInstance:
        """Creates an instance and loads its resource. If its bodies run in a separate process, that is not started yet.

        Raises:
            LanemeshError: there is no such node type, or its config is invalid.
            Exception: raised by its `load`.
        """
        node_class = self._host.node_class(instance.provider)
        if self._host.node_files is not None:
            self._check_ports(instance, node_class)
        node = node_class()
        node.config = self._host.config_of(instance)
        rules = rules_of(instance, node_class, self._arriving.get(instance.component, ()))
        isolated = is_isolated(instance, node_class)
        node.resource = None if isolated else await self._host.resources.acquire(node_class, node.config)
        context = self._context(instance)
        inbox = inbox_of(node_class)
        inbox.tracing = self._traces.of if self._traces is not None else None
        inbox.waiting = context.waiting
        inbox.marking = context.waits.waiting_for_any
        placed = HostedInstance(instance, node, context, inbox, rules)
        if isolated:
            from lanemesh.server.isolation.parent import IsolatedBody

            placed.isolated = IsolatedBody(node, instance.config_json or "{}", context, instance.secret_pointers)
        elif node_class.batch_ is not None and not instance.helper:
            placed.batches = self._host.resources.batch_body(node, context)
        return placed

    def _check_ports(self, instance: node_pb2.Instance, node_class: type[Node]) -> None:
        """Raises LanemeshError if the file of a node type was edited since the run was planned, and its ports have changed."""
        taken = {edge.input for edge in self._arriving.get(instance.component, ())}
        given = {edge.output for edge in self._leaving.get(instance.component, ())}
        lacking = [f'input "{name}"' for name in sorted(taken - node_class.inputs_.keys())]
        if unknown := given - node_class.outputs_.keys():
            named = outputs_of_config(node_class.Config.model_json_schema(), json.loads(instance.config_json or "{}"))
            lacking += [f'output "{name}"' for name in sorted(unknown - {*named})]
        if node_class.boundary is not None or not lacking:
            return
        message = (
            f"{instance.component} ({instance.provider}): its file was edited since the run was planned, and it has no "
            f"{' and no '.join(lacking)} any more. Correct the pipeline or the file, and start the run again"
        )
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="node-type-changed", message=message))

    def outputs(self, placed: HostedInstance, incoming: Mapping[str, Edge]) -> Outputs:
        """The outputs of an instance, with lanes that are not opened yet. `incoming` are the edges that end on this host, by id."""
        component = placed.instance.component
        leaving: dict[str, list[LaneSender]] = {}
        forks: dict[str, dict[str, Sequence[str]]] = {}
        types: dict[str, LaneType] = {
            name: spec.lane_type for name, spec in placed.node.outputs_.items() if spec.lane_type is not None
        }
        for edge in self._leaving.get(component, ()):
            leaving.setdefault(edge.output, []).append(self._sender(edge, incoming))
            if edge.forks:
                forks.setdefault(edge.output, {})[edge.id] = edge.forks
            types[edge.output] = LaneType.from_wire(edge.lane_type)
        ports = {
            name: OutputLanes(
                f"{component}.{name}",
                lane_type,
                leaving.get(name, ()),
                forks.get(name),
                placed.node.outputs_[name].checker(component) if name in placed.node.outputs_ else None,
            )
            for name, lane_type in types.items()
        }
        placed.context.connected_outputs = frozenset(leaving)
        return Outputs(component, ports, placed.context.waiting, placed.context.waits)

    def _sender(self, edge: node_pb2.Edge, incoming: Mapping[str, Edge]) -> LaneSender:
        if not edge.consumer_address:
            return MemorySender(incoming[edge.id])
        if edge.replayable:
            from lanemesh.lanes.recovery.replaying_sender import ReplayingSender

            return ReplayingSender(
                *(edge, self._place.run_id, self._host.pool),
                traceparent=self._place.traceparent,
                lane_key=self._place.lane_key,
            )
        from lanemesh.lanes.transport.grpc_sender import GrpcSender

        return GrpcSender(
            *(edge, self._place.run_id, self._host.pool),
            traceparent=self._place.traceparent,
            lane_key=self._place.lane_key,
            merges=self._place.merges_frames,
            short=self._host.short_lanes if self._place.short_lanes and not edge.reopenable else None,
        )

    def _context(self, instance: node_pb2.Instance) -> Context:
        component, run_id, loop = instance.component, self._place.run_id, asyncio.get_running_loop()
        context = Context(
            run_id=run_id,
            component=component,
            provider=instance.provider,
            report=self._reporter.report,
            client=self._client,
            gpu=lambda: self._gpu_client(context, instance, loop),
            channels=Channels(lambda: self._host.channel_link, run_id=run_id, name=component),
            on_log=lambda level, line: self._reporter.lines.report(log_update(component, level, line)),
            on_progress=self._reporter.try_send,
            incarnation=self._place.incarnation,
            traceparent=self._place.traceparent,
            session=self._place.session_id,
            depth=self._place.depth,
            secrets=self._secrets,
            permissions=self._host.permissions,
            mesh_link=self._host.mesh_link,
        )
        return context

    def _gpu_client(self, context: Context, instance: node_pb2.Instance, loop: asyncio.AbstractEventLoop) -> Any:
        from lanemesh.gpu import GpuClient
        from lanemesh.model_users import settings_digest
        from lanemesh.server.host.lease_waits import LeaseWaits
        from lanemesh.v1 import gpu_pb2

        holder = gpu_pb2.LeaseHolder(
            run_id=self._place.run_id, component=context.component, server=self._place.server or self._host.name
        )
        waits = LeaseWaits(context.component, context.waits, self._reporter)
        return GpuClient(
            self._host.gpu_link,
            holder,
            loop=loop,
            on_waiting=waits.report,
            warn=lambda text: context.log.warning("%s", text),
            settings=settings_digest(instance.provider, instance.config_json),
        )
