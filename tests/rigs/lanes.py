"""Runs over one lane or many, by hand: within this process over memory, or between it and a child process over gRPC."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
from lanemesh._aio.signal import Signal
from lanemesh._grpc.connections import dial
from lanemesh.faults import Fault
from lanemesh.items import LaneType
from lanemesh.lanes.inbox.inbox import DEFAULT_LIMIT_BYTES, DEFAULT_LIMIT_ITEMS
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer
from lanemesh.v1 import node_pb2, update_pb2
from lanemesh.v1.node_pb2_grpc import NodeServiceStub

import garbage
from rigs import lane_acts as acts
from rigs.lane_child import Noise, others_end, receive, send
from rigs.lane_nodes import SERVICE, STRINGS, Act, strings

TESTS = Path(__file__).parents[1]
SOON = 20.0
"""Seconds within which anything awaited here has long happened; only a hang takes longer."""


def environment() -> dict[str, str]:
    """In which a child process finds the tests' modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}


class Child:
    """A process with a node server. It ends with this one, since it reads our end of its standard input."""

    def __init__(self) -> None:
        self.stopped = False
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", "-m", "rigs.lane_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.address: str = told["address"]
        self.control: str = told["control"]
        self.pid: int = told["pid"]

    def signal(self, number: int) -> None:
        """Sends the process a signal."""
        self.stopped = number in (signal.SIGSTOP, signal.SIGKILL)
        self.process.send_signal(number)

    def close(self) -> None:
        """Ends the process: by its standard input if it still reads that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(SOON)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


class Site(Protocol):
    """Where components live."""

    name: str
    address: str
    """Where producers elsewhere dial."""

    async def act(self, run_id: str, component: str, act: Act, *args: Any) -> Any: ...
    async def look(self, run_id: str, component: str, act: Act, *args: Any) -> Any: ...
    async def cancel(self, run_id: str, component: str) -> None: ...
    def converse(self) -> Conversation: ...
    async def settle(self) -> list[str]: ...


class Here:
    """A node host in this process, behind a real server if `serving`."""

    def __init__(self, host: NodeHost, address: str) -> None:
        self.name = "here"
        self.host = host
        self.address = address

    async def act(self, run_id: str, component: str, act: Act, *args: Any) -> Any:
        return await strings(run_id, component).act(act, *args)

    async def look(self, run_id: str, component: str, act: Act, *args: Any) -> Any:
        return await strings(run_id, component).look(act, *args)

    async def cancel(self, run_id: str, component: str) -> None:
        body = strings(run_id, component).body
        assert body is not None
        body.cancel()

    def converse(self) -> Conversation:
        return HereConversation(self.host)

    async def settle(self) -> list[str]:
        held = self.host._pool._streams.values() if self.host._pool is not None else ()
        return [f"the run {run} is still hosted" for run in self.host.runs] + [f"{sum(held)} lanes"] * any(held)


class There:
    """A child process."""

    def __init__(self, child: Child, address: str = "") -> None:
        self.name = "there"
        self.address = address or child.address
        self._child = child
        self._channel = dial(child.address)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._all: list[asyncio.StreamWriter] = []

    async def act(self, run_id: str, component: str, act: Act, *args: Any) -> Any:
        return await self._ask("act", run_id, component, act, args)

    async def look(self, run_id: str, component: str, act: Act, *args: Any) -> Any:
        return await self._ask("look", run_id, component, act, args)

    async def cancel(self, run_id: str, component: str) -> None:
        await self._ask("cancel", run_id, component)

    def converse(self) -> Conversation:
        return ThereConversation(self._channel)

    async def settle(self) -> list[str]:
        drained: list[str] = await self._ask("settle")
        return drained

    @property
    def alive(self) -> bool:
        """The child can still be asked."""
        return self._child.process.poll() is None and not self._child.stopped

    async def close(self) -> None:
        """Closes the connections to it."""
        await self._channel.close()
        for writer in self._all:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])

    async def _ask(self, *request: Any) -> Any:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_unix_connection(self._child.control)
            self._all.append(writer)
        await send(writer, request)
        good, answer = await receive(reader)
        self._idle.append((reader, writer))
        if not good:
            raise answer
        return answer


class Conversation:
    """Our side of one `Host` stream."""

    def __init__(self) -> None:
        self.updates: list[update_pb2.Update] = []
        self.changed = Signal()
        self.said: dict[str, node_pb2.HostResponse] = {}
        self.over = False
        self._reading: asyncio.Task[None] | None = None

    async def say(self, request: node_pb2.HostRequest) -> None:
        raise NotImplementedError

    async def hear(self) -> AsyncIterator[node_pb2.HostResponse]:
        raise NotImplementedError
        yield

    async def half_close(self) -> None:
        raise NotImplementedError

    async def hang_up(self) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        """Starts listening."""
        self._reading = asyncio.create_task(self._read(), name="conversation")

    async def _read(self) -> None:
        try:
            async for response in self.hear():
                kind = response.WhichOneof("frame") or ""
                if kind == "update":
                    self.updates.append(response.update)
                self.said[kind] = response
                self.changed.fire()
        except grpc.RpcError:
            pass
        except asyncio.CancelledError:
            if not self.over:  # nobody hung up
                raise
        finally:
            self.over = True
            self.changed.fire()

    async def answer(self, kind: str) -> node_pb2.HostResponse:
        """Waits for a frame of that kind."""
        while kind not in self.said:
            assert not self.over, f"the conversation ended before {kind}"
            await self.changed.wait()
        return self.said[kind]

    async def close(self) -> None:
        """Ends the conversation, and with it what is left of the run there."""
        if "finished" in self.said:
            await self.half_close()
        else:
            self.over = True
            await self.hang_up()
        if self._reading is not None:
            await self._reading


class HereConversation(Conversation):
    def __init__(self, host: NodeHost) -> None:
        super().__init__()
        self._session = host.session()

    async def say(self, request: node_pb2.HostRequest) -> None:
        self._session.handle(request)

    async def hear(self) -> AsyncIterator[node_pb2.HostResponse]:
        async for response in self._session.responses():
            yield response

    async def half_close(self) -> None:
        pass

    async def hang_up(self) -> None:
        await self._session.close()


class ThereConversation(Conversation):
    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__()
        self._call: Any = NodeServiceStub(channel).Host()  # type: ignore[call-overload, unused-ignore]

    async def say(self, request: node_pb2.HostRequest) -> None:
        await self._call.write(request)

    async def hear(self) -> AsyncIterator[node_pb2.HostResponse]:
        while (response := await self._call.read()) is not grpc.aio.EOF:
            yield response

    async def half_close(self) -> None:
        await self._call.done_writing()

    async def hang_up(self) -> None:
        self._call.cancel()


@dataclass(frozen=True, kw_only=True)
class Wire:
    """One edge of a run to be."""

    producer: str = "producer"
    output: str = "out"
    consumer: str = "consumer"
    input: str = "values"
    lane_type: LaneType = LaneType.TEXT
    limit_items: int = DEFAULT_LIMIT_ITEMS
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    serialize_groups: bool = False

    @property
    def id(self) -> str:
        return f"{self.producer}.{self.output}>{self.consumer}.{self.input}"


@dataclass(frozen=True)
class Role:
    """What a component is, if not a puppet."""

    provider: str = "puppet"
    config: Mapping[str, Any] | None = None


class Hand:
    """Holds the strings of one puppet of one run, wherever it is."""

    def __init__(self, run: Running, component: str) -> None:
        self.component = component
        self._run = run
        self._site = run.rig.site(component)

    async def act(self, act: Act, *args: Any) -> Any:
        """Has its body do something."""
        return await self._site.act(self._run.id, self.component, act, *args)

    def begin(self, act: Act, *args: Any) -> asyncio.Task[Any]:
        """Has its body begin something."""
        return asyncio.create_task(self.act(act, *args), name=f"{self.component} {act.__name__}")

    async def look(self, act: Act, *args: Any) -> Any:
        """Has something done beside its body."""
        return await self._site.look(self._run.id, self.component, act, *args)

    async def cancel(self) -> None:
        """Cancels the component."""
        await self._site.cancel(self._run.id, self.component)


class Running:
    """A run of which this test is the orchestrator."""

    def __init__(self, rig: Rig, wires: Sequence[Wire], roles: Mapping[str, Role], by_hand: str) -> None:
        self.rig = rig
        self.id = uuid.uuid4().hex[:8]
        self.wires = wires
        self._roles = roles
        names = {name for wire in wires for name in (wire.producer, wire.consumer)} | set(roles)
        self.components = sorted(name for name in names if not (by_hand and name.startswith(by_hand)))
        self._sites = {rig.site(component).name: rig.site(component) for component in self.components}
        self.conversations = {name: site.converse() for name, site in self._sites.items()}

    def hand(self, component: str) -> Hand:
        """The strings of a puppet."""
        return Hand(self, component)

    @property
    def producer(self) -> Hand:
        """The strings of the puppet "producer"."""
        return self.hand("producer")

    @property
    def consumer(self) -> Hand:
        """The strings of the puppet "consumer"."""
        return self.hand("consumer")

    async def start(self) -> None:
        """Places, connects and starts; raises AssertionError with the faults that are in the way."""
        for conversation in self.conversations.values():
            conversation.begin()
        for name, conversation in self.conversations.items():
            await conversation.say(node_pb2.HostRequest(place=self._place(name)))
        for kind, frame in (
            ("placed", node_pb2.HostRequest(connect=node_pb2.Connect())),
            ("connected", node_pb2.HostRequest(start=node_pb2.Start())),
        ):
            for conversation in self.conversations.values():
                answer = await conversation.answer(kind)
                faults = answer.placed.faults if kind == "placed" else answer.connected.faults
                assert not faults, [Fault.from_proto(fault).message for fault in faults]
            for conversation in self.conversations.values():
                await conversation.say(frame)

    def _place(self, site: str) -> node_pb2.Place:
        place = node_pb2.Place(run_id=self.id, protocol_version=PROTOCOL_VERSION)
        for component in self.components:
            if self.rig.site(component).name == site:
                role = self._roles.get(component, Role())
                config = json.dumps(dict(role.config or {}))
                place.instances.add(component=component, provider=role.provider, config_json=config)
        for wire in self.wires:
            producer, consumer = self.rig.site(wire.producer), self.rig.site(wire.consumer)
            if site in (producer.name, consumer.name):
                place.edges.append(edge_of(wire, "" if producer.name == consumer.name else consumer.address))
        return place

    async def cancel(self, component: str) -> None:
        """Cancels the whole side on which a component lives."""
        conversation = self.conversations[self.rig.site(component).name]
        await conversation.say(node_pb2.HostRequest(cancel=node_pb2.Cancel(reason="the test says so")))

    async def node_ended(self, component: str) -> update_pb2.NodeUpdate:
        """Waits for a component's end."""
        conversation = self.conversations[self.rig.site(component).name]
        seen = 0
        while True:
            for update in conversation.updates[seen:]:
                if update.node.component == component and update.node.state > update_pb2.NODE_STATE_RUNNING:
                    return update.node
            seen = len(conversation.updates)
            assert not conversation.over, f"the conversation ended before {component}"
            await conversation.changed.wait()

    async def finished(self) -> list[Fault]:
        """Waits until every site has finished. Returns the faults they tell of."""
        faults: list[Fault] = []
        for conversation in self.conversations.values():
            answer = await conversation.answer("finished")
            faults += [Fault.from_proto(status) for status in answer.finished.faults]
        return faults

    def updates(self) -> list[update_pb2.Update]:
        """What has been told so far, by every site."""
        return [update for conversation in self.conversations.values() for update in conversation.updates]

    async def close(self) -> None:
        """Ends what is left of it."""
        for conversation in self.conversations.values():
            await conversation.close()
        for component in self.components:
            STRINGS.pop((self.id, component), None)


def edge_of(wire: Wire, address: str) -> node_pb2.Edge:
    """The edge as servers are told of it."""
    return node_pb2.Edge(
        id=wire.id,
        producer=wire.producer,
        output=wire.output,
        consumer=wire.consumer,
        input=wire.input,
        lane_type=wire.lane_type.wire,
        limit_items=wire.limit_items,
        limit_bytes=wire.limit_bytes,
        consumer_address=address,
        serialize_groups=wire.serialize_groups,
    )


class Rig:
    """Two places for components, or one: those whose names begin with `there` live in the child process."""

    def __init__(self, here: Here, there: There | None, components_there: str) -> None:
        self.here = here
        self.there = there
        self._components_there = components_there

    @property
    def over_grpc(self) -> bool:
        """Lanes go to another process."""
        return self.there is not None

    def site(self, component: str) -> Site:
        """Where a component lives."""
        if self.there is not None and component.startswith(self._components_there):
            return self.there
        return self.here

    @asynccontextmanager
    async def run(
        self, *wires: Wire, roles: Mapping[str, Role] | None = None, by_hand: str = ""
    ) -> AsyncIterator[Running]:
        """A run that has started.

        Args:
            wires: its edges; one between two puppets unless given.
            roles: what components are that are no puppets.
            by_hand: how the names of components begin that nobody is told of: the test plays them.
        """
        running = Running(self, wires or (Wire(),), roles or {}, by_hand)
        try:
            await running.start()
            yield running
        finally:
            await running.close()


@asynccontextmanager
async def rig(
    child: Child | None, *, there: str = "consumer", address: str = "", tidy: bool = True
) -> AsyncIterator[Rig]:
    """A rig over memory or, with a child process, over gRPC. Afterwards nothing is left, or it fails.

    Args:
        child: the process in which some components live; None: all live here, and lanes go over memory.
        there: how the names of those components begin.
        address: where producers dial the child, if not directly.
        tidy: it is the only one in this event loop, and looks whether anything is left.
    """
    noise = Noise()
    left: list[str] = []
    before = asyncio.all_tasks()
    host = NodeHost([SERVICE], name="here")
    server = NodeServer(host) if child is not None and there != "consumer" else None
    if server is not None:
        await server.start()
    far = There(child, address) if child is not None else None
    made = Rig(Here(host, server.address if server is not None else ""), far, there)
    try:
        yield made
        left += await made.here.settle()
        if far is not None and far.alive:
            left += await far.settle()
    finally:
        await host.close()
        if server is not None:
            await server.stop()
        if far is not None:
            await far.close()
    if not tidy:
        return
    current = asyncio.current_task()
    left += await others_end(before | ({current} if current else set()))
    garbage.collect()
    assert not left + noise.heard, "\n".join(left + noise.heard)


async def standstill(*hands: Hand) -> None:
    """Waits until nothing moves: in fifty rounds through the processes, no count of any of these puppets changes."""
    rounds, before = 0, None
    while rounds < 50:
        for _ in range(5):
            await asyncio.sleep(0)
        now = [(await hand.look(acts.emitted), await hand.look(acts.edges)) for hand in hands]
        rounds = rounds + 1 if now == before else 0
        before = now
