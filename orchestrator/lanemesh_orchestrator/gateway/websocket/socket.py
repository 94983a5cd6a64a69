"""One WebSocket: its requests, each answered by a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import run_pb2
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from lanemesh_orchestrator.gateway.api.values import inputs_of
from lanemesh_orchestrator.gateway.gateway import check_documents, conversation_of, gateway_of
from lanemesh_orchestrator.gateway.guard.tokens import SUBPROTOCOL
from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.gateway.off_loop import off_loop
from lanemesh_orchestrator.gateway.websocket import requests
from lanemesh_orchestrator.gateway.websocket.orders import Orders, order_of
from lanemesh_orchestrator.gateway.websocket.receiver import BadMessage, Receiver
from lanemesh_orchestrator.gateway.websocket.sender import Sender
from lanemesh_orchestrator.gateway.websocket.streams import Streams
from lanemesh_orchestrator.reasons import Reason

MAX_REQUESTS = 64
"""Most requests of a socket that wait for runs and subscribers, and most others that are answered at once. Further ones of the
first kind are refused, so that they do not keep the others from being read. Those of the second kind wait unread."""
MAX_ENDS = 64
"""Most ends of inputs that wait besides them."""
PROTOCOL = "lanemesh"
"""The subprotocol that the gateway selects if the client offers any."""

log = logging.getLogger("lanemesh.gateway")


class Application:
    """The endpoint as an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a client until it is gone. Its own runs are cancelled then."""
        await serve(WebSocket(scope, receive, send))


async def serve(socket: WebSocket) -> None:
    """Serves a client until it is gone. Its own runs are cancelled then."""
    offered = socket.scope.get("subprotocols") or []
    chosen = next((one for one in offered if one == PROTOCOL or one.startswith(SUBPROTOCOL)), None)
    await socket.accept(chosen)
    await Socket(socket).serve()


class Socket:
    """A client over a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._mesh = gateway_of(socket).mesh
        self._sender = Sender(socket)
        self._receiver = Receiver(socket, gateway_of(socket).options.max_body)
        self._streams = Streams(self._sender)
        self._pending: set[asyncio.Task[None]] = set()
        self._waiting = 0
        """Requests that may wait for any time."""
        self._capacity = asyncio.Semaphore(MAX_REQUESTS)
        self._orders = Orders()

    async def serve(self) -> None:
        """Reads requests until the client is gone."""
        try:
            while True:
                request = await self._receive()
                if request is not None:
                    await self._accept(*request)
                del request  # an idle socket does not hold it
        except WebSocketDisconnect:
            pass
        finally:
            await self._close()

    async def _receive(self) -> tuple[requests.Request, list[bytes]] | None:
        """The next request with its binary frames; None if it is invalid, which is reported."""
        try:
            return await self._receiver.receive()
        except BadMessage as error:
            await self._sender.error(error.request_id, error)
            return None

    async def _accept(self, request: requests.Request, frames: list[bytes]) -> None:
        """Begins to answer a request, or refuses it."""
        if not requests.may_wait(request):
            await self._capacity.acquire()
            self._begin(request, frames, self._capacity.release)
            return
        limit = MAX_REQUESTS + (MAX_ENDS if requests.only_ends(request) else 0)
        if self._waiting >= limit:
            await asyncio.sleep(0)  # those that need not wait are answered now
        if self._waiting >= limit:
            message = (
                f"{self._waiting} requests of this socket wait for their runs and subscribers, its maximum. This one was not "
                "carried out. Send it again after the reply to an earlier one"
            )
            await self._sender.error(
                request.id,
                LanemeshError(
                    Fault(code=Code.RESOURCE_EXHAUSTED, reason=Reason.TOO_MANY_WAIT, message=message, retry_after=1.0)
                ),
            )
            return
        self._waiting += 1
        self._begin(request, frames, self._waited)

    def _waited(self) -> None:
        self._waiting -= 1

    def _begin(self, request: requests.Request, frames: list[bytes], ended: Callable[[], None]) -> None:
        task = asyncio.create_task(self._answer(request, frames), name=f"request {request.type}")
        self._pending.add(task)
        task.add_done_callback(partial(self._answered, ended))

    def _answered(self, ended: Callable[[], None], task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        ended()
        if not task.cancelled() and task.exception() is not None:
            log.error("a request over a WebSocket failed", exc_info=task.exception())

    async def _answer(self, request: requests.Request, frames: list[bytes]) -> None:
        """Answers a request: by `ok`, `started` or `pong`, or by `error`."""
        try:
            async with self._orders.turn(order_of(request)):
                reply = await self._act(request, frames)
            if reply is not None:
                await self._sender.send({"type": "ok", "id": request.id, **reply})
        except WebSocketDisconnect:
            pass
        except Exception as error:
            fault = error.fault if isinstance(error, LanemeshError) else _internal(request, error)
            with contextlib.suppress(WebSocketDisconnect):
                await self._sender.error(request.id, LanemeshError(fault))

    async def _act(self, request: requests.Request, frames: list[bytes]) -> dict[str, Any] | None:
        """Does what a request wants. Returns the fields of its reply; None if it has replied."""
        match request:
            case requests.Start():
                await self._start(request, frames)
                return None
            case requests.Input():
                given = await self._inputs(
                    request.size, request.value, request.values, ("value", "values"), frames, request.port
                )
                if not given and not request.end:
                    raise invalid("", 'give "value", "values" or "end"', "missing-field")
                run = self._streams.owned(request.run_id) or self._mesh.attach(request.run_id)
                for one in given:
                    await run.push(one)
                if request.end:
                    await run.end_input()
                return {"taken": len(given)}
            case requests.Cancel():
                await (self._streams.owned(request.run_id) or self._mesh.attach(request.run_id)).cancel(request.reason)
            case requests.Approve():
                await self._mesh.approve(request.run_id, request.call_id, component=request.component)
            case requests.Refuse():
                await self._mesh.refuse(request.run_id, request.call_id, request.reason, component=request.component)
            case requests.Watch():
                await self._mesh.record(request.run_id)
                run = self._mesh.attach(request.run_id, request.after + 1)
                self._streams.check()
                self._streams.send_run(run, request.run_id)
            case requests.Unwatch():
                await self._streams.end(("run", request.run_id), "this socket does not watch the run")
            case requests.Subscribe():
                await self._subscribe(request)
            case requests.Unsubscribe():
                await self._streams.end(
                    (request.channel, request.run_id), "this socket does not subscribe to the channel"
                )
            case requests.Publish():
                channels = self._mesh.channels(request.run_id)
                return {"subscribers": await channels.publish(request.channel, request.message)}
            case requests.Ping():
                await self._sender.send({"type": "pong", "id": request.id})
                return None
        return {}

    async def _start(self, request: requests.Start, frames: list[bytes]) -> None:
        check_documents(self._socket, request.pipeline, request.settings)
        given = await self._inputs(request.size, request.input, request.inputs, ("input", "inputs"), frames)
        session = conversation_of(self._socket, request.session) or ""
        options: dict[str, Any] = {
            "inputs": given or None,
            "open_input": request.open_input,
            "settings": request.settings,
            "timeout": request.timeout,
            "trace": request.trace,
            "variables": request.variables,
            "source": request.source,
            "session": session,
        }
        if request.detached and not request.watch:
            unwatched = await self._mesh.start(request.pipeline, **options)
            await self._sender.send({"type": "started", "id": request.id, "run_id": unwatched.id})
            return
        with self._streams.reserved():
            await self._start_stream(request, options)

    async def _start_stream(self, request: requests.Start, options: dict[str, Any]) -> None:
        """Starts a run whose updates follow."""
        if request.detached:
            detached = await self._mesh.start(request.pipeline, **options)
            await self._sender.send({"type": "started", "id": request.id, "run_id": detached.id})
            self._streams.send_run(detached, detached.id)
            return
        run = self._mesh.run(request.pipeline, **options)
        await run.start()
        self._streams.own(run)
        await self._sender.send({"type": "started", "id": request.id, "run_id": run.id})
        self._streams.send_owned(run)

    async def _subscribe(self, request: requests.Subscribe) -> None:
        if not request.run_id and not request.channel.startswith("mesh:"):
            raise invalid("/channel", 'channels of the mesh begin with "mesh:"; for those of a run, give "run_id"')
        # a client that does not read delays no publisher
        subscription = self._mesh.channels(request.run_id).subscribe(request.channel, overflow="drop_oldest")
        await self._streams.subscribe(subscription, request.channel, request.run_id)

    async def _inputs(
        self,
        size: int,
        one: Any,
        many: list[Any] | None,
        names: tuple[str, str],
        frames: list[bytes],
        port: str = "",
    ) -> list[run_pb2.RunInput]:
        return await off_loop(size + sum(map(len, frames)), _inputs_of, one, many, names, frames, port)

    async def _close(self) -> None:
        """Ends what the socket began; its own runs are cancelled."""
        for task in self._pending:
            task.cancel()
        if self._pending:
            await asyncio.wait(set(self._pending))
        await self._streams.close()
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close()


def _inputs_of(
    one: Any, many: list[Any] | None, names: tuple[str, str], frames: list[bytes], port: str
) -> list[run_pb2.RunInput]:
    if frames:
        taken: set[int] = set()
        one = requests.with_frames(one, frames, f"/{names[0]}", taken)
        many = requests.with_frames(many, frames, f"/{names[1]}", taken)
    return inputs_of(one, many, names, port)


def _internal(request: requests.Request, error: Exception) -> Fault:
    log.error("a request %s over a WebSocket failed", request.type, exc_info=error)
    return Fault(code=Code.INTERNAL, reason="internal", message="the gateway failed; its log has the cause")
