"""Writing on gRPC calls that may have ended."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc.aio


async def write(context: grpc.aio.ServicerContext[Any, Any], frame: Any) -> None:
    """Sends a frame to the caller; waits while the caller is behind.

    Raises:
        CancelledError: the call has ended, so that nothing can be written any more. gRPC cancels the handler in that case, and a
            write that is under way may fail before that; gRPC would log any other error of a handler with a traceback.
    """
    try:
        await context.write(frame)
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError("the call has ended") from error


async def half_close(call: Any) -> None:
    """Ends the requests of a call to a server, after those before. Does nothing if the call has ended: who reads its responses sees
    how. gRPC raises `InternalError` if it ends in the same moment."""
    with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
        await call.done_writing()
