"""Work on large bodies, in threads: in the event loop it would delay all other requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lanemesh._aio.threads import Threads
from starlette.requests import Request

INLINE_BYTES = 64 * 1024
"""Largest body that is worked on in the event loop."""

Result = TypeVar("Result")

_WORKERS = Threads(limit=4)


async def off_loop(size: int, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function for a body of so many bytes: in a thread if it is large. Raises what the function raises."""
    if size > INLINE_BYTES:
        return await _WORKERS.call(function, *arguments)
    return function(*arguments)


def note_size(request: Request, size: int) -> None:
    """Notes how large the body of a request is, for `for_body`."""
    request.state.body_size = size


async def for_body(request: Request, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function for the body of a request, which was read before. Raises what the function raises."""
    return await off_loop(request.state.body_size, function, *arguments)
