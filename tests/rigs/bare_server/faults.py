"""Faults of the bare server, the errors of its nodes and lanes, and the short names that its modules share."""

from __future__ import annotations

import asyncio

import grpc.aio
from lanemesh.v1 import fault_pb2, lane_pb2

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
