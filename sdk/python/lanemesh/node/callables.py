"""The kind of a callable below its decorators: plain, asynchronous or a generator."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Collection
from enum import Enum
from typing import Any

from lanemesh._aio.threads import THREADS
from lanemesh._aio.user_errors import failure_of


class CallKind(Enum):
    """The result of a call."""

    VALUE = "a value"
    COROUTINE = "a coroutine"
    GENERATOR = "a generator"
    ASYNC_GENERATOR = "an asynchronous generator"


def innermost(function: Any) -> Any:
    """The function below decorators that name what they wrap, partial applications, bound methods and callable objects."""
    for _ in range(100):
        if isinstance(function, functools.partial | functools.partialmethod):
            function = function.func
        elif isinstance(function, staticmethod | classmethod) or inspect.ismethod(function):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif _is_callable_object(function):
            function = type(function).__call__
        else:
            break
    return function


def kind_of(function: Any) -> CallKind:
    """The result of a call by the function's own definition, even if it wraps another function."""
    while isinstance(function, functools.partial | functools.partialmethod | staticmethod | classmethod):
        function = function.func if hasattr(function, "func") else function.__func__
    if _is_callable_object(function):
        function = type(function).__call__
    if inspect.isasyncgenfunction(function):
        return CallKind.ASYNC_GENERATOR
    if inspect.iscoroutinefunction(function):
        return CallKind.COROUTINE
    return CallKind.GENERATOR if inspect.isgeneratorfunction(function) else CallKind.VALUE


def is_plain(function: Any) -> bool:
    """It is a plain function, and so is the function that it wraps, if any: a call returns the value itself."""
    inner = innermost(function)
    return kind_of(function) is kind_of(inner) is CallKind.VALUE and not takes_anything(inner)


def takes_anything(function: Any) -> bool:
    """It has `*args`, like the functions that decorators make, which may return anything; True if that is unknown."""
    code = getattr(function, "__code__", None)
    return code is None or bool(code.co_flags & inspect.CO_VARARGS)


def is_asynchronous(function: Any) -> bool:
    """A call returns at once, and its result has to be awaited or iterated in an event loop."""
    return kind_of(function) in (CallKind.COROUTINE, CallKind.ASYNC_GENERATOR)


def may_return(function: Any) -> bool:
    """By its code, the function may return a value besides None; True if that is unknown."""
    code = getattr(innermost(function), "__code__", None)
    if code is None:
        return True
    previous: dis.Instruction | None = None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "RETURN_CONST" and instruction.argval is not None:
            return True
        is_none = previous is not None and previous.opname == "LOAD_CONST" and previous.argval is None
        if instruction.opname == "RETURN_VALUE" and (instruction.is_jump_target or not is_none):
            return True
        previous = instruction
    return False


def mentions(function: Any, texts: Collection[str]) -> bool:
    """By its code, the function has one of these texts as a constant."""
    code = getattr(innermost(function), "__code__", None)
    constants = code.co_consts if code is not None else ()
    found = {
        part
        for constant in constants
        for part in (constant if isinstance(constant, tuple) else (constant,))
        if isinstance(part, str)
    }
    return not found.isdisjoint(texts)


def _is_callable_object(function: Any) -> bool:
    return (
        not isinstance(function, type)
        and not inspect.isroutine(function)
        and not hasattr(function, "__wrapped__")
        and callable(function)
    )


async def call_hook(hook: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a hook: an `async` function; a plain one, which runs in a worker thread; or a plain one that returns an
    awaitable, which is awaited. Raises its failures as `Exception`."""
    try:
        result = hook(*arguments) if is_asynchronous(hook) else await THREADS.call(hook, *arguments)
        return await result if inspect.isawaitable(result) else result
    except BaseException as error:
        raise failure_of(error)  # noqa: B904 - it is the same error, or has it as its cause
