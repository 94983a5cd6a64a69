"""The preload of one place with `keep_warm` on a host: the loaded resources of its instances, without a run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from lanemesh.faults import Fault
from lanemesh.node.node import Node
from lanemesh.server.host.rules import is_isolated, rules_of
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lanemesh.server.host.instances import InstanceHost


class Preload:
    """Keeps the resources of instances, such as models, until `release`. It has no actors and no lanes, and does not count as a
    run.

    Resources that a body loads in a separate process belong to that process, and are not kept.
    """

    def __init__(self, host: InstanceHost, place: node_pb2.Place) -> None:
        self._host = host
        self._place = place
        self._held: list[tuple[type[Node], BaseModel, object]] = []

    async def load(self) -> list[Fault]:
        """Creates the instances' configs and loads their resources. Returns all faults."""
        async with asyncio.TaskGroup() as group:
            loads = [group.create_task(self._load(instance)) for instance in self._place.instances]
        return [fault for load in loads if (fault := load.result()) is not None]

    def release(self) -> None:
        """Releases all resources; unused ones are unloaded after a while. Not to be called during `load`."""
        for node, config, resource in self._held:
            self._host.resources.release(node, config, resource)
        self._held.clear()

    async def _load(self, instance: node_pb2.Instance) -> Fault | None:
        where = {
            "component": instance.component,
            "provider": instance.provider,
            "server": self._place.server or self._host.name,
        }
        try:
            node = self._host.node_class(instance.provider)
            config = self._host.config_of(instance)
            rules_of(instance, node)
            if not is_isolated(instance, node):
                resource = await self._host.resources.acquire(node, config)
                self._held.append((node, config, resource))
        except Exception as error:
            return Fault.from_exception(error, **where).located(**where)
        return None
