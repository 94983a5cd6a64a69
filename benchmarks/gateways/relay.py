"""The least that an endpoint of server-sent events between a client and a mesh does: uvicorn, starlette and one grpc.aio call.

`python -m gateways.relay ADDRESS` prints its port and serves until its stdin ends. `POST /v1/runs` runs the deployed pipeline that
the body names, by a `Run` call, and answers with the events that the gateway has for each frame. It has nothing else of the
gateway: no checks, limits, tokens, resumption, errors, comments or acknowledgements. So it is for runs of at most 256 updates.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import grpc.aio
import uvicorn
from lanemesh.text_outputs import merged
from lanemesh.v1 import lane_pb2, run_pb2, run_pb2_grpc
from lanemesh_orchestrator.gateway.event_chunks import chunk_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

OPTIONS = [("grpc.enable_http_proxy", 0)]


async def events(stub: run_pb2_grpc.RunServiceAsyncStub, name: str, text: str) -> AsyncIterator[bytes]:
    """The updates of a run, as events."""
    call = stub.Run()
    spec = run_pb2.RunSpec(deployment=run_pb2.DeploymentReference(name=name))
    given = run_pb2.RunInput(item=lane_pb2.Item(text=text))
    await call.write(run_pb2.RunRequest(spec=spec, text_outputs=True, inputs=[given], ends_input=True))
    await call.done_writing()
    async for frame in call:
        if batch := merged(frame.updates, frame.text_outputs):
            yield chunk_of(batch)


async def serve(address: str) -> None:
    """Serves until stdin ends."""
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        stub = run_pb2_grpc.RunServiceStub(channel)

        async def start(request: Request) -> Response:
            body = await request.json()
            chunks = events(stub, body["pipeline"].removeprefix("@"), body["input"])
            return StreamingResponse(chunks, media_type="text/event-stream")

        # asyncio sets TCP_NODELAY for this protocol only
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.bind(("127.0.0.1", 0))
        app = Starlette(routes=[Route("/v1/runs", start, methods=["POST"])])
        config = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        print(listening.getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
