"""A bare grpc.aio server with one unary method: `python bare.py` prints its port, and serves until its input ends."""

import asyncio
import sys

import grpc.aio


async def _echo(request: bytes, context: object) -> bytes:
    return request


async def main() -> None:
    """Serves."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("lanemesh.benchmark.Echo", {"Call": handler}),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


asyncio.run(main())
