"""Helpers of every sort, reached in this process and over gRPC by the same tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc.aio
import pytest
from lanemesh._grpc.connections import SERVER_OPTIONS, dial
from lanemesh.chat import ChatEvent, ChatFinish, ChatRequest, ChatText, ToolProgress, ToolResult
from lanemesh.control.connection import Waiting
from lanemesh.control.ends import HelperLink
from lanemesh.control.grpc_link import GrpcLink
from lanemesh.control.grpc_service import helper_service
from lanemesh.control.instance import HelperInstance
from lanemesh.control.links import LocalLink
from lanemesh.control.llm import LinkedLlm
from lanemesh.control.tools import LinkedTools
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.v1 import update_pb2
from lanemesh.values import ToolCall, ToolSpec

RUN = "run-1"


@dataclass
class Seen:
    """What a helper saw of its calls."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_by: list[type[BaseException]] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)


class Parrot(Node):
    """A model that says what it was asked, word by word; "boom" breaks it and "hang" makes it wait for ever."""

    offers: ClassVar = ("llm",)
    seen: Seen

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        self.seen.nodes.append(self)
        try:
            for word in request.messages[-1].content.split():
                if word == "boom":
                    raise ZeroDivisionError("the parrot broke")
                yield ChatText(word)
                self.seen.begun.set()
                if word == "hang":
                    await asyncio.Event().wait()
            yield ChatFinish()
        except BaseException as error:
            self.seen.closed_by.append(type(error))
            raise
        finally:
            self.seen.closed.set()


class Kit(Node):
    """Tools: echo says its arguments; fail fails; hang waits for ever; mute ends without a result."""

    offers: ClassVar = ("tool",)
    names = ("echo", "fail", "hang", "mute")
    seen: Seen

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        return [ToolSpec(name) for name in self.names]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncIterator[ToolProgress | ToolResult]:
        try:
            yield ToolProgress("on it")
            self.seen.begun.set()
            match call.name:
                case "fail":
                    raise ValueError("the tool broke")
                case "hang":
                    await asyncio.Event().wait()
                case "echo":
                    yield ToolResult(call.arguments)
        finally:
            self.seen.closed.set()


def helper_of(node: type[Node], component: str, **attributes: Any) -> HelperInstance:
    """A helper made from a node class."""

    async def report(update: update_pb2.Update) -> None:
        pass

    made: Any = node()
    for name, value in {"seen": Seen(), **attributes}.items():
        setattr(made, name, value)
    return HelperInstance(made, Context(run_id=RUN, component=component, provider=node.provider, report=report))


def seen_by(helper: HelperInstance) -> Seen:
    """What a helper saw of its calls."""
    node: Any = helper._node
    seen: Seen = node.seen
    return seen


class Lookup:
    """The helpers of a node server, by run and component."""

    def __init__(self, *helpers: HelperInstance) -> None:
        self.helpers = {(RUN, helper.context.component): helper for helper in helpers}

    def find_helper(self, run_id: str, component: str) -> HelperInstance | None:
        return self.helpers.get((run_id, component))


Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves helpers on a free port; returns the address."""
    servers = []

    async def start(*helpers: HelperInstance) -> str:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        lookup = Lookup(*helpers)
        server.add_generic_rpc_handlers([helper_service(kind, lookup) for kind in HELPER_KINDS.values()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(0)


@dataclass
class Reach:
    """Makes clients of helpers, in one of two ways."""

    over_grpc: bool
    serve: Serve
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    async def llm(
        self, helper: HelperInstance, timeout: float | None = 30, waiting: Waiting | None = None
    ) -> LinkedLlm:
        return LinkedLlm(await self.link("llm", helper, timeout, waiting))

    async def tools(self, helper: HelperInstance, timeout: float | None = 30) -> LinkedTools:
        return LinkedTools(await self.link("tool", helper, timeout))

    async def link(
        self, name: str, helper: HelperInstance, timeout: float | None = 30, waiting: Waiting | None = None
    ) -> HelperLink:
        kind = HELPER_KINDS[name]
        if not self.over_grpc:
            return LocalLink(kind, helper, timeout, invoker="agent_1", waiting=waiting)
        address = await self.serve(helper)
        self.channels.append(dial(address))
        component = helper.context.component
        return GrpcLink(
            kind, self.channels[-1], RUN, component, timeout, invoker="agent_1", address=address, waiting=waiting
        )


@pytest.fixture(params=[False, True], ids=["local", "grpc"])
async def reach(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Reach]:
    """Ways to reach a helper."""
    made = Reach(request.param, serve)
    yield made
    for channel in made.channels:
        await channel.close()
