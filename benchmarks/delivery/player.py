"""`python -m delivery.player FILE`: one process of a mesh that only sends and receives the frames of a recorded run.

It prints its port, reads the addresses of the others by name from the first line of its stdin, and serves until its stdin ends.
Each run is one pass through its script: a frame is sent when all those that come before it in the script have arrived or are sent.
Streams are used as Lanemesh uses them: a call of `Run` for each run, a stream of `Host` for one run after the other, a call of
`ExchangeShort` for all runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from lanemesh._aio.eager import EagerCoroutine
from lanemesh._grpc.connections import CHANNEL_OPTIONS, NO_PROXY, SERVER_OPTIONS
from lanemesh.v1 import lane_pb2, node_pb2, run_pb2

from delivery.frames import FRAMES, SERVICES, Frame, Script

Stream = tuple[str, str]
"""A method, and the name of the process that was called; empty for the called process itself."""


@dataclass(frozen=True)
class Step:
    """One frame of a script."""

    stream: Stream
    message: Any
    """The message to send; None if one is received."""

    @classmethod
    def of(cls, frame: Frame) -> Step:
        """From a recorded frame."""
        kind = FRAMES[frame.method][0 if frame.peer else 1]
        return cls((frame.method, frame.peer), kind.FromString(frame.message) if frame.sent else None)


class Part:
    """One run in one process."""

    def __init__(self, steps: Sequence[Step], run_id: str) -> None:
        self.run_id = run_id
        self.links: dict[Stream, Any] = {}
        """What writes the frames of each stream."""
        self.lanes: deque[int] = deque()
        """The numbers of the lanes that have arrived and are not reported as closed."""
        self.over = asyncio.Event()
        """Set at the end of the script."""
        self._steps = steps
        self._position = 0
        self._arrived: Counter[Stream] = Counter()
        self._proceeding = False

    async def arrive(self, stream: Stream) -> None:
        """A frame has arrived. Sends what may be sent then."""
        self._arrived[stream] += 1
        await self.proceed()

    async def proceed(self) -> None:
        """Sends what may be sent, unless another task does."""
        if self._proceeding:
            return
        self._proceeding = True
        while (step := self._next()) is not None:
            if step.message is None:
                if not self._arrived[step.stream]:
                    break
                self._arrived[step.stream] -= 1
                self._position += 1
            else:
                await self._send()
        self._proceeding = False
        if self._position == len(self._steps):
            self.over.set()

    def _next(self) -> Step | None:
        return self._steps[self._position] if self._position < len(self._steps) else None

    async def _send(self) -> None:
        """Sends the next frames, concurrently if they go to several streams."""
        writes: dict[Stream, EagerCoroutine] = {}
        while (step := self._next()) is not None and step.message is not None and step.stream not in writes:
            self._position += 1
            writes[step.stream] = EagerCoroutine(self.links[step.stream].write(self._named(step.message)))
        for write in writes.values():
            await write

    def _named(self, message: Any) -> Any:
        """The message with the id of the run where it has one."""
        if isinstance(message, node_pb2.HostRequest) and message.HasField("place"):
            named = node_pb2.HostRequest()
            named.CopyFrom(message)
            named.place.run_id = self.run_id
            return named
        if isinstance(message, lane_pb2.ExchangeShortResponse):
            closed = (lane_pb2.ShortLaneClosed(number=self.lanes.popleft()) for _ in message.closed)
            return lane_pb2.ExchangeShortResponse(closed=closed)
        return message


class ShortLanes:
    """One call of `ExchangeShort`, or the link of one run to it."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._writing = asyncio.Lock()
        self._number = 0
        self.parts: dict[int, Part] = {}
        """The runs by the numbers of their open lanes."""

    async def write(self, message: Any, part: Part | None = None) -> None:
        """Writes a frame. `part`: the run whose lanes are in it."""
        if part is not None:
            lanes, message = message.lanes, lane_pb2.ExchangeShortRequest()
            for lane in lanes:
                sent = message.lanes.add()
                sent.CopyFrom(lane)
                self._number += 1
                sent.number, sent.open.run_id = self._number, part.run_id
                self.parts[self._number] = part
        async with self._writing:
            await self._call.write(message)


@dataclass(frozen=True)
class LaneLink:
    """The link of one run to a call that other runs use too."""

    lanes: ShortLanes
    part: Part

    async def write(self, message: Any) -> None:
        """Writes a frame with lanes of the run."""
        await self.lanes.write(message, self.part)


class HostLink:
    """A stream of `Host`, which carries one run at a time."""

    def __init__(self, call: Any) -> None:
        self.write = call.write
        self.part: Part | None = None


class Player:
    """One process: its script, its runs and its streams to others."""

    def __init__(self, script: Script, addresses: Mapping[str, str]) -> None:
        self._steps = [Step.of(frame) for frame in script]
        self._streams = dict.fromkeys(step.stream for step in self._steps)
        self._channels = {
            name: grpc.aio.insecure_channel(address, options=[*CHANNEL_OPTIONS, NO_PROXY])
            for name, address in addresses.items()
        }
        self._parts: dict[str, Part] = {}
        self._spare: dict[str, list[HostLink]] = {}
        self._lanes: dict[str, ShortLanes] = {}
        self._readers: set[asyncio.Task[None]] = set()
        self._last_number = 0

    def begin(self, run_id: str = "") -> Part:
        """A run, linked to the streams to other processes. `run_id`: empty for a new one."""
        self._last_number += 1
        part = Part(self._steps, run_id or f"run-{self._last_number:012x}")
        self._parts[part.run_id] = part
        for method, peer in self._streams:
            if peer and method == "Host":
                link = part.links[method, peer] = self._host(peer)
                link.part = part
            elif peer and method == "ExchangeShort":
                part.links[method, peer] = LaneLink(self._short_lanes(peer), part)
        return part

    def end(self, part: Part) -> None:
        """The run is over: its streams may carry others."""
        del self._parts[part.run_id]
        for (_, peer), link in part.links.items():
            if isinstance(link, HostLink):
                link.part = None
                self._spare.setdefault(peer, []).append(link)

    def call(self, method: str, peer: str) -> Any:
        """A new call."""
        requests, responses = FRAMES[method]
        path = f"/lanemesh.v1.{SERVICES.get(method, 'NodeService')}/{method}"
        return self._channels[peer].stream_stream(
            path, request_serializer=requests.SerializeToString, response_deserializer=responses.FromString
        )()

    async def close(self) -> None:
        """Ends all calls."""
        readers = list(self._readers)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close()

    # What the process serves

    async def run(self, _: object, context: Any) -> None:
        """The call of a client: one run."""
        part = self.begin()
        part.links["Run", ""] = context
        while isinstance(await context.read(), run_pb2.RunRequest):
            await part.arrive(("Run", ""))
        await part.over.wait()
        self.end(part)

    async def host(self, _: object, context: Any) -> None:
        """A stream of the orchestrator: one run after the other."""
        part: Part | None = None
        with suppress(asyncio.CancelledError):  # at the end of this process
            while isinstance(request := await context.read(), node_pb2.HostRequest):
                if request.HasField("place"):
                    if part is not None:
                        self.end(part)
                    part = self.begin(request.place.run_id)
                    part.links["Host", ""] = context
                assert part is not None, "the first frame of a run is `place`"
                await part.arrive(("Host", ""))

    async def exchange_short(self, _: object, context: Any) -> None:
        """The lanes of another process."""
        answers = ShortLanes(context)
        with suppress(asyncio.CancelledError):  # at the end of this process
            while isinstance(request := await context.read(), lane_pb2.ExchangeShortRequest):
                part = self._parts[request.lanes[0].open.run_id]
                part.links["ExchangeShort", ""] = answers
                part.lanes.extend(lane.number for lane in request.lanes)
                await part.arrive(("ExchangeShort", ""))

    # What the process calls

    def _host(self, peer: str) -> HostLink:
        if spare := self._spare.get(peer):
            return spare.pop()
        call = self.call("Host", peer)
        link = HostLink(call)

        async def read() -> None:
            while isinstance(await call.read(), node_pb2.HostResponse):
                assert link.part is not None, "a frame came after the end of the script"
                await link.part.arrive(("Host", peer))

        self._read(read(), lambda: link.part is not None)
        return link

    def _short_lanes(self, peer: str) -> ShortLanes:
        if (lanes := self._lanes.get(peer)) is not None:
            return lanes
        call = self.call("ExchangeShort", peer)
        lanes = self._lanes[peer] = ShortLanes(call)

        async def read() -> None:
            while isinstance(response := await call.read(), lane_pb2.ExchangeShortResponse):
                (part, *_) = [lanes.parts.pop(closed.number) for closed in response.closed]
                await part.arrive(("ExchangeShort", peer))

        self._read(read(), lambda: bool(lanes.parts))
        return lanes

    def _read(self, reading: Coroutine[Any, Any, None], is_used: Callable[[], bool]) -> None:
        """Reads a call in the background, until the other process ends."""

        async def read() -> None:
            try:
                await reading
            except grpc.aio.AioRpcError:
                if is_used():
                    raise

        task = asyncio.create_task(read())
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)


async def serve(script: Script) -> None:
    """Serves a script on a free port of the loopback until stdin ends."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    loop = asyncio.get_running_loop()
    print(port, flush=True)
    player = Player(script, json.loads(await loop.run_in_executor(None, sys.stdin.readline)))
    behaviours = {"Run": player.run, "Host": player.host, "ExchangeShort": player.exchange_short}
    for service in ("RunService", "NodeService"):
        handlers = {
            method: grpc.stream_stream_rpc_method_handler(
                behaviour,
                request_deserializer=FRAMES[method][0].FromString,
                response_serializer=FRAMES[method][1].SerializeToString,
            )
            for method, behaviour in behaviours.items()
            if SERVICES.get(method, "NodeService") == service
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(f"lanemesh.v1.{service}", handlers)])
    await server.start()
    print("serves", flush=True)
    gc.freeze()  # as the commands do when they have begun
    await loop.run_in_executor(None, sys.stdin.read)
    await server.stop(grace=0)
    await player.close()


def main() -> None:
    """The command line of one process."""
    (path,) = sys.argv[1:]
    with suppress(KeyboardInterrupt):
        asyncio.run(serve([Frame.from_json(line) for line in Path(path).read_text().splitlines()]))


if __name__ == "__main__":
    main()
