"""Functions of users, of every kind, called in one way."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from lanemesh.extend import call_function, in_thread
from pydantic import Field

MAIN = threading.get_ident()


def plain(text: str) -> str:
    assert threading.get_ident() != MAIN
    return text * 2


async def asynchronous(text: str) -> str:
    assert threading.get_ident() == MAIN
    return text * 2


def generating(text: str) -> Iterator[str]:
    assert threading.get_ident() != MAIN
    yield text
    yield text


async def generating_asynchronously(text: str) -> AsyncIterator[str]:
    yield text
    yield text


class Doubler:
    """An object that can be called."""

    def __call__(self, text: str) -> str:
        return text * 2


@functools.wraps(generating)
def decorated(*arguments: Any) -> Any:
    return generating(*arguments)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, ["abab"]),
        (asynchronous, ["abab"]),
        (generating, ["ab", "ab"]),
        (generating_asynchronously, ["ab", "ab"]),
        (functools.partial(plain), ["abab"]),
        (Doubler(), ["abab"]),
        (decorated, ["ab", "ab"]),
        (lambda text: asynchronous(text), ["abab"]),
    ],
)
async def test_every_kind_of_function_is_called(function: Callable[..., Any], expected: list[str]) -> None:
    assert [value async for value in call_function(function, "ab")] == expected


async def test_arguments_may_be_given_by_keyword() -> None:
    assert [value async for value in call_function(plain, text="ab")] == ["abab"]


async def test_leaving_the_iteration_closes_the_generator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async with aclosing(call_function(endless)) as values:
        assert await anext(values) == 1

    assert closed.is_set()


async def test_error_what_a_function_raises_is_raised() -> None:
    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await in_thread(fails)
    with pytest.raises(ValueError, match="no"):
        await anext(call_function(fails))


async def test_a_cancelled_call_is_abandoned() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def blocks() -> None:
        begun.set()
        go_on.wait()

    call = asyncio.ensure_future(in_thread(blocks))
    await in_thread(begun.wait)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()


def ends() -> list[str]:
    return ["!"]


ENDS = Field(default_factory=ends)


def with_fields(text: str, times: int = Field(default=3), *, ends: list[str] = ENDS) -> str:
    return text * times + "".join(ends)


async def with_required_field(text: str, times: int = Field(ge=1)) -> str:
    return text * times


@pytest.mark.parametrize("function", [with_fields, functools.partial(with_fields)])
async def test_a_field_as_default_gives_its_default(function: Callable[..., Any]) -> None:
    assert [value async for value in call_function(function, "a")] == ["aaa!"]
    if not isinstance(function, functools.partial):
        assert [value async for value in call_function(function, "a", 1, ends=("?",))] == ["a?"]


async def test_error_a_field_without_a_default_needs_an_argument() -> None:
    with pytest.raises(TypeError, match="required parameter times"):
        await anext(call_function(with_required_field, "a"))
    assert [value async for value in call_function(with_required_field, "a", times=2)] == ["aa"]


def with_positional_fields(text: str, end: str = ".", times: int = Field(default=3), /, *, start: str = "") -> str:
    return start + text * times + end


async def test_a_field_as_default_of_a_positional_parameter_gives_its_default() -> None:
    assert [value async for value in call_function(with_positional_fields, "a", start="<")] == ["<aaa."]
    assert [value async for value in call_function(with_positional_fields, "a", "!", 1)] == ["a!"]
