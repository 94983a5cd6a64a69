"""The instances that one part of a run has placed on a host: each one's start, and the release of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from lanemesh._aio.user_errors import failure_of
from lanemesh.faults import Fault
from lanemesh.node.callables import call_hook
from lanemesh.node.runtime.actor import FINALIZE_SECONDS
from lanemesh.node.runtime.resources import Resources
from lanemesh.server.host.instances import HostedInstance, InstanceFactory
from lanemesh.v1 import node_pb2

if TYPE_CHECKING:
    from lanemesh.control.instance import HelperInstance


class PlacedInstances:
    """The instances, and those of them that serve others."""

    def __init__(
        self, factory: InstanceFactory, resources: Resources, server: str, *, on_fault: Callable[[Fault], None]
    ) -> None:
        """Without instances.

        Args:
            factory: creates the instances.
            resources: the results of `load`, which the instances share.
            server: the name of this server, for faults.
            on_fault: gets the faults of the release.
        """
        self._factory = factory
        self._resources = resources
        self._server = server
        self._on_fault = on_fault
        self._placed: dict[str, HostedInstance] = {}
        self._helpers: dict[str, HelperInstance] = {}

    @property
    def by_component(self) -> Mapping[str, HostedInstance]:
        """The instances that are not released."""
        return self._placed

    @property
    def helpers(self) -> Mapping[str, HelperInstance]:
        """The instances that serve control connections, by component."""
        return self._helpers

    async def make(self, instance: node_pb2.Instance) -> Fault | None:
        """Creates an instance, loads its resource and starts the process of its bodies, if it has one. Returns its fault."""
        where = {"component": instance.component, "provider": instance.provider, "server": self._server}
        try:
            placed = self._placed[instance.component] = await self._factory.instance(instance)
            if placed.node.offers:
                from lanemesh.control.instance import HelperInstance

                self._helpers[instance.component] = HelperInstance(placed.node, placed.context)
            if placed.isolated is not None:
                await placed.isolated.start()
        except BaseException as error:
            return Fault.from_exception(failure_of(error), **where).located(**where)
        return None

    async def close_helpers(self) -> None:
        """Ends the calls of helpers from other servers, and accepts no more. A further call only waits for that."""
        await asyncio.gather(*(helper.close() for helper in self._helpers.values()))

    async def release(self, *, at_once: Callable[[], bool]) -> None:
        """Ends the helpers, and frees what the instances have. A further call only waits for the helpers. `at_once`: whether the
        processes of bodies get no time to end."""
        instances = list(self._placed.values())
        self._placed.clear()
        await self.close_helpers()
        for placed in instances:
            if placed.instance.helper:
                await self._finalize(placed)
            if placed.isolated is not None:
                await placed.isolated.close(at_once=at_once())
            await placed.context.channels.end()
            if placed.batches is not None:
                self._resources.release_batch_body(placed.node)
            if placed.isolated is None:
                self._resources.release(type(placed.node), placed.node.config, placed.node.resource)

    async def _finalize(self, placed: HostedInstance) -> None:
        """Finalizes a helper, which has no actor."""
        try:
            async with asyncio.timeout(FINALIZE_SECONDS):
                await call_hook(placed.node.finalize, placed.context)
        except Exception as error:
            where = {"component": placed.instance.component, "server": self._server}
            self._on_fault(Fault.from_exception(error, **where))
