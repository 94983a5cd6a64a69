"""One host's part in a run, or in what is kept warm, as the orchestrator follows it."""

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

FINISH_SECONDS = 10.0
"""How long a node server may take to finish once a run was cancelled or has failed."""

logger = logging.getLogger("lanemesh.runs")

Answer = node_pb2.Probed | node_pb2.Detached
"""What a host answers to a question with a number."""


async def _ignore(update: update_pb2.Update) -> None:
    """What is kept warm has nothing to report."""


class HostHandle:
    """One host's part in a run, as the orchestrator follows it."""

    def __init__(
        self,
        server: str,
        connection: HostConnection,
        place: node_pb2.Place,
        on_update: Callable[[update_pb2.Update], Awaitable[None]] = _ignore,
        on_lost: Callable[[HostHandle, Fault], None] = lambda *_: None,
        on_stalled: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_update` and `on_stalled` get what the host reports, `on_lost` that it is lost after the start."""
        loop = asyncio.get_running_loop()
        self.server = server
        self.place = place
        self.placed: asyncio.Future[list[Fault]] = loop.create_future()
        self.connected: asyncio.Future[list[Fault]] = loop.create_future()
        self.finished: asyncio.Future[list[Fault]] = loop.create_future()
        self.started = False
        self.heard_at = loop.time()
        """When the host last gave a sign of life, in seconds of the event loop's clock."""
        self._validator = UpdateValidator(place)
        self._warned = False
        self._connection = connection
        self._on_update = on_update
        self._on_lost = on_lost
        self._on_stalled = on_stalled
        self._asked = 0
        self._answers: dict[int, asyncio.Future[Answer | None]] = {}
        self._pump: asyncio.Task[None] | None = None

    def start_listening(self) -> None:
        """Starts to receive the responses of the host."""
        self._pump = asyncio.create_task(self._listen(), name=f"host {self.server}")

    async def send(self, request: node_pb2.HostRequest) -> None:
        """Sends a frame, unless the host has finished. A host that is gone is noticed by who listens."""
        if self.finished.done():
            return
        try:
            await self._connection.send(request)
        except LanemeshError as error:
            self.lose(error.fault)

    async def probe(self, seconds: float) -> node_pb2.Probed | None:
        """What the actors there are doing; None if the host has finished or does not answer in time."""
        answer = await self._ask(lambda number: node_pb2.HostRequest(probe=node_pb2.Probe(id=number)), seconds)
        return answer if isinstance(answer, node_pb2.Probed) else None

    async def detach(self, edge_ids: Sequence[str], seconds: float) -> node_pb2.Detached | None:
        """Has the host let go of lanes whose other ends are lost. None if it has finished, is lost, or does not answer in time."""
        answer = await self._ask(
            lambda number: node_pb2.HostRequest(detach=node_pb2.Detach(id=number, edge_ids=edge_ids)), seconds
        )
        return answer if isinstance(answer, node_pb2.Detached) else None

    async def _ask(self, question: Callable[[int], node_pb2.HostRequest], seconds: float) -> Answer | None:
        if self.finished.done():
            return None
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._asked += 1
        number = self._asked
        self._answers[number] = answer
        try:
            async with asyncio.timeout(seconds):
                await self.send(question(number))
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._answers[number]

    async def stop(self, reason: str) -> None:
        """Cancels what still runs there, waits for its end within 10 s, and hangs up."""
        if self._pump is None:
            await self._connection.close()
            return
        if self.started and not self.finished.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS):
                    await self.send(node_pb2.HostRequest(cancel=node_pb2.Cancel(reason=reason)))
                    await asyncio.wait([self.finished])
        await self._connection.close()
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            async for response in self._connection.responses():
                self.heard_at = asyncio.get_running_loop().time()
                match response.WhichOneof("frame"):
                    case "update":
                        await self._pass_on(response.update)
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
                        await self._connection.close()
                        return
            self.lose(server_lost(self.server, f"it left {'what it kept warm' if self.place.keep_warm else 'the run'}"))
        except LanemeshError as error:
            self.lose(error.fault)
        except Exception as error:  # what a host sends must not stop who listens
            logger.exception("what the node server %s sent", self.server)
            self.lose(bad_server(self.server, f"it sent an invalid frame ({error})"))

    async def _pass_on(self, update: update_pb2.Update) -> None:
        """Passes an update on, unless it is not for this host to tell."""
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
        """The fault of a host that finishes, and has told nothing of the end of its nodes."""
        going = ", ".join(sorted(self._validator.going))
        what = f"it finished without reporting how {going} ended"
        return [bad_server(self.server, what).to_proto()] if going else []

    def _answered(self, number: int | None = None, answer: Answer | None = None) -> None:
        """Ends the wait for one answer, or for all."""
        for asked, waiting in self._answers.items():
            if number in (None, asked) and not waiting.done():
                waiting.set_result(answer)

    def lose(self, fault: Fault) -> None:
        """Every answer that is still awaited is that the server is gone."""
        components = ", ".join(instance.component for instance in self.place.instances)
        did = "kept warm" if self.place.keep_warm else "ran"
        message = f"{fault.message}; it {did} {components}" if components else fault.message
        fault = replace(fault.located(components=components, server=self.server), message=message)
        if self.started and not self.finished.done():
            self._on_lost(self, fault)
        for answer in (self.placed, self.connected, self.finished):
            if not answer.done():
                answer.set_result([fault])
        self._answered()


def _settle(answer: asyncio.Future[list[Fault]], faults: Iterable[fault_pb2.Fault]) -> None:
    if not answer.done():
        answer.set_result([Fault.from_proto(fault) for fault in faults])


class UpdateValidator:
    """Judges what one host tells."""

    def __init__(self, place: node_pb2.Place) -> None:
        """`place` is what it was given."""
        self._components = {instance.component for instance in place.instances}
        self._arriving = {edge.id for edge in place.edges if edge.consumer in self._components}
        self._controls = {
            control_edge_id(control.invoker, control.helper, control.class_type, control.name)
            for control in place.controls
        }
        self.going = {instance.component for instance in place.instances if not instance.helper}
        """Components whose end it has not told yet."""

    def violation(self, update: update_pb2.Update) -> str:
        """What is wrong with an update, in words; empty if it may be passed on."""
        kind = update.WhichOneof("kind")
        match kind:
            case "node":
                return self._flaw_of_node(update.node)
            case "trace" if update.trace.edge_id in self._controls:
                return ""
            case "edge" | "trace":
                edge = update.edge.edge_id if kind == "edge" else update.trace.edge_id
                return "" if edge in self._arriving else f'the edge "{edge}", which does not end there'
            case "progress" | "tool" | "log" | "helper":
                return self._flaw_of_component(getattr(update, kind).component)
            case _:
                return f"an update of the kind {kind or 'unknown'}, which it must not send"

    def _flaw_of_node(self, node: update_pb2.NodeUpdate) -> str:
        if node.HasField("placement"):
            return "a placement, which is not for it to send"
        violation = self._flaw_of_component(node.component)
        if not violation and node.state in ENDED:
            if node.component not in self.going:
                return f'a further end of "{node.component}"'
            self.going.discard(node.component)
        return violation

    def _flaw_of_component(self, component: str) -> str:
        return "" if component in self._components else f'the component "{component}", which it does not host'
