"""Calls of user functions of any kind."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from lanemesh._aio.generators import in_threads
from lanemesh._aio.threads import THREADS, ThreadSession
from lanemesh._aio.user_errors import Closing
from lanemesh.node.callables import CallKind, innermost, is_asynchronous, kind_of

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
        **named: its arguments by keyword. A further parameter with `= Field(...)` gets the default of that field.

    Raises:
        Exception: raised by the function.
    """
    made = await _called(_call(function, arguments, named))
    if not hasattr(made, "__aiter__"):
        yield made
        return
    async with Closing(made, log.warning) if hasattr(made, "aclose") else nullcontext():
        async for value in made:
            yield value


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]) -> partial[Any]:
    """The call of a function. Each parameter that has a pydantic `Field` as its default, and no argument, gets the default of that
    field."""
    from pydantic.fields import FieldInfo

    inner = innermost(function)
    by_keyword: Mapping[str, Any] = getattr(inner, "__kwdefaults__", None) or {}
    defaults = (*(getattr(inner, "__defaults__", None) or ()), *by_keyword.values())
    if not any(isinstance(default, FieldInfo) for default in defaults):
        return partial(function, *arguments, **named)
    signature = inspect.signature(function)
    bound = signature.bind_partial(*arguments, **named)
    for name, parameter in signature.parameters.items():
        if name in bound.arguments or parameter.default is parameter.empty:
            continue
        value = parameter.default
        if isinstance(value, FieldInfo):
            if value.is_required():
                raise TypeError(
                    f"{getattr(inner, '__name__', 'the function')} has a required parameter {name}: give it a default"
                )
            value = value.get_default(call_default_factory=True)
        bound.arguments[name] = value
    return partial(function, *bound.args, **bound.kwargs)


@dataclass(frozen=True, slots=True)
class Returned:
    """The last value of `call_steps`."""

    value: Any
    """What the function returned; of an asynchronous generator, None."""
    of_generator: bool
    """It is a generator."""


async def call_steps(call: Callable[[], Any]) -> AsyncGenerator[Any, None]:
    """Calls a user function as `call_function` does, and yields all values of a generator, and then what the function returned, as
    `Returned`.

    Raises:
        Exception: raised by the function.
    """
    made = await _called(partial(call), _with_return)
    if not hasattr(made, "__aiter__"):
        yield Returned(made, of_generator=False)
        return
    returned = Returned(None, of_generator=True)
    async with Closing(made, log.warning) if hasattr(made, "aclose") else nullcontext():
        async for value in made:
            if isinstance(value, Returned):
                returned = value
            else:
                yield value
    yield returned


def _with_return(generator: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
    """The values of a generator, and then what it returned."""
    yield Returned((yield from generator), of_generator=True)


def _as_it_is(generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    return generator


async def _called(
    call: partial[Any], steps: Callable[[Generator[Any, Any, Any]], Generator[Any, Any, Any]] = _as_it_is
) -> Any:
    """The result of a call: a value, or an asynchronous iterator of values. `steps` makes the generator that is iterated of that of
    a plain function."""
    if kind_of(call) is CallKind.GENERATOR:
        return in_threads(steps(call()))
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
            return in_threads(steps(made), session=session)
        session.end()
    return await made if inspect.isawaitable(made) else made
