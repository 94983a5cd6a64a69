"""One node in a test: its environment, the values that it is given, and the items that it sends."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lanemesh.channels import Channels
from lanemesh.client.inputs import to_input
from lanemesh.codec import lane_type_of
from lanemesh.gpu import EmbeddedLink, GpuArbiter, GpuClient, find_devices
from lanemesh.items import Item, LaneType
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.transport.memory import MemorySender
from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import Body
from lanemesh.node.firing.loop import FiringRules
from lanemesh.node.inputs import inbox_of
from lanemesh.node.names import outputs_of_config
from lanemesh.node.node import Node
from lanemesh.node.outputs import OutputLanes, Outputs
from lanemesh.node.ports import OutputSpec
from lanemesh.node.runtime.actor import Actor, Outcome
from lanemesh.node.runtime.resources import Resources
from lanemesh.server.isolation.parent import IsolatedBody
from lanemesh.testing.channels import TrialChannels
from lanemesh.v1 import gpu_pb2, update_pb2

_UNLIMITED = {"limit_items": 2**62, "limit_bytes": 2**62}


class Trial:
    """The node and its environment."""

    def __init__(
        self,
        node: type[Node],
        config: Mapping[str, Any],
        component: str,
        messages: Iterable[tuple[str, Any]],
        session: str,
    ) -> None:
        """Nothing is created yet but the context. `messages` are those of the channels that the node subscribes to."""
        self.channels = TrialChannels("trial", messages)
        """The channels, with what the node has published."""
        self.updates: list[update_pb2.Update] = []
        """What the node has reported."""
        self._config = node.Config.model_validate(config)
        self._outputs = _outputs(node, config)
        self.got: dict[str, list[Item]] = {port: [] for port in self._outputs}
        """The items that have arrived, by output."""
        self._any_lane = LaneType.DATA
        """The lane of outputs that accept any: that of the inputs that do."""
        self._class = node
        loop = asyncio.get_running_loop()
        self._gpu_link: EmbeddedLink | None = None
        self.context = Context(
            run_id="trial",
            component=component,
            provider=node.provider,
            report=self._report,
            gpu=lambda: GpuClient(self._link(), gpu_pb2.LeaseHolder(component=component), loop=loop),
            channels=Channels(lambda: self.channels, run_id="trial", name=component),
            on_progress=self._on_progress,
            session=session,
        )

    async def run(
        self, named: set[str], arriving: list[tuple[str, Any]], rules: FiringRules, isolated: bool, timeout: float
    ) -> Outcome:
        """Loads, runs and unloads the node."""
        resources = Resources()
        body: IsolatedBody | None = None
        batches: Body | None = None
        try:
            async with asyncio.timeout(timeout) as deadline:
                node = self._class()
                node.config, node.resource = self._config, None
                if isolated:
                    body = IsolatedBody(node, self._config.model_dump_json(), self.context)
                    await body.start()
                else:
                    node.resource = await resources.acquire(self._class, self._config)
                    if self._class.batch_ is not None:
                        batches = resources.batch_body(node, self.context)
                inbox = inbox_of(self._class)
                inbox.waiting = self.context.waiting
                await self._feed(inbox, named, arriving)
                return await self._act(node, inbox, rules, body or batches)
        except TimeoutError:
            if not deadline.expired():
                raise
            got = ", ".join(f"{len(items)} on {port}" for port, items in self.got.items())
            what = f"{self.context.component} did not end within {timeout:g} s; items until then: {got or 'none'}"
            raise TimeoutError(what) from None
        finally:
            if body is not None:
                await body.close()
            await self.context.channels.end()
            if self._gpu_link is not None:
                await self._gpu_link.close()
            await resources.close()

    def _link(self) -> EmbeddedLink:
        """The link to an arbiter of its own, created on first use."""
        self._gpu_link = self._gpu_link or EmbeddedLink(GpuArbiter(find_devices()))
        return self._gpu_link

    async def _feed(self, inbox: Inbox, named: set[str], arriving: list[tuple[str, Any]]) -> None:
        """Sends the arrivals, as producers would, and ends every lane."""
        edges = {port: inbox.add_edge(f"test.{port}", port, **_UNLIMITED) for port in sorted(named)}
        lanes: dict[str, OutputLanes] = {}
        for port, value in arriving:
            if port not in lanes:
                lane_type = self._class.inputs_[port].lane_type or lane_type_of(to_input(value).item)
                lanes[port] = OutputLanes(f"the test's {port}", lane_type, [MemorySender(edges[port])])
                self._any_lane = lane_type if self._class.inputs_[port].lane_type is None else self._any_lane
        feed = Outputs("the test", lanes)
        for port, value in arriving:
            await feed.emit(port, value)
        for edge in edges.values():
            edge.end()

    async def _act(self, node: Node, inbox: Inbox, rules: FiringRules, body: Body | None) -> Outcome:
        """Runs the actor, and collects its outputs when they arrive."""
        target = Inbox(self._outputs)
        ports = {}
        for name, spec in self._outputs.items():
            sender = MemorySender(target.add_edge(f"{name}.test", name))
            ports[name] = OutputLanes(
                f"{self.context.component}.{name}",
                spec.lane_type or self._any_lane,
                [sender],
                check=spec.checker(self.context.component),
            )
        self.context.connected_outputs = frozenset(ports)
        outputs = Outputs(self.context.component, ports, self.context.waiting)
        collecting = asyncio.create_task(self._collect(target), name="collect outputs")
        try:
            actor = Actor(node, self.context, inbox, outputs, rules, body=body)
            outcome = await actor.run()
            if actor.lost_attributes:
                warnings.warn(actor.lost_attributes, stacklevel=2)
            await outputs.closed()
            rest = self.context.progress_reporter.end()
            if rest is not None:
                self.updates.append(rest)
        finally:
            with suppress(Exception):
                await collecting
        return outcome

    async def _collect(self, target: Inbox) -> None:
        """Takes every item; a fault of the node ends it, and is in the actor's outcome."""
        async for port, item in target.iter_items():
            self.got[port].append(item)

    async def _report(self, update: update_pb2.Update) -> None:
        self.updates.append(update)

    def _on_progress(self, update: update_pb2.Update) -> bool:
        self.updates.append(update)
        return True


def _outputs(node: type[Node], config: Mapping[str, Any]) -> Mapping[str, OutputSpec]:
    """The outputs of a node class, and those that a config names."""
    free = next((spec for spec in node.outputs_.values() if spec.lane_type is None), None)
    if free is None:
        return node.outputs_
    named = outputs_of_config(node.Config.model_json_schema(), config)
    return {**node.outputs_, **{name: replace(free, name=name) for name in named}}
