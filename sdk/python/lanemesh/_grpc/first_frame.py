"""The first frame of a stream, which has to come in time: an idle stream would cost memory for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from lanemesh._grpc.limits import DEFAULT
from lanemesh._grpc.status import abort
from lanemesh.faults import Code, Fault

FIRST_FRAME_SECONDS = DEFAULT.first_frame_seconds
"""How long a new stream may take to send its first frame, unless a server has another limit."""

T = TypeVar("T")


async def first_frame(context: grpc.aio.ServicerContext[Any, Any], what: str, seconds: float) -> Any:
    """The first frame of a call with content, or `grpc.aio.EOF`. Frames without a field are heartbeats. Aborts the call with
    DEADLINE_EXCEEDED if none comes in time, with INVALID_ARGUMENT if it cannot be read.

    Args:
        what: what the frame brings, such as "`place`", for the error.
        seconds: the limit.
    """
    frame: Any = grpc.aio.EOF
    try:
        async with asyncio.timeout(seconds):
            while (frame := await context.read()) is not grpc.aio.EOF and not frame.ListFields():
                pass
    except TimeoutError:
        await abort(context, late(what, seconds))
    except DecodeError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the first frame, the {what}, is invalid: {error}")
    return frame


async def first_in_time(
    requests: AsyncIterator[T], context: grpc.aio.ServicerContext[Any, Any], what: str, seconds: float
) -> AsyncIterator[T]:
    """The requests of a call. Aborts it with DEADLINE_EXCEEDED if the first one does not come in time."""
    iterator = aiter(requests)
    try:
        async with asyncio.timeout(seconds):
            first = await anext(iterator)
    except StopAsyncIteration:
        return
    except TimeoutError:
        await abort(context, late(what, seconds))
    yield first
    async for request in iterator:
        yield request


def late(what: str, seconds: float) -> Fault:
    """The fault of a stream whose first frame did not come in time."""
    message = f"no {what} arrived within {seconds:g} s, so the server ended the stream. Send the first frame at once"
    return Fault(code=Code.DEADLINE_EXCEEDED, reason="no-first-frame", message=message)
