"""The orchestrator's handle of one host in a run or in a preloaded deployment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from lanemesh.faults import Fault, LanemeshError
from lanemesh.protocol import control_edge_id
from lanemesh.v1 import fault_pb2, node_pb2, update_pb2

from lanemesh_orchestrator.runs.host_connection import HostConnection, bad_server, server_lost

ENDED = frozenset(
    {
        update_pb2.NODE_STATE_COMPLETED,
        update_pb2.NODE_STATE_SKIPPED,
        update_pb2.NODE_STATE_FAILED,
        update_pb2.NODE_STATE_CANCELLED,
    }
)
"""States in which a node has ended."""

FROM_COMPONENTS = frozenset({update_pb2.APPROVAL_STATE_REQUESTED, update_pb2.APPROVAL_STATE_WITHDRAWN})
"""States of an approval that a node server reports. The orchestrator decides."""

FINISH_SECONDS = 10.0
"""Time limit for a node server to finish after its run was cancelled or has failed."""

logger = logging.getLogger("lanemesh.runs")

Answer = node_pb2.Probed | node_pb2.Detached
"""An answer to a numbered request."""


async def _ignore(update: update_pb2.Update) -> None:
    """Ignores an update: a preloaded host has nothing to report."""


class HostHandle:
    """The handle of one host in a run: sends its requests, and tracks its answers and its end."""

    def __init__(
        self,
        server: str,
        connection: HostConnection,
        place: node_pb2.Place,
        on_update: Callable[[update_pb2.Update], Awaitable[None]] = _ignore,
        on_lost: Callable[[HostHandle, Fault], None] = lambda *_: None,
        on_stalled: Callable[[], None] = lambda: None,
    ) -> None:
        """Creates a handle; `begin` starts to read from the host.

        Args:
            server: the name of the node server.
            connection: to the host.
            place: the components and edges that the host is to place.
            on_update: gets the updates that the host reports.
            on_lost: called if the host is lost after the start.
            on_stalled: called when the host reports a stalled actor.
        """
        loop = asyncio.get_running_loop()
        self.server = server
        self.place = place
        self.placed: asyncio.Future[list[Fault]] = loop.create_future()
        self.connected: asyncio.Future[list[Fault]] = loop.create_future()
        self.finished: asyncio.Future[list[Fault]] = loop.create_future()
        self.started = False
        self.lost_unstarted = False
        """Whether the host was lost before the start."""
        self.heard_at = loop.time()
        """Time of the last frame of the host, by the clock of the event loop."""
        self._validator = UpdateValidator(place)
        self._warned = False
        self._connection = connection
        self._on_update = on_update
        self._on_lost = on_lost
        self._on_stalled = on_stalled
        self._last_number = 0
        self._answers: dict[int, asyncio.Future[Answer | None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._closed = False
        """The host has finished, and the connection was closed."""

    def start_listening(self) -> None:
        """Starts to read the responses of the host."""
        self._reader = asyncio.create_task(self._read(), name=f"host {self.server}")

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Sends a frame, unless the host has finished. Marks the host as lost if the connection is broken."""
        if self.finished.done():
            return
        try:
            await self._connection.send(request)
        except LanemeshError as error:
            self.lose(error.fault)

    async def probe(self, seconds: float) -> node_pb2.Probed | None:
        """Requests the state of the actors on the host; None if it has finished or does not answer in time."""
        answer = await self._request(lambda number: node_pb2.HostRequest(probe=node_pb2.Probe(id=number)), seconds)
        return answer if isinstance(answer, node_pb2.Probed) else None

    async def detach(self, edge_ids: Sequence[str], seconds: float) -> node_pb2.Detached | None:
        """Makes the host detach lanes whose other ends are lost. None if it has finished, is lost, or does not answer in time."""
        answer = await self._request(
            lambda number: node_pb2.HostRequest(detach=node_pb2.Detach(id=number, edge_ids=edge_ids)), seconds
        )
        return answer if isinstance(answer, node_pb2.Detached) else None

    async def _request(self, request: Callable[[int], node_pb2.HostRequest], seconds: float) -> Answer | None:
        if self.finished.done():
            return None
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._last_number += 1
        number = self._last_number
        self._answers[number] = answer
        try:
            async with asyncio.timeout(seconds):
                await self.send(request(number))
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._answers[number]

    def report_loss(self) -> None:
        """Reports the loss of a host that was lost before its start, as a later loss is reported."""
        self._on_lost(self, self.finished.result()[0])

    @property
    def is_done(self) -> bool:
        """Whether the host has finished and its connection is closed, so that there is nothing to stop."""
        return self.finished.done() and self._reader is not None and self._reader.done() and self._closed

    async def stop(self, reason: str) -> None:
        """Cancels what still runs on the host, waits up to 10 s for its end, and closes the connection."""
        if self._reader is None:  # nothing was sent
            await self._connection.close(finished=True)
            return
        if self.started and not self.finished.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS):
                    await self.send(node_pb2.HostRequest(cancel=node_pb2.Cancel(reason=reason)))
                    await asyncio.wait([self.finished])
        await self._connection.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async with contextlib.aclosing(self._connection.responses()) as responses:
                async for response in responses:
                    self.heard_at = asyncio.get_running_loop().time()
                    await self._take(response)
                    if self._closed:
                        return
            self.lose(server_lost(self.server, f"it left {'what it kept warm' if self.place.keep_warm else 'the run'}"))
        except LanemeshError as error:
            self.lose(error.fault)
        except Exception as error:  # an invalid frame must not stop the reader
            logger.exception("what the node server %s sent", self.server)
            self.lose(bad_server(self.server, f"it sent an invalid frame ({error})"))

    async def _take(self, response: node_pb2.HostResponse) -> None:
        match response.WhichOneof("frame"):
            case "update":
                await self._forward(response.update)
            case "placed":
                _settle(self.placed, response.placed.faults)
            case "connected" if self.placed.done():
                _settle(self.connected, response.connected.faults)
            case "probed":
                self._answered(response.probed.id, response.probed)
            case "detached":
                self._answered(response.detached.id, response.detached)
            case "stalled":
                self._on_stalled()
            case "finished":
                if not self.started:
                    raise LanemeshError(bad_server(self.server, "it sent `finished` before `start`"))
                _settle(self.finished, response.finished.faults or self._unended())
                self._answered()
                await self._connection.close(finished=True)
                self._closed = True

    async def _forward(self, update: update_pb2.Update) -> None:
        """Forwards an update if this host may send it; otherwise ignores it, with one warning."""
        violation = self._validator.violation(update)
        if not violation:
            await self._on_update(update)
        elif not self._warned:
            self._warned = True
            logger.warning(
                "run %s: the node server %s reported %s; this and further ones of that kind are ignored",
                *(self.place.run_id, self.server, violation),
            )

    def _unended(self) -> list[fault_pb2.Fault]:
        """The fault of a host that has finished without reporting the ends of all of its nodes."""
        not_ended = ", ".join(sorted(self._validator.not_ended))
        what = f"it finished without reporting how {not_ended} ended"
        return [bad_server(self.server, what).to_proto()] if not_ended else []

    def _answered(self, number: int | None = None, answer: Answer | None = None) -> None:
        """Resolves the pending request of a number, or all pending requests."""
        for request_number, waiting in self._answers.items():
            if number in (None, request_number) and not waiting.done():
                waiting.set_result(answer)

    def lose(self, fault: Fault) -> None:
        """Marks the host as lost: every pending answer becomes this fault."""
        components = ", ".join(instance.component for instance in self.place.instances)
        did = "kept warm" if self.place.keep_warm else "ran"
        message = f"{fault.message}; it {did} {components}" if components else fault.message
        fault = replace(fault.located(components=components, server=self.server), message=message)
        if not self.finished.done():
            self.lost_unstarted = not self.started
            if self.started:
                self._on_lost(self, fault)
        for answer in (self.placed, self.connected, self.finished):
            if not answer.done():
                answer.set_result([fault])
        self._answered()


def _settle(answer: asyncio.Future[list[Fault]], faults: Iterable[fault_pb2.Fault]) -> None:
    if not answer.done():
        answer.set_result([Fault.from_proto(fault) for fault in faults])


class UpdateValidator:
    """Validates the updates of one host."""

    def __init__(self, place: node_pb2.Place) -> None:
        """`place` is the request that the host got."""
        self._components = {instance.component for instance in place.instances}
        self._incoming = {edge.id for edge in place.edges if edge.consumer in self._components}
        self._controls = {
            control_edge_id(control.invoker, control.helper, control.class_type, control.name)
            for control in place.controls
        }
        self.not_ended = {instance.component for instance in place.instances if not instance.helper}
        """Components whose end the host has not reported yet."""

    def violation(self, update: update_pb2.Update) -> str:
        """A description of the violation by an update; empty if it is valid."""
        kind = update.WhichOneof("kind")
        match kind:
            case "node":
                return self._node_violation(update.node)
            case "trace" if update.trace.edge_id in self._controls:
                return ""
            case "edge" | "trace":
                edge = update.edge.edge_id if kind == "edge" else update.trace.edge_id
                return "" if edge in self._incoming else f'the edge "{edge}", which does not end there'
            case "approval" if update.approval.state not in FROM_COMPONENTS:
                return "the decision of an approval, which is not for it to send"
            case "progress" | "tool" | "log" | "helper" | "approval":
                return self._component_violation(getattr(update, kind).component)
            case _:
                return f"an update of the kind {kind or 'unknown'}, which it must not send"

    def _node_violation(self, node: update_pb2.NodeUpdate) -> str:
        if node.HasField("placement"):
            return "a placement, which is not for it to send"
        violation = self._component_violation(node.component)
        if not violation and node.state in ENDED:
            if node.component not in self.not_ended:
                return f'a further end of "{node.component}"'
            self.not_ended.discard(node.component)
        return violation

    def _component_violation(self, component: str) -> str:
        return "" if component in self._components else f'the component "{component}", which it does not host'
