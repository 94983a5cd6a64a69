"""Calls of user functions of any kind."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from lanemesh._aio.generators import in_threads
from lanemesh._aio.threads import THREADS, ThreadSession
from lanemesh._aio.user_code import Closing
from lanemesh.node.callables import CallKind, is_asynchronous, kind_of

R = TypeVar("R")

log = logging.getLogger("lanemesh.functions")


async def in_thread(function: Callable[..., R], *arguments: Any) -> R:
    """Runs a blocking function in a worker thread, like the synchronous bodies of nodes, and returns its result.

    A cancelled call is abandoned: its thread continues, and the result is discarded. Worker threads are daemons, so a blocked
    thread does not delay the exit.

    Args:
        function: called with `arguments`. It has the context variables of the caller.

    Raises:
        Exception: raised by the function.
    """
    return await THREADS.call(function, *arguments)


async def call_function(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> AsyncGenerator[Any, None]:
    """Calls a user function, and yields all values of a generator, otherwise the result of the function.

    `async` functions run in the event loop. Plain functions and generators run in a worker thread, the same one for all steps of a
    generator. Leaving the iteration closes the generator.

    Args:
        function: a plain or `async` function or generator function, a bound method, a partial application or a callable object,
            decorated or not.
        *arguments: its positional arguments.
        **named: its arguments by keyword.

    Raises:
        Exception: raised by the function.
    """
    made = await _called(partial(function, *arguments, **named))
    if not hasattr(made, "__aiter__"):
        yield made
        return
    async with Closing(made, log.warning) if hasattr(made, "aclose") else nullcontext():
        async for value in made:
            yield value


async def _called(call: partial[Any]) -> Any:
    """The result of a call: a value, or an asynchronous iterator of values."""
    if kind_of(call) is CallKind.GENERATOR:
        return in_threads(call())
    if is_asynchronous(call):
        made = call()
    else:
        session = ThreadSession()
        try:
            made = await session.call(call)
        except BaseException:
            session.end()
            raise
        if inspect.isgenerator(made):  # of a function below a decorator
            return in_threads(made, session=session)
        session.end()
    return await made if inspect.isawaitable(made) else made
