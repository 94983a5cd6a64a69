"""The broker of an orchestrator elsewhere, over gRPC."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from lanemesh._aio.signal import Signal
from lanemesh._aio.tasks import shielded
from lanemesh._grpc.connections import ConnectionPool
from lanemesh._grpc.status import fault_of
from lanemesh.channels.messages import Address, Message, Overflow, channel_fault, check_limit, check_name
from lanemesh.channels.subscriber import MAX_QUEUE_BYTES
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import channel_pb2, channel_pb2_grpc

CALL_SECONDS = 20.0
"""Time limit of a call; a publisher waits at most 5 s of it for slow subscribers."""
SUBSCRIBE_SECONDS = 10.0
"""Time limit for the registration of a subscription."""
ACKNOWLEDGE_SECONDS = 0.05
"""Maximum time before a taken message is acknowledged; sooner if half the limit was taken."""


@dataclass(slots=True)
class _Turn:
    """Of the messages of one publisher one is under way at a time, since calls can overtake one another."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class RemoteChannels:
    """The way to the broker of the orchestrator at "host:port"."""

    def __init__(self, pool: ConnectionPool, address: str) -> None:
        """`pool` has the connections; its owner closes it."""
        self._pool = pool
        self._orchestrator = address
        self._turns: dict[tuple[Address, str], _Turn] = {}

    async def publish(self, address: Address, message: Message) -> int:
        """Delivers a message to every subscriber. A publisher that is cancelled meanwhile has published."""
        check_name(address)
        publisher = (address, message.publisher)
        turn = self._turns.setdefault(publisher, _Turn())
        turn.users += 1
        try:
            await turn.lock.acquire()
        except BaseException:
            self._leave(publisher, turn)
            raise
        answer: list[int] = []
        await shielded(self._publish(publisher, turn, message, answer))
        return answer[0]

    async def _publish(self, publisher: tuple[Address, str], turn: _Turn, message: Message, answer: list[int]) -> None:
        address, name = publisher
        try:
            wire = channel_pb2.ChannelMessage(value_json=message.value, publisher=name)
            request = channel_pb2.PublishRequest(channel=address.wire, message=wire)
            response = await self._call(address, "publishing", self._stub().Publish(request, timeout=CALL_SECONDS))
            answer.append(response.subscribers)
        finally:
            turn.lock.release()
            self._leave(publisher, turn)

    def _leave(self, publisher: tuple[Address, str], turn: _Turn) -> None:
        turn.users -= 1
        if not turn.users:
            del self._turns[publisher]

    async def subscribe(self, address: Address, name: str, overflow: Overflow, limit: int) -> RemoteSubscription:
        """Subscribes; registered when it returns."""
        check_name(address)
        check_limit(address, limit)
        subscription = RemoteSubscription(self._pool, self._orchestrator, address, overflow, limit)
        try:
            await subscription.begin(name)
        except BaseException:
            await subscription.leave()
            raise
        return subscription

    async def close(self, address: Address) -> None:
        """Closes a channel."""
        check_name(address)
        request = channel_pb2.CloseChannelRequest(channel=address.wire)
        await self._call(address, "closing", self._stub().CloseChannel(request, timeout=CALL_SECONDS))

    def _stub(self) -> channel_pb2_grpc.ChannelServiceAsyncStub:
        stub: channel_pb2_grpc.ChannelServiceAsyncStub = channel_pb2_grpc.ChannelServiceStub(
            self._pool.channel(self._orchestrator)
        )
        return stub

    async def _call(self, address: Address, what: str, call: Any) -> Any:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise LanemeshError(broken(address, self._orchestrator, what, error)) from None


class RemoteSubscription:
    """One subscription over one `Subscribe` call.

    A task reads the stream, because cancelling a read would end it. A subscriber that drops the oldest messages drops them here:
    everything is read at once. For a subscriber that loses nothing, the orchestrator sends no more than its limit, and gets
    acknowledgements.
    """

    def __init__(
        self, pool: ConnectionPool, orchestrator: str, address: Address, overflow: Overflow, limit: int
    ) -> None:
        self._pool = pool
        self._orchestrator = orchestrator
        self._address = address
        self._overflow = overflow
        self._limit = limit
        self._connection = pool.acquire(orchestrator)
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._id = ""
        self._queue: deque[Message] = deque()
        self._queue_bytes = 0
        self._dropped_there = 0
        self._lost_here = 0
        self._taken = 0
        self._acknowledged = 0
        self._telling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        self._fault: Fault | None = None
        self._left = False
        self._changes = Signal()

    @property
    def dropped(self) -> int:
        """Messages that were dropped."""
        return self._dropped_there + self._lost_here

    @property
    def waiting_count(self) -> int:
        """How many messages are here."""
        return len(self._queue)

    async def begin(self, name: str) -> None:
        """Calls, and waits until it is registered. Raises LanemeshError if it is refused or not answered within 10 s."""
        request = channel_pb2.SubscribeRequest(
            channel=self._address.wire,
            subscriber=name,
            limit=self._limit,
            overflow=self._overflow.wire,
            acknowledges=self._overflow is Overflow.BLOCK,
        )
        self._call = channel_pb2_grpc.ChannelServiceStub(self._connection).Subscribe(request)
        self._reader = asyncio.create_task(self._read(), name=f"channel {self._address.name}")
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                while not self._id and not self._over:
                    await self._changes.wait()
        except TimeoutError:
            what = (
                f"the orchestrator at {self._orchestrator} did not answer a subscriber within {SUBSCRIBE_SECONDS:g} s"
            )
            raise LanemeshError(
                channel_fault(Code.DEADLINE_EXCEEDED, "subscribe-timeout", self._address, what)
            ) from None
        if self._fault is not None and not self._id:
            raise LanemeshError(self._fault)

    def take(self) -> Message | None:
        """The next message, if one is here."""
        if not self._queue:
            return None
        message = self._queue.popleft()
        self._queue_bytes -= message.size
        self._taken += 1
        if self._overflow is Overflow.BLOCK and not self._over:
            if (self._taken - self._acknowledged) * 2 >= self._limit:
                self._begin_acknowledging()
            elif self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(ACKNOWLEDGE_SECONDS, self._begin_acknowledging)
        return message

    def is_over(self) -> bool:
        """No more messages follow. Raises LanemeshError if it was too slow, or its call broke."""
        if self._queue or not self._over:
            return False
        if self._fault is not None and not self._left:
            raise LanemeshError(self._fault)
        return True

    async def changed(self) -> None:
        """Waits until a message is available or no more follow."""
        while not self._queue and not self._over:
            await self._changes.wait()

    async def leave(self) -> None:
        """Hangs up."""
        if self._left:
            return
        self._left = self._over = True
        self._queue.clear()
        self._cancel_timer()
        if self._call is not None:
            self._call.cancel()
        if self._telling is not None:
            self._telling.cancel()  # its response is not needed, and may be late
        tasks = [task for task in (self._reader, self._telling) if task is not None]
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._pool.release(self._connection)
            self._changes.fire()

    async def _read(self) -> None:
        call = self._call
        try:
            while isinstance(response := await call.read(), channel_pb2.SubscribeResponse):
                self._dropped_there = response.dropped
                match response.WhichOneof("frame"):
                    case "subscribed":
                        self._id = response.subscribed.subscription_id
                    case "message":
                        self._put(response.message)
                    case "closed":
                        if response.closed.HasField("fault"):
                            self._fault = Fault.from_proto(response.closed.fault)
                        self._over = True
                self._changes.fire()
            code = await call.code()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            code = await call.code()
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
        if not self._over:
            error = grpc.aio.AioRpcError(
                code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
            )
            self._fault = broken(self._address, self._orchestrator, "subscription", error)
            self._over = True
        self._cancel_timer()
        self._changes.fire()

    def _put(self, wire: channel_pb2.ChannelMessage) -> None:
        message = Message(wire.value_json, wire.publisher, len(wire.value_json))
        if self._overflow is Overflow.DROP_OLDEST:
            queue = self._queue
            while queue and (len(queue) >= self._limit or self._queue_bytes + message.size > MAX_QUEUE_BYTES):
                self._queue_bytes -= queue.popleft().size
                self._lost_here += 1
        self._queue.append(message)
        self._queue_bytes += message.size

    def _begin_acknowledging(self) -> None:
        """Begins to acknowledge taken messages, unless that is in progress."""
        self._cancel_timer()
        if self._telling is None and not self._over:
            self._telling = asyncio.create_task(self._acknowledge(), name=f"channel {self._address.name} taken")

    async def _acknowledge(self) -> None:
        stub = channel_pb2_grpc.ChannelServiceStub(self._connection)
        try:
            while self._acknowledged < self._taken and not self._over:
                taken = self._taken
                request = channel_pb2.AcknowledgeRequest(subscription_id=self._id, taken=taken)
                try:
                    await stub.Acknowledge(request, timeout=CALL_SECONDS)
                    self._acknowledged = taken
                except grpc.aio.AioRpcError:  # the reader gets the error too, if the connection broke
                    await asyncio.sleep(ACKNOWLEDGE_SECONDS)
        finally:
            self._telling = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def broken(address: Address, orchestrator: str, what: str, error: grpc.aio.AioRpcError) -> Fault:
    """The fault of a failed call: the orchestrator's own, or that it cannot be reached."""
    fault = fault_of(error)
    if fault is not None:
        return fault
    code = Code(error.code().value[0])
    why = f"the {what} broke: the orchestrator at {orchestrator} answered {code.name}: {error.details() or 'no reason given'}"
    if code is Code.UNIMPLEMENTED:
        why = f"the orchestrator at {orchestrator} has no channels; install the same version of lanemesh on both"
    return channel_fault(code, "channel-unreachable", address, why)
