"""Calls of the methods of a node besides its body: `load`, `unload`, `finalize`, `list_tools`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lanemesh._aio.threads import THREADS
from lanemesh._aio.user_code import failure_of
from lanemesh.node.callables import is_asynchronous


async def call_hook(hook: Callable[..., Any], *arguments: Any) -> Any:
    """What a hook returns, whether it is an `async` function, a plain one, which runs in a worker thread, or a plain one that
    returns an awaitable, which is awaited. Raises its failures as `Exception`."""
    try:
        result = hook(*arguments) if is_asynchronous(hook) else await THREADS.call(hook, *arguments)
        return await result if inspect.isawaitable(result) else result
    except BaseException as error:
        raise failure_of(error)  # noqa: B904 - it is the same error, or has it as its cause
