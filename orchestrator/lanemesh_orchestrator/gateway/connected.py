"""Work for a request that ends with its client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

Result = TypeVar("Result")


async def while_connected(
    request: Request, work: Coroutine[Any, Any, Result], *, body: asyncio.Event | None = None
) -> Result:
    """Awaits work, and cancels it if the client disconnects.

    Args:
        request: the request.
        work: the work.
        body: is set when the body was read; None: it was read before.

    Raises:
        ClientDisconnect: the client is gone.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(request, body))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def disconnected(request: Request, body: asyncio.Event | None = None) -> None:
    """Returns when the client is gone, which is seen after its body was read. `body` is that of `while_connected`."""
    if body is not None:
        await body.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass
