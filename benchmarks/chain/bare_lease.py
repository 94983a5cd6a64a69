"""The floor of a lease over gRPC: the same messages on a stream of grpc.aio with no arbiter behind it.

`python -m chain.bare_lease` prints its port and serves until its stdin ends. It answers each first frame with the same grant, and
the second one with the end of the lease.
"""

import asyncio
import sys
import time
from typing import Any

import grpc
import grpc.aio
from lanemesh._grpc.connections import SERVER_OPTIONS
from lanemesh.v1 import gpu_pb2, gpu_pb2_grpc

DEVICE = gpu_pb2.Device(id="sim:0", name="simulated", memory_bytes=24 << 30)
GRANTED = gpu_pb2.LeaseResponse(
    granted=gpu_pb2.LeaseGranted(
        lease_id="0" * 32,
        device=DEVICE,
        fencing_token=1 << 40,
        shares=[gpu_pb2.LeaseShare(device=DEVICE, fencing_token=1 << 40)],
    )
)
REVOKED = gpu_pb2.LeaseResponse(revoked=gpu_pb2.LeaseRevoked(reason="released", message="The lease was released."))


async def cycle(channel: grpc.aio.Channel, acquire: gpu_pb2.LeaseRequest, release: gpu_pb2.LeaseRequest) -> float:
    """One stream from its opening to its end: how long the first answer took, in ms."""
    started = time.perf_counter()
    call = gpu_pb2_grpc.GpuArbiterServiceStub(channel).Lease()
    await call.write(acquire)
    await call.read()
    granted_at = time.perf_counter()
    await call.write(release)
    await call.done_writing()
    while await call.read() is not grpc.aio.EOF:
        pass
    return (granted_at - started) * 1e3


async def lease(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Two answers to two frames."""
    for answer in (GRANTED, REVOKED):
        await context.read()
        await context.write(answer)
    await context.read()


async def serve() -> None:
    """Serves until stdin ends."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    method = grpc.stream_stream_rpc_method_handler(
        lease, gpu_pb2.LeaseRequest.FromString, gpu_pb2.LeaseResponse.SerializeToString
    )
    service = grpc.method_handlers_generic_handler("lanemesh.v1.GpuArbiterService", {"Lease": method})
    server.add_generic_rpc_handlers([service])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(serve())
