"""One WebSocket: its requests, the runs that it owns, and what it watches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

from lanemesh.channels.channels import Subscription
from lanemesh.client.runs import Run, RunReader, wire_batches
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import run_pb2
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from lanemesh_orchestrator.gateway.api.values import inputs_of
from lanemesh_orchestrator.gateway.gateway import check_documents, conversation_of, gateway_of
from lanemesh_orchestrator.gateway.guard.tokens import SUBPROTOCOL
from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.gateway.websocket import requests
from lanemesh_orchestrator.gateway.websocket.orders import Orders, order_of
from lanemesh_orchestrator.gateway.websocket.receiver import BadMessage, Receiver
from lanemesh_orchestrator.gateway.websocket.sender import Sender
from lanemesh_orchestrator.reasons import Reason
from lanemesh_orchestrator.update_json import fault_json

MAX_REQUESTS = 64
"""Most requests of a socket that are answered at once; further ones wait unread."""
MAX_STREAMS = 1_000
"""Most runs and channels that a socket owns or watches at once."""
PROTOCOL = "lanemesh"
"""The subprotocol that the gateway selects if the client offers any."""

log = logging.getLogger("lanemesh.gateway")

StreamKey = tuple[str, str]
"""Of a run ("run", id), of a channel (its name, the id of its run)."""


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
        self._streams: dict[StreamKey, asyncio.Task[None]] = {}
        self._starting = 0
        """Requests whose streams begin when their runs have started, or their subscriptions are open."""
        self._owned: dict[str, Run] = {}
        self._subscriptions: set[Subscription] = set()
        self._pending: set[asyncio.Task[None]] = set()
        self._capacity = asyncio.Semaphore(MAX_REQUESTS)
        self._orders = Orders()

    async def serve(self) -> None:
        """Reads requests until the client is gone."""
        try:
            while True:
                request = await self._receive()
                if request is not None:
                    await self._capacity.acquire()
                    self._begin(*request)
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

    def _begin(self, request: requests.Request, frames: list[bytes]) -> None:
        task = asyncio.create_task(self._answer(request, frames), name=f"request {request.type}")
        self._pending.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        self._capacity.release()
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
                given = self._inputs(request.value, request.values, ("value", "values"), frames, request.port)
                if not given and not request.end:
                    raise invalid("", 'give "value", "values" or "end"', "missing-field")
                run = self._owned.get(request.run_id) or self._mesh.attach(request.run_id)
                for one in given:
                    await run.push(one)
                if request.end:
                    await run.end_input()
                return {"taken": len(given)}
            case requests.Cancel():
                await (self._owned.get(request.run_id) or self._mesh.attach(request.run_id)).cancel(request.reason)
            case requests.Approve():
                await self._mesh.approve(request.run_id, request.call_id, component=request.component)
            case requests.Refuse():
                await self._mesh.refuse(request.run_id, request.call_id, request.reason, component=request.component)
            case requests.Watch():
                await self._mesh.record(request.run_id)
                run = self._mesh.attach(request.run_id, request.after + 1)
                self._check_streams()
                self._open(("run", request.run_id), lambda: self._send_updates(request.run_id, run))
            case requests.Unwatch():
                await self._end(("run", request.run_id), "this socket does not watch the run")
            case requests.Subscribe():
                await self._subscribe(request)
            case requests.Unsubscribe():
                await self._end((request.channel, request.run_id), "this socket does not subscribe to the channel")
            case requests.Publish():
                channels = self._mesh.channels(request.run_id)
                return {"subscribers": await channels.publish(request.channel, request.message)}
            case requests.Ping():
                await self._sender.send({"type": "pong", "id": request.id})
                return None
        return {}

    async def _start(self, request: requests.Start, frames: list[bytes]) -> None:
        check_documents(self._socket, request.pipeline, request.settings)
        given = self._inputs(request.input, request.inputs, ("input", "inputs"), frames)
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
        with self._reserved():
            await self._start_stream(request, options)

    async def _start_stream(self, request: requests.Start, options: dict[str, Any]) -> None:
        """Starts a run whose updates follow."""
        if request.detached:
            detached = await self._mesh.start(request.pipeline, **options)
            await self._sender.send({"type": "started", "id": request.id, "run_id": detached.id})
            self._open(("run", detached.id), lambda: self._send_updates(detached.id, detached))
            return
        run = self._mesh.run(request.pipeline, **options)
        await run.start()
        self._owned[run.id] = run
        await self._sender.send({"type": "started", "id": request.id, "run_id": run.id})
        self._open(("run", run.id), lambda: self._send_owned(run))

    def _inputs(
        self, one: Any, many: list[Any] | None, names: tuple[str, str], frames: list[bytes], port: str = ""
    ) -> list[run_pb2.RunInput]:
        if frames:
            one = requests.with_frames(one, frames, f"/{names[0]}")
            many = requests.with_frames(many, frames, f"/{names[1]}")
        return inputs_of(one, many, names, port)

    async def _send_owned(self, run: Run) -> None:
        try:
            await self._send_updates(run.id, run)
        finally:
            await run.close()
            self._owned.pop(run.id, None)

    async def _send_updates(self, run_id: str, run: RunReader) -> None:
        """Sends the updates of a run, to the terminal one. A client that does not read holds a run of its own."""
        try:
            async with aclosing(wire_batches(run)) as batches:
                async for batch in batches:
                    if isinstance(batch, run_pb2.Gap):
                        gap = {"from": batch.from_sequence, "to": batch.to_sequence}
                        await self._sender.send({"type": "gap", "run_id": run_id, **gap})
                        continue
                    for entry in batch:
                        await self._sender.entry(run_id, entry)
                    await asyncio.sleep(0)  # sending to a client that is gone suspends nothing; this notices it
            await self._sender.send({"type": "end", "run_id": run_id})
        except LanemeshError as error:
            message: dict[str, Any] = {"type": "end", "run_id": run_id}
            if error.fault.reason != "nothing-left":
                message["error"] = fault_json(error.fault)
            await self._sender.send(message)

    async def _subscribe(self, request: requests.Subscribe) -> None:
        if not request.run_id and not request.channel.startswith("mesh:"):
            raise invalid("/channel", 'channels of the mesh begin with "mesh:"; for those of a run, give "run_id"')
        # a client that does not read delays no publisher
        subscription = self._mesh.channels(request.run_id).subscribe(request.channel, overflow="drop_oldest")
        self._subscriptions.add(subscription)
        try:
            with self._reserved():
                await subscription.open()
            self._open((request.channel, request.run_id), lambda: self._send_messages(request, subscription))
        except LanemeshError:
            await self._leave(subscription)
            raise

    async def _send_messages(self, request: requests.Subscribe, subscription: Subscription) -> None:
        place = {"channel": request.channel, **({"run_id": request.run_id} if request.run_id else {})}
        dropped = 0
        try:
            async with aclosing(subscription.with_publishers()) as messages:
                async for publisher, message in messages:
                    lost = {"dropped": subscription.dropped - dropped} if subscription.dropped > dropped else {}
                    dropped = subscription.dropped
                    one = {"publisher": publisher, "message": message}
                    await self._sender.send({"type": "message", **place, **one, **lost})
            await self._sender.send({"type": "end", **place})
        except LanemeshError as error:
            await self._sender.send({"type": "end", **place, "error": fault_json(error.fault)})
        finally:
            await self._leave(subscription)

    async def _leave(self, subscription: Subscription) -> None:
        await subscription.close()
        self._subscriptions.discard(subscription)

    @contextlib.contextmanager
    def _reserved(self) -> Iterator[None]:
        """Reserves the capacity for one stream, which is opened at the end. Raises LanemeshError if there is none."""
        self._check_streams()
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def _check_streams(self) -> None:
        if len(self._streams) + self._starting >= MAX_STREAMS:
            message = (
                f"this socket has {MAX_STREAMS:,} runs and channels, its maximum. End some, or open another socket"
            )
            raise LanemeshError(
                Fault(code=Code.RESOURCE_EXHAUSTED, reason=Reason.TOO_MANY_REQUESTS, message=message, retry_after=1.0)
            )

    def _open(self, key: StreamKey, stream: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begins to send a stream. Raises LanemeshError if the socket has it."""
        if key in self._streams:
            message = "this socket has this stream already. End it first, or use another socket"
            raise LanemeshError(Fault(code=Code.ALREADY_EXISTS, reason=Reason.ALREADY_WATCHED, message=message))
        task = asyncio.create_task(stream(), name=f"stream {key}")
        self._streams[key] = task
        task.add_done_callback(lambda _: self._ended(key, task))

    def _ended(self, key: StreamKey, task: asyncio.Task[None]) -> None:
        if self._streams.get(key) is task:
            del self._streams[key]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, WebSocketDisconnect):
            log.error("a stream over a WebSocket failed", exc_info=error)

    async def _end(self, key: StreamKey, why: str) -> None:
        task = self._streams.pop(key, None)
        if task is None:
            raise LanemeshError(
                Fault(code=Code.NOT_FOUND, reason=Reason.NOT_WATCHED, message=f"{why}, or it has ended")
            )
        task.cancel()
        await asyncio.wait({task})

    async def _close(self) -> None:
        """Ends what the socket began; its own runs are cancelled."""
        tasks = {*self._pending, *self._streams.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for subscription in list(self._subscriptions):  # those whose sending had not begun
            await self._leave(subscription)
        for run in list(self._owned.values()):
            await run.close()
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close()


def _internal(request: requests.Request, error: Exception) -> Fault:
    log.error("a request %s over a WebSocket failed", request.type, exc_info=error)
    return Fault(code=Code.INTERNAL, reason="internal", message="the gateway failed; its log has the cause")
