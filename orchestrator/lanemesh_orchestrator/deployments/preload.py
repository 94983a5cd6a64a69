"""The preload of a pipeline on one server: a long-lived `Host` stream, which is reopened when it ends."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from lanemesh._aio.backoff import Backoff
from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import node_pb2

from lanemesh_orchestrator.runs import phases
from lanemesh_orchestrator.runs.host_connection import HostConnection
from lanemesh_orchestrator.runs.host_handle import HostHandle

RETRY_SECONDS = (0.2, 30.0)
"""Bounds of the first pause and of every pause before it is asked again."""

log = logging.getLogger("lanemesh.deployments")


class Preload:
    """The preload on one server. The stream is opened again, with growing pauses, until the server has loaded the resources, and
    after it ends."""

    def __init__(
        self,
        name: str,
        server: str,
        place: node_pb2.Place,
        dial: Callable[[str], HostConnection],
        on_change: Callable[[], None],
    ) -> None:
        """`name` is the pipeline's, for logs. `on_change` is called whenever `warm` or `faults` have changed."""
        self._name = name
        self.server = server
        self.place = place
        self.warm = False
        """All resources are loaded there."""
        self.faults: tuple[Fault, ...] = ()
        """The faults of the last attempt; empty before that, and while it is warm."""
        self.failures = 0
        """Number of consecutive failures."""
        self._dial = dial
        self._on_change = on_change
        self._closing = False
        self._task = asyncio.create_task(self._keep(), name=f"keep warm on {server}")

    async def close(self) -> None:
        """Closes the stream, within 2 s; resources without other users are unloaded later."""
        if not self._closing:  # a second cancellation would interrupt the closing
            self._closing = True
            self._task.cancel()
        await asyncio.wait([self._task])

    async def _keep(self) -> None:
        backoff, reported = Backoff(*RETRY_SECONDS), ""
        while True:
            faults = await self._once()
            if self.warm:
                backoff.reset()
                self.failures = 0
            self.warm = False
            self.failures += 1
            self.faults = tuple(faults)
            self._on_change()
            why = "; ".join(fault.message for fault in faults)
            if why != reported:
                log.warning("%s is not warm on %s: %s", self._name, self.server, why)
            reported = why
            await asyncio.sleep(backoff.next())

    async def _once(self) -> list[Fault]:
        """Has the server load it, and keeps the conversation. Returns why it has ended."""
        place = node_pb2.Place()
        place.CopyFrom(self.place)
        place.run_id = f"warm-{secrets.token_hex(6)}"
        try:
            host = HostHandle(self.server, self._dial(self.server), place)
        except LanemeshError as error:
            return [error.fault]
        try:
            faults = (await phases.place([host]))[self.server]
            if faults:
                return faults
            self.warm, self.faults = True, ()
            self._on_change()
            await asyncio.wait([host.finished])
            return host.finished.result()
        except Exception as error:  # a fault of the orchestrator itself must not end the preload
            log.exception("keeping warm on %s", self.server)
            return [Fault.from_exception(error, component="orchestrator")]
        finally:
            await host.stop("it is kept warm no longer")
