"""What a socket owns and watches: runs whose updates it sends, and channels whose messages it sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

from lanemesh.channels.channels import Subscription
from lanemesh.client.run_reader import RunReader, wire_batches
from lanemesh.client.runs import Run
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import run_pb2
from starlette.websockets import WebSocketDisconnect

from lanemesh_orchestrator.gateway.websocket.sender import Sender
from lanemesh_orchestrator.reasons import Reason
from lanemesh_orchestrator.update_json import fault_json

MAX_STREAMS = 1_000
"""Most runs and channels that a socket owns or watches at once."""

log = logging.getLogger("lanemesh.gateway")

StreamKey = tuple[str, str]
"""Of a run ("run", id), of a channel (its name, the id of its run)."""


class Streams:
    """The streams of a socket, each sent by a task of its own."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._streams: dict[StreamKey, asyncio.Task[None]] = {}
        """Those whose end was not sent."""
        self._tasks: set[asyncio.Task[None]] = set()
        """The tasks of all, of which some may still send their end."""
        self._starting = 0
        """Requests whose streams begin when their runs have started, or their subscriptions are open."""
        self._owned: dict[str, Run] = {}
        self._subscriptions: set[Subscription] = set()

    def owned(self, run_id: str) -> Run | None:
        """A run that the socket owns; None if it owns none with this id."""
        return self._owned.get(run_id)

    def own(self, run: Run) -> None:
        """Makes the socket the owner of a run that has started: the run ends with it."""
        self._owned[run.id] = run

    def send_owned(self, run: Run) -> None:
        """Begins to send the updates of an own run. A client that does not read holds it. Raises LanemeshError as `send_run`."""
        self._open(("run", run.id), lambda: self._send_owned(run))

    def send_run(self, run: RunReader, run_id: str) -> None:
        """Begins to send the updates of a run, to the terminal one.

        Raises:
            LanemeshError: the socket has this stream ("already-watched"), or the most streams.
        """
        self._open(("run", run_id), lambda: self._send_watched(run_id, run))

    async def subscribe(self, subscription: Subscription, channel: str, run_id: str) -> None:
        """Opens a subscription, and begins to send its messages. Raises LanemeshError as `send_run`, or if it cannot be opened."""
        self._subscriptions.add(subscription)
        try:
            with self.reserved():
                await subscription.open()
            self._open((channel, run_id), lambda: self._send_messages(channel, run_id, subscription))
        except LanemeshError:
            await self._leave(subscription)
            raise

    async def end(self, key: StreamKey, why: str) -> None:
        """Ends a stream; an own run is cancelled. Raises LanemeshError ("not-watched") with `why` if the socket has none."""
        task = self._streams.pop(key, None)
        if task is None:
            raise LanemeshError(
                Fault(code=Code.NOT_FOUND, reason=Reason.NOT_WATCHED, message=f"{why}, or it has ended")
            )
        task.cancel()
        await asyncio.wait({task})

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Reserves the capacity for one stream, which is opened at the end. Raises LanemeshError if there is none."""
        self.check()
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def check(self) -> None:
        """Raises LanemeshError if the socket has the most streams."""
        if len(self._streams) + self._starting >= MAX_STREAMS:
            message = (
                f"this socket has {MAX_STREAMS:,} runs and channels, its maximum. End some, or open another socket"
            )
            raise LanemeshError(
                Fault(code=Code.RESOURCE_EXHAUSTED, reason=Reason.TOO_MANY_REQUESTS, message=message, retry_after=1.0)
            )

    async def close(self) -> None:
        """Ends all streams. Own runs are cancelled."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        for subscription in list(self._subscriptions):  # those whose sending had not begun
            await self._leave(subscription)
        for run in list(self._owned.values()):
            await run.close()

    async def _send_owned(self, run: Run) -> None:
        try:
            end = await self._send_updates(run.id, run)
        finally:
            await run.close()
            self._owned.pop(run.id, None)
        await self._send_end(("run", run.id), end)

    async def _send_watched(self, run_id: str, run: RunReader) -> None:
        await self._send_end(("run", run_id), await self._send_updates(run_id, run))

    async def _send_updates(self, run_id: str, run: RunReader) -> dict[str, Any]:
        """Sends the updates of a run, to the terminal one. A client that does not read holds a run of its own. Returns the message
        of the end of the stream."""
        end: dict[str, Any] = {"type": "end", "run_id": run_id}
        try:
            async with aclosing(wire_batches(run)) as batches:
                async for batch in batches:
                    if isinstance(batch, run_pb2.Gap):
                        gap = {"from": batch.from_sequence, "to": batch.to_sequence}
                        await self._sender.send({"type": "gap", "run_id": run_id, **gap})
                        continue
                    for entry in batch:
                        await self._sender.entry(run_id, entry)
                    del batch, entry  # a silent run does not hold them
                    await asyncio.sleep(0)  # sending to a client that is gone suspends nothing; this notices it
        except LanemeshError as error:
            if error.fault.reason != "nothing-left":
                end["error"] = fault_json(error.fault)
        return end

    async def _send_messages(self, channel: str, run_id: str, subscription: Subscription) -> None:
        place = {"channel": channel, **({"run_id": run_id} if run_id else {})}
        end: dict[str, Any] = {"type": "end", **place}
        dropped = 0
        try:
            async with aclosing(subscription.with_publishers()) as messages:
                async for publisher, message in messages:
                    lost = {"dropped": subscription.dropped - dropped} if subscription.dropped > dropped else {}
                    dropped = subscription.dropped
                    one = {"publisher": publisher, "message": message}
                    await self._sender.send({"type": "message", **place, **one, **lost})
        except LanemeshError as error:
            end["error"] = fault_json(error.fault)
        finally:
            await self._leave(subscription)
        await self._send_end((channel, run_id), end)

    async def _send_end(self, key: StreamKey, message: dict[str, Any]) -> None:
        """Sends the end of the stream of this task, which is forgotten before: the client may open it again at once."""
        if self._streams.get(key) is asyncio.current_task():
            del self._streams[key]
        await self._sender.send(message)

    async def _leave(self, subscription: Subscription) -> None:
        await subscription.close()
        self._subscriptions.discard(subscription)

    def _open(self, key: StreamKey, stream: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begins to send a stream. Raises LanemeshError if the socket has it."""
        if key in self._streams:
            message = "this socket has this stream already. End it first, or use another socket"
            raise LanemeshError(Fault(code=Code.ALREADY_EXISTS, reason=Reason.ALREADY_WATCHED, message=message))
        task = asyncio.create_task(stream(), name=f"stream {key}")
        self._streams[key] = task
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._ended(key, task))

    def _ended(self, key: StreamKey, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._streams.get(key) is task:
            del self._streams[key]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, WebSocketDisconnect):
            log.error("a stream over a WebSocket failed", exc_info=error)
