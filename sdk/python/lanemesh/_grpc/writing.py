"""Writing the frames of a gRPC call that is served."""

from __future__ import annotations

import asyncio
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
