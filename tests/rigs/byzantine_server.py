"""A node server that lies: it speaks the protocol and does in each run as a script says, whatever that does to the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from lanemesh.features import Feature
from lanemesh.protocol import PROTOCOL_VERSION
from lanemesh.server.host.host import NodeHost
from lanemesh.server.services import load_file
from lanemesh.v1 import fault_pb2, node_pb2, registry_pb2, update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator

from rigs.runs import NODES

Frame = node_pb2.HostResponse
COMPLETED = update_pb2.NODE_STATE_COMPLETED
BYZANTINE = "liar"
"""Its component in every run."""


class Conversation:
    """One run, as the liar has it."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context

    async def heard(self, frame: str) -> None:
        """Waits for a frame of the orchestrator."""
        while True:
            request = await self._context.read()
            if not isinstance(request, node_pb2.HostRequest):
                raise EOFError
            if request.WhichOneof("frame") == frame:
                return

    async def say(self, *frames: Frame | bytes) -> None:
        """Sends frames, or bytes that are none."""
        for frame in frames:
            await self._context.write(frame)

    async def started(self) -> None:
        """Does as it should until the run has started."""
        await self.heard("place")
        await self.say(Frame(placed=node_pb2.Placed()))
        await self.heard("connect")
        await self.say(Frame(connected=node_pb2.Connected()))
        await self.heard("start")

    async def gone(self) -> None:
        """Waits until the orchestrator hangs up."""
        while isinstance(await self._context.read(), node_pb2.HostRequest):
            pass


Script = Callable[[Conversation], Awaitable[None]]


def node_reported(state: update_pb2.NodeState.ValueType, component: str = BYZANTINE, **fields: Any) -> Frame:
    return Frame(update=update_pb2.Update(node=update_pb2.NodeUpdate(component=component, state=state, **fields)))


def finished(*faults: fault_pb2.Fault) -> Frame:
    return Frame(finished=node_pb2.Finished(faults=faults))


def odd_fault() -> fault_pb2.Fault:
    """A fault with a code that is none."""
    return fault_pb2.Fault(code=-7, message="odd")


@asynccontextmanager
async def byzantine_server(
    orchestrator: Orchestrator, script: Script, provider: str = "numbers"
) -> AsyncIterator[None]:
    """A server that has joined with one node type of `NODES`, and does as the script says in every run."""

    async def host(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        conversation = Conversation(context)
        try:
            await script(conversation)
            await conversation.gone()
        except EOFError:
            pass

    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(
        host,
        request_deserializer=node_pb2.HostRequest.FromString,
        response_serializer=lambda frame: frame if isinstance(frame, bytes) else frame.SerializeToString(),
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("lanemesh.v1.NodeService", {"Host": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    manifests = {manifest.provider: manifest for manifest in NodeHost([load_file(NODES)]).manifests()}
    member = orchestrator.registry.join(
        registry_pb2.ServerInfo(
            name="the-liar",
            address=f"127.0.0.1:{port}",
            protocol_version=PROTOCOL_VERSION,
            manifests=[manifests[provider]],
            features=[Feature.LANE_KEYS],
        )
    )
    yield
    orchestrator.registry.leave(member)
    await server.stop(0)
    await asyncio.sleep(0)
