"""A node server of level L0 without the SDK: gRPC, the stubs, and the rules of docs/protocol.md. It has no feature."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from lanemesh.v1 import fault_pb2, lane_pb2, node_pb2, node_pb2_grpc, update_pb2

Fault = fault_pb2.Fault
Up, Down = lane_pb2.ExchangeResponse, lane_pb2.ExchangeRequest
INVALID, NOT_FOUND, EXISTS, UNMET = 3, 5, 6, 9
LANE_BROKEN = "lane-broken"
ENDED = (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What gRPC raises of a call that has ended."""
OPTIONS = [
    *(("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000), ("grpc.http2.bdp_probe", 0)),
    *(("grpc.http2.lookahead_bytes", 256 * 1024), ("grpc.http2.min_ping_interval_without_data_ms", 5_000)),
    *(("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)),
]


def fault(code: int, reason: str, message: str, *, secondary: bool = False, **details: str) -> Fault:
    return Fault(code=code, reason=reason, message=message, secondary=secondary, details=details)


def consequence(cause: Fault) -> Fault:
    made = Fault()
    made.CopyFrom(cause)
    made.secondary = True
    return made


class Failed(Exception):
    """A node fails with this fault."""

    def __init__(self, cause: Fault) -> None:
        super().__init__(cause.message)
        self.fault = cause


class Refused(Exception):
    """The other end of a lane broke the protocol."""


class Input:
    """What all edges of one input have brought, in the order of arrival."""

    def __init__(self) -> None:
        self.edges: list[Edge] = []
        self.waiting: deque[tuple[Edge, lane_pb2.Item]] = deque()
        self.news = asyncio.Condition()

    async def next(self) -> lane_pb2.Item | None:
        """The next item; None at the end. Raises Failed where an edge has ended with a fault."""
        async with self.news:
            await self.news.wait_for(lambda: self.waiting or all(edge.ended for edge in self.edges))
            if self.waiting:
                edge, item = self.waiting.popleft()
                edge.taken += 1
                edge.held -= item.ByteSize() + 16
                self.news.notify_all()
                return item
        broken = next((edge.fault for edge in self.edges if edge.fault is not None), None)
        if broken is not None:
            raise Failed(consequence(broken))
        return None

    async def stop(self, cause: Fault | None) -> None:
        async with self.news:
            for edge in self.edges:
                if not edge.stopped:
                    edge.stopped, edge.stop_fault = True, cause
                    edge.taken, edge.held = edge.arrived, 0
            self.waiting.clear()
            self.news.notify_all()


class Edge:
    """The consumer's end of a lane."""

    def __init__(self, spec: node_pb2.Edge, port: Input) -> None:
        self.spec, self.port = spec, port
        self.arrived = self.taken = self.reported = self.held = 0
        self.opened = self.ended = self.stopped = False
        self.fault: Fault | None = None
        self.stop_fault: Fault | None = None
        port.edges.append(self)

    @property
    def limit(self) -> int:
        return max(1, self.spec.limit_items)

    async def put(self, items: Sequence[lane_pb2.Item]) -> None:
        async with self.port.news:
            self.arrived += len(items)
            if self.stopped:
                self.taken = self.arrived
            else:
                self.held += sum(item.ByteSize() + 16 for item in items)
                self.port.waiting.extend((self, item) for item in items)
            self.port.news.notify_all()

    async def end(self, cause: Fault | None) -> None:
        async with self.port.news:
            if not self.ended:
                self.ended, self.fault = True, cause
            self.port.news.notify_all()

    async def serve(self, context: Any, cancelling: Callable[[], bool]) -> None:
        """Takes the lane from `accepted` to its status."""
        await context.write(Up(accepted=lane_pb2.LaneAccepted(limit_items=self.limit)))
        granting = asyncio.create_task(self._grant(context))
        try:
            await self._read(context, cancelling)
            async with self.port.news:
                await self.port.news.wait_for(lambda: self.taken >= self.arrived)
        except (Refused, DecodeError) as error:
            granting.cancel()
            await asyncio.wait([granting])
            cause = fault(INVALID, LANE_BROKEN, str(error), secondary=True, lane=self.spec.id)
            await self.end(cause)
            await context.write(Up(stop=lane_pb2.LaneStop(reason=str(error), fault=cause)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    while await context.read() is not grpc.aio.EOF:
                        pass
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except asyncio.CancelledError:
            code = 1 if cancelling() else 14
            await self.end(fault(code, LANE_BROKEN, "the call broke", secondary=True, lane=self.spec.id))
            raise
        finally:
            granting.cancel()

    async def _read(self, context: Any, cancelling: Callable[[], bool]) -> None:
        chunks = bytearray()
        while isinstance(frame := await context.read(), Down):
            match frame.WhichOneof("frame"):
                case "items":
                    if self.ended:
                        raise Refused("items after the end")
                    if self.arrived - self.taken + len(frame.items.items) > self.limit:
                        raise Refused("more items than the window")
                    for item in frame.items.items:
                        _check(item, chunks)
                    await self.put(frame.items.items)
                    async with self.port.news:
                        await self.port.news.wait_for(lambda: self.held < self.spec.limit_bytes or self.stopped)
                case "chunk":
                    chunks += frame.chunk.content
                case "end" if not self.ended:
                    if chunks and not frame.end.outcome.code:
                        raise Refused("the end came after chunks")
                    await self._take_end(frame.end)
                case "open":
                    raise Refused("a second open")
        if not self.ended:
            await asyncio.sleep(0.5)
            code = 1 if cancelling() else 15
            await self.end(fault(code, LANE_BROKEN, "no end came", secondary=True, lane=self.spec.id))

    async def _take_end(self, end: lane_pb2.LaneEnd) -> None:
        if end.outcome.code:
            await self.end(consequence(end.outcome))
        elif end.item_count != self.arrived:
            message = f"{self.arrived} of {end.item_count} items came"
            await self.end(fault(15, LANE_BROKEN, message, secondary=True, lane=self.spec.id))
        else:
            await self.end(None)

    @property
    def has_news(self) -> bool:
        """There is something to report to the producer."""
        return self.stopped or self.taken > self.reported

    @property
    def is_due(self) -> bool:
        """Half a window was taken, or the producer is out of credit."""
        return self.taken - self.reported >= max(1, self.limit // 2) or self.arrived - self.reported >= self.limit

    async def _grant(self, context: Any) -> None:
        while True:
            async with self.port.news:
                await self.port.news.wait_for(lambda: self.has_news)
                if not self.stopped and not self.is_due:
                    await self.port.news.wait()
                    continue
                stops, self.reported = self.stopped, self.taken
            if self.ended:
                return
            if stops:
                await context.write(Up(stop=lane_pb2.LaneStop(reason="enough", fault=self.stop_fault)))
                return
            await context.write(Up(credit=lane_pb2.LaneCredit(taken_items=self.reported, limit_items=self.limit)))


def _check(item: lane_pb2.Item, chunks: bytearray) -> None:
    """Raises Refused if this is no item of a lane of texts."""
    kind = item.WhichOneof("payload")
    if kind is None and not (item.HasField("group") or item.HasField("lineage")):
        raise Refused("an item without a value")
    if kind not in (None, "text") or chunks:
        raise Refused(f"{kind} on a lane of texts")


class Lane:
    """The producer's end of a lane: over gRPC, or into an edge of this server."""

    def __init__(self, run_id: str, spec: node_pb2.Edge, inside: Edge | None) -> None:
        self.run_id, self.spec, self.inside = run_id, spec, inside
        self.sent = self.taken = self.limit = 0
        self.stopped = self.end_sent = False
        self.fault: Fault | None = None
        self.news = asyncio.Condition()
        self.writing = asyncio.Lock()
        self.call: Any = None
        self.channel: grpc.aio.Channel | None = None
        self.reader: asyncio.Task[None] | None = None

    async def open(self) -> Fault | None:
        """Opens the lane. Returns the fault that prevents it."""
        if self.inside is not None:
            return None
        self.channel = grpc.aio.insecure_channel(self.spec.consumer_address, options=OPTIONS)
        self.call = node_pb2_grpc.NodeServiceStub(self.channel).Exchange()
        self.reader = asyncio.create_task(self._read())
        opening = lane_pb2.LaneOpen(
            run_id=self.run_id, edge_id=self.spec.id, lane_type=self.spec.lane_type, incarnation=self.spec.incarnation
        )
        with contextlib.suppress(*ENDED):
            await self.call.write(Down(open=opening))
        try:
            async with asyncio.timeout(10), self.news:
                await self.news.wait_for(lambda: self.limit or self.fault is not None)
        except TimeoutError:
            self.fault = fault(4, LANE_BROKEN, "the consumer did not accept the lane within 10 s")
            self.call.cancel()
        if self.fault is not None:
            where: dict[str, Any] = {"lane": self.spec.id, "address": self.spec.consumer_address}
            return fault(self.fault.code, "lane-refused", self.fault.message, secondary=True, **where)
        return None

    async def emit(self, item: lane_pb2.Item) -> bool:
        """Sends an item when there is capacity. Returns False if the lane accepts no more."""
        if self.inside is not None:
            edge = self.inside
            async with edge.port.news:
                await edge.port.news.wait_for(lambda: edge.stopped or edge.arrived - edge.taken < edge.limit)
            if edge.stopped:
                self.stopped, self.fault = True, edge.stop_fault
                return False
            self.sent += 1
            await edge.put([item])
            return True
        async with self.news:
            await self.news.wait_for(lambda: self.stopped or self.sent - self.taken < self.limit)
        if self.stopped:
            return False
        await asyncio.shield(asyncio.ensure_future(self._write(item)))  # a cancelled write would end the call
        return not self.stopped

    async def _write(self, item: lane_pb2.Item) -> None:
        async with self.writing:
            if not self.end_sent:
                self.sent += 1
                with contextlib.suppress(*ENDED):
                    await self.call.write(Down(items=lane_pb2.LaneItems(items=[item])))

    async def end(self, outcome: Fault | None = None) -> None:
        """Sends `end` and half-closes, once."""
        if self.inside is not None:
            await self.inside.end(outcome)
        elif self.call is not None:
            async with self.writing:
                if self.end_sent:
                    return
                self.end_sent = True
                with contextlib.suppress(*ENDED):
                    await self.call.write(Down(end=lane_pb2.LaneEnd(item_count=self.sent, outcome=outcome)))
                    await self.call.done_writing()

    async def closed(self, seconds: float | None = None) -> None:
        """Waits for the status; after `seconds` the call is cancelled."""
        if self.reader is not None:
            await asyncio.wait([self.reader], timeout=seconds)
            self.call.cancel()
            await asyncio.wait([self.reader])
        if self.channel is not None:
            await self.channel.close()

    async def _read(self) -> None:
        with contextlib.suppress(*ENDED):
            while isinstance(frame := await self.call.read(), Up):
                async with self.news:
                    match frame.WhichOneof("frame"):
                        case "accepted":
                            self.limit = frame.accepted.limit_items
                        case "credit":
                            self.taken = frame.credit.taken_items
                            self.limit = max(self.limit, frame.credit.limit_items)
                        case "stop" if not self.end_sent:
                            self.stopped = True
                            if frame.stop.HasField("fault"):
                                self.fault = consequence(frame.stop.fault)
                    self.news.notify_all()
                if self.stopped:
                    await self.end()
            if frame is not grpc.aio.EOF:
                self.call.cancel()
        code = await self.call.code()
        async with self.news:
            if self.fault is None and not (code is grpc.StatusCode.OK and self.end_sent):
                number = 14 if code.value[0] in (0, 1, 2, 13) else code.value[0]
                why = await self.call.details() or "the connection is gone"
                self.fault = fault(number, LANE_BROKEN, why, secondary=True, lane=self.spec.id)
            self.stopped = True
            self.news.notify_all()


class Component:
    """A node in a run."""

    def __init__(self, instance: node_pb2.Instance, config: dict[str, Any]) -> None:
        self.name, self.config = instance.component, config
        self.body, self.fires = BODIES[instance.provider]
        self.seconds = instance.timeout.ToNanoseconds() / 1e9 if instance.HasField("timeout") else None
        self.input = Input()
        self.lanes: list[Lane] = []
        self.skipped = False

    async def emit(self, item: lane_pb2.Item) -> bool:
        """Sends an item by every lane that is not stopped. Returns False if none is left."""
        taking = await asyncio.gather(*(lane.emit(item) for lane in self.lanes if not lane.stopped))
        return any(taking) or not self.lanes

    def text(self, text: str) -> Awaitable[bool]:
        return self.emit(lane_pb2.Item(text=text))

    async def work(self) -> None:
        """The body, until it ends or no lane takes anything."""
        if not self.fires:
            async with asyncio.timeout(self.seconds):
                await self.body(self, None)
            return
        self.skipped = True
        while (item := await self.input.next()) is not None:
            self.skipped = False
            async with asyncio.timeout(self.seconds):
                await self.body(self, item)
            if self.lanes and all(lane.stopped for lane in self.lanes):
                return

    async def run(self) -> Fault | None:
        """Runs the node to its end, and ends its lanes. Returns its fault."""
        cause: Fault | None = None
        working, watching = asyncio.ensure_future(self.work()), asyncio.ensure_future(self._unwanted())
        try:
            await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        except Failed as failed:
            cause = failed.fault
        except TimeoutError:
            cause = fault(4, "timeout", f"{self.name} took too long", component=self.name)
        except asyncio.CancelledError:
            cause = fault(1, "cancelled", f"{self.name} was cancelled", secondary=True, component=self.name)
        except Exception as error:
            cause = fault(2, "node-error", f"{type(error).__name__}: {error}", component=self.name)
        for task in (working, watching):
            task.cancel()
        await asyncio.wait([working, watching])
        if cause is None and self.lanes and all(lane.stopped for lane in self.lanes):
            cause = next((consequence(lane.fault) for lane in self.lanes if lane.fault is not None), None)
        outcome = consequence(cause) if cause is not None else None
        await asyncio.gather(*(lane.end(outcome) for lane in self.lanes))
        await self.input.stop(outcome)
        return cause

    async def _unwanted(self) -> None:
        """Returns when all lanes were stopped."""
        if not self.lanes or any(lane.inside is not None for lane in self.lanes):
            await asyncio.Event().wait()
        for lane in self.lanes:
            async with lane.news:
                await lane.news.wait_for(lambda lane=lane: lane.stopped)  # type: ignore[misc]


Body = Callable[[Component, Any], Awaitable[Any]]


async def _source(node: Component, _: None) -> None:
    for number in range(node.config.get("count", 3)):
        if not await node.text(str(number)):
            return


async def _count(node: Component, _: None) -> None:
    count = 0
    while await node.input.next() is not None:
        count += 1
    await node.text(str(count))


async def _first(node: Component, _: None) -> None:
    for _number in range(node.config.get("count", 1)):
        item = await node.input.next()
        if item is None:
            return
        await node.emit(item)


async def _slow(node: Component, item: lane_pb2.Item) -> None:
    await asyncio.sleep(node.config.get("milliseconds", 50) / 1000)
    await node.emit(item)


async def _fail(node: Component, item: lane_pb2.Item) -> None:
    if item.text == "fail":
        raise ValueError("it got the text that it fails at")
    await node.emit(item)


async def _sink(node: Component, item: lane_pb2.Item) -> None:
    return None


BODIES: dict[str, tuple[Body, bool]] = {
    "conformance_echo": (Component.emit, True),
    "conformance_source": (_source, False),
    "conformance_sink": (_sink, True),
    "conformance_count": (_count, False),
    "conformance_slow": (_slow, True),
    "conformance_fail": (_fail, True),
    "conformance_first": (_first, False),
}
"""The node types: their bodies, and whether they fire per item."""
SETTINGS = {
    "conformance_source": ("count", 0),
    "conformance_slow": ("milliseconds", 0),
    "conformance_first": ("count", 1),
}
"""The setting of each node type that has one, and its least value."""


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


class BareService(node_pb2_grpc.NodeServiceServicer):
    """NodeService of level L0."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, int], Run] = {}
        self.leaving: set[asyncio.Task[None]] = set()

    async def Describe(self, request: Any, context: Any) -> node_pb2.DescribeResponse:
        manifests = []
        for provider in BODIES:
            manifest = node_pb2.Manifest(provider=provider, version="1", service="bare", description=provider)
            if provider != "conformance_source":
                manifest.inputs.add(name="text", lane_type=lane_pb2.LANE_TYPE_TEXT, required=True)
            if provider != "conformance_sink":
                manifest.outputs.add(name="out", lane_type=lane_pb2.LANE_TYPE_TEXT)
            manifests.append(manifest)
        return node_pb2.DescribeResponse(manifests=manifests, protocol_version=1, instance_id="bare-1")

    async def Host(self, requests: AsyncIterator[Any], context: Any) -> None:  # type: ignore[override]
        """One run."""
        outbox: asyncio.Queue[node_pb2.HostResponse] = asyncio.Queue()
        writing = asyncio.create_task(self._write(outbox, context))
        working: list[asyncio.Task[None]] = []
        run: Run | None = None
        try:
            async for request in requests:
                match request.WhichOneof("frame"):
                    case "place":
                        faults = self._refusals(request.place) if run is None else self._exists(request.place)
                        if not faults:
                            run = self.runs[request.place.run_id, request.place.incarnation] = Run(request.place)
                            faults = run.make()
                        outbox.put_nowait(node_pb2.HostResponse(placed=node_pb2.Placed(faults=faults)))
                    case "connect" | "start" as frame:
                        working.append(asyncio.create_task(self._phase(frame, run, outbox)))
                    case "cancel" if run is not None:
                        working.append(asyncio.create_task(run.cancel()))
        finally:
            leaving = asyncio.create_task(self._leave(run, working, outbox, writing))
            self.leaving.add(leaving)
            leaving.add_done_callback(self.leaving.discard)
            await asyncio.shield(leaving)  # gRPC cancels the handler of a broken call

    async def _leave(
        self,
        run: Run | None,
        working: list[asyncio.Task[None]],
        outbox: asyncio.Queue[Any],
        writing: asyncio.Task[None],
    ) -> None:
        if run is not None:
            await run.cancel()
            self.runs.pop((run.place.run_id, run.place.incarnation), None)
        for task in working:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await outbox.join()
        writing.cancel()
        await asyncio.wait([writing, *working])

    async def _write(self, outbox: asyncio.Queue[node_pb2.HostResponse], context: Any) -> None:
        while True:
            try:
                async with asyncio.timeout(20):
                    frame = await outbox.get()
            except TimeoutError:
                outbox.put_nowait(node_pb2.HostResponse())
                continue
            with contextlib.suppress(*ENDED):
                await context.write(frame)
            outbox.task_done()

    async def _phase(self, frame: str, run: Run | None, outbox: asyncio.Queue[node_pb2.HostResponse]) -> None:
        phase = run.phase if run is not None else "new"
        misplaced = fault(UNMET, "not-placed", f"`{frame}` came when the run was {phase}")
        if frame == "connect":
            faults = await run.connect() if run is not None and phase == "placed" else [misplaced]
            outbox.put_nowait(node_pb2.HostResponse(connected=node_pb2.Connected(faults=faults)))
        elif run is not None and phase == "started":
            run.faults.append(misplaced)
            await run.cancel()
        else:
            send = lambda **frame: outbox.put_nowait(node_pb2.HostResponse(**frame))  # noqa: E731
            faults = await run.execute(send) if run is not None and phase == "connected" else [misplaced]
            if run is not None and phase != "connected":
                await run.cancel()
                self.runs.pop((run.place.run_id, run.place.incarnation), None)
            outbox.put_nowait(node_pb2.HostResponse(finished=node_pb2.Finished(faults=faults)))

    def _exists(self, place: node_pb2.Place) -> list[Fault]:
        return [fault(EXISTS, "run-exists", f"{place.run_id} is hosted already")]

    def _refusals(self, place: node_pb2.Place) -> list[Fault]:
        if (place.run_id, place.incarnation) in self.runs:
            return self._exists(place)
        if place.features:
            return [fault(UNMET, "missing-feature", f"it lacks {', '.join(place.features)}")]
        return []

    async def Exchange(self, requests: Any, context: Any) -> None:  # type: ignore[override]
        """One lane."""
        try:
            async with asyncio.timeout(10):
                first = await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no open came within 10 s")
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if not isinstance(first, Down) or first.WhichOneof("frame") != "open":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first frame must be open")
        run = self.runs.get((first.open.run_id, first.open.incarnation))
        edge = run.edges.get(first.open.edge_id) if run is not None else None
        if run is None:
            await _abort(context, fault(NOT_FOUND, "unknown-run", "there is no such run"), first.open)
        elif edge is None:
            await _abort(context, fault(NOT_FOUND, "unknown-edge", "the run has no such edge"), first.open)
        elif first.open.lane_type != edge.spec.lane_type:
            await _abort(context, fault(INVALID, "lane-mismatch", "the edge is of another type"), first.open)
        elif first.open.reopen:
            await _abort(context, fault(UNMET, "not-detached", "the edge cannot be reopened"), first.open)
        elif edge.opened:
            await _abort(context, fault(EXISTS, "already-open", "the edge has a lane"), first.open)
        elif first.open.resume_from:
            await _abort(context, fault(UNMET, "no-resume", "the edge cannot be resumed"), first.open)
        else:
            edge.opened = True
            await edge.serve(context, lambda: run.cancelling)


async def _abort(context: Any, cause: Fault, opening: lane_pb2.LaneOpen) -> None:
    status = status_pb2.Status(code=cause.code, message=cause.message)
    info = error_details_pb2.ErrorInfo(reason=cause.reason, domain="lanemesh", metadata={"lane": opening.edge_id})
    status.details.add().Pack(info)
    code = next(each for each in grpc.StatusCode if each.value[0] == cause.code)
    await context.abort(code, cause.message, (("grpc-status-details-bin", status.SerializeToString()),))


@contextlib.asynccontextmanager
async def bare_server() -> AsyncIterator[str]:
    """A server of level L0 in this process. Yields its address."""
    server = grpc.aio.server(options=OPTIONS)
    node_pb2_grpc.add_NodeServiceServicer_to_server(BareService(), server)  # type: ignore[abstract]
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in ("", "lanemesh.v1.NodeService"):
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
