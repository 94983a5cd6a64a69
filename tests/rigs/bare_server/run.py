"""The part of a run on the bare server, from `place` to its faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from lanemesh.v1 import node_pb2, update_pb2

from rigs.bare_server.consumer_end import Edge
from rigs.bare_server.faults import INVALID, NOT_FOUND, UNMET, Fault, fault
from rigs.bare_server.nodes import BODIES, SETTINGS, Component
from rigs.bare_server.producer_end import Lane


class Run:
    """The part of a run on this server."""

    def __init__(self, place: node_pb2.Place) -> None:
        self.place = place
        self.cancelling = False
        self.phase = "placed"
        self.components: dict[str, Component] = {}
        self.edges: dict[str, Edge] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self.faults: list[Fault] = []

    def make(self) -> list[Fault]:
        """Creates the components. Returns all faults."""
        faults: list[Fault] = []
        for instance in self.place.instances:
            where: dict[str, Any] = {
                "component": instance.component,
                "provider": instance.provider,
                "server": self.place.server,
            }
            if instance.provider not in BODIES:
                faults.append(fault(NOT_FOUND, "unknown-provider", f"there is no {instance.provider}", **where))
                continue
            config, setting = json.loads(instance.config_json or "{}"), SETTINGS.get(instance.provider)
            wrong = [name for name in config if setting is None or name != setting[0]]
            if setting is not None and setting[0] in config:
                value = config[setting[0]]
                wrong += [setting[0]] if type(value) is not int or value < setting[1] else []
            lacks = [name for name in ("on_error",) if instance.HasField("on_error") and instance.on_error.policy]
            if wrong:
                faults.append(fault(INVALID, "bad-config", f"wrong settings: {', '.join(wrong)}", **where))
            elif lacks or instance.concurrency > 1 or instance.helper or instance.sync_mode > 1:
                faults.append(fault(12, "missing-feature", "on_error, concurrency and helpers are lacking", **where))
            else:
                self.components[instance.component] = Component(instance, config)
        for spec in self.place.edges:
            if (consumer := self.components.get(spec.consumer)) is not None:
                self.edges[spec.id] = Edge(spec, consumer.input)
        for spec in self.place.edges:
            if (producer := self.components.get(spec.producer)) is not None:
                inside = None if spec.consumer_address else self.edges.get(spec.id)
                producer.lanes.append(Lane(self.place.run_id, spec, inside))
                if inside is not None:
                    inside.opened = True
        return faults

    @property
    def lanes(self) -> list[Lane]:
        return [lane for component in self.components.values() for lane in component.lanes]

    async def connect(self) -> list[Fault]:
        self.phase = "connecting"
        found = [each for each in await asyncio.gather(*(lane.open() for lane in self.lanes)) if each is not None]
        self.phase = "connecting" if found else "connected"
        return found

    async def execute(self, send: Callable[..., None]) -> list[Fault]:
        """Runs the components. Returns the faults of `finished`."""
        self.phase = "started"
        unopened = [edge.spec for edge in self.edges.values() if not edge.opened]
        if unopened:
            await self.cancel()
            return [fault(UNMET, "lane-not-opened", f"{spec.id} is not open", lane=spec.id) for spec in unopened]
        faults = self.faults

        async def one(component: Component) -> None:
            send(update=_node(component.name, update_pb2.NODE_STATE_RUNNING))
            cause = await component.run()
            state = update_pb2.NODE_STATE_SKIPPED if component.skipped else update_pb2.NODE_STATE_COMPLETED
            if cause is not None:
                cancelled = cause.code == 1 and cause.secondary
                state = update_pb2.NODE_STATE_CANCELLED if cancelled else update_pb2.NODE_STATE_FAILED
                if not cancelled:
                    faults.append(cause)
            send(update=_node(component.name, state, cause))
            await asyncio.gather(*(lane.closed(0.5 if self.cancelling else None) for lane in component.lanes))
            faults.extend(lane.fault for lane in component.lanes if lane.fault is not None and cause is None)

        self.tasks = [asyncio.create_task(one(component)) for component in self.components.values()]
        if self.tasks:
            await asyncio.wait(self.tasks)
        return faults

    async def cancel(self) -> None:
        """Ends what is left of the run."""
        self.cancelling = True
        cause = fault(1, "cancelled", "the run was cancelled", secondary=True)
        if self.tasks:
            for task in self.tasks:
                task.cancel()
            await asyncio.wait(self.tasks, timeout=8)
        await asyncio.gather(*(lane.end(cause) for lane in self.lanes))
        await asyncio.gather(*(component.input.stop(cause) for component in self.components.values()))
        await asyncio.gather(*(lane.closed(0.5) for lane in self.lanes))


def _node(component: str, state: Any, error: Fault | None = None) -> update_pb2.Update:
    update = update_pb2.Update(node=update_pb2.NodeUpdate(component=component, state=state, error=error))
    update.time.GetCurrentTime()
    return update
