"""Short names for the frames of a lease stream, and texts of leases and holders for people."""

from __future__ import annotations

from collections.abc import Sequence

from lanemesh.times import seconds_of, span
from lanemesh.v1 import gpu_pb2

KEEPALIVE = gpu_pb2.LeaseRequest(keepalive=gpu_pb2.LeaseKeepalive())
RESUME = gpu_pb2.LeaseRequest(resume=gpu_pb2.LeaseResume())
RELEASE = gpu_pb2.LeaseRequest(release=gpu_pb2.LeaseRelease())
YIELD, YIELD_AND_OFFLOAD = gpu_pb2.LeaseRequest(), gpu_pb2.LeaseRequest()
getattr(YIELD, "yield").SetInParent()  # the field's name is a Python keyword
getattr(YIELD_AND_OFFLOAD, "yield").offloads = True

YIELDED = gpu_pb2.LeaseResponse(yielded=gpu_pb2.LeaseYielded())
KEPT = gpu_pb2.LeaseResponse(kept=gpu_pb2.LeaseKept())
UNLOAD = gpu_pb2.LeaseResponse(unload=gpu_pb2.LeaseUnload())


def offload(number: int) -> gpu_pb2.LeaseResponse:
    """The request to offload a model."""
    return gpu_pb2.LeaseResponse(offload=gpu_pb2.LeaseOffload(number=number))


def offloaded(number: int, error: str) -> gpu_pb2.LeaseRequest:
    """The response to it; `error`: why it failed."""
    return gpu_pb2.LeaseRequest(offloaded=gpu_pb2.LeaseOffloaded(number=number, error=error))


def revoked(reason: str, message: str) -> gpu_pb2.LeaseResponse:
    """The last frame of a lease."""
    return gpu_pb2.LeaseResponse(revoked=gpu_pb2.LeaseRevoked(reason=reason, message=message))


def holder_text(holder: gpu_pb2.LeaseHolder) -> str:
    """The holder or requester of a lease, in words: `"llm_1" of run r7 on 127.0.0.1:7001`."""
    text = f'"{holder.component}"' if holder.component else "someone"
    if holder.run_id:
        text += f" of run {holder.run_id}"
    if holder.server:
        text += f" on {holder.server}"
    return text


def leases_text(leases: Sequence[gpu_pb2.LeaseStatus]) -> str:
    """Leases and their holders, in words: `sim:0 has been held for 12 s by "llm_1" of run r7`."""
    texts = (
        f"{lease.device} has been held for {span(seconds_of(lease.age))} by {holder_text(lease.holder)}"
        for lease in leases
    )
    return "; ".join(texts) or "it is free now"
