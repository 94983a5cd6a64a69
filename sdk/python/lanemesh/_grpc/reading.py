"""Reading the responses of gRPC calls that may end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc.aio

ResponseT = TypeVar("ResponseT")


async def read_all(call: Any, kind: type[ResponseT], take: Callable[[ResponseT], None]) -> None:
    """Takes every response of a call, which are of this kind, until the call ends. Its status says how it ended; this raises only
    what `take` raises. A response that cannot be parsed cancels the call.

    Raises:
        CancelledError: this task was cancelled, and not the call.
    """
    try:
        while isinstance(response := await call.read(), kind):
            take(response)
        if response is not grpc.aio.EOF:  # bytes that are no frame; gRPC has logged why
            call.cancel()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass
    except asyncio.CancelledError:
        if not call.done():
            raise
