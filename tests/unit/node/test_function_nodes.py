"""Functions as nodes: what their signatures make of them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, TypedDict

import lanemesh
import pytest
from lanemesh import Answer, Context, Node, Whole, node
from lanemesh.faults import NodeDefinitionError
from lanemesh.node.manifest import manifest_of
from lanemesh.testing import run_node, run_node_async
from pydantic import Field, ValidationError


class Parts(TypedDict):
    """Several outputs."""

    first: str
    rest: str


@node
def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@node
async def later(text: str, times: int = 2) -> str:
    """Repeats it."""
    return text * times


@node
def each(text: str, *, separator: str = " ") -> Iterator[str]:
    """Its words."""
    yield from text.split(separator)


@node
async def each_later(text: str, context: Context) -> AsyncIterator[str]:
    """Its words, with the component."""
    for word in text.split():
        yield f"{context.component} {word}"


@node
def parts(text: str) -> Parts:
    """The first word, and the rest."""
    first, _, rest = text.partition(" ")
    return {"first": first, "rest": rest}


@node(sync_mode="zip_all", provider="plus", isolation="process")
def add(a: float, b: float, /) -> float:
    """A sum."""
    return a + b


@node
def total(numbers: list[Annotated[int, Field(ge=0)]]) -> int:
    """Of all."""
    return sum(numbers)


@node
def length(answer: Whole[Answer]) -> int | None:
    """Of an answer, if it has any."""
    return len(answer.text) or None


@node
def swallow(text: str) -> None:
    """Sends nothing."""


def test_the_kinds_of_functions() -> None:
    assert run_node(shout, text=["a", "b"]).out == ["A", "B"]
    assert run_node(later, text="a", times=[3]).out[-1] == "aaa"
    assert run_node(each, text="a-b", config={"separator": "-"}).out == ["a", "b"]
    assert run_node(each_later, text="a b", component="n").out == ["n a", "n b"]
    result = run_node(parts, text="a b c")
    assert (result.first, result.rest) == (["a"], ["b c"])
    assert run_node(add, a=[1, 2], b=[3, 4]).out == [4, 6]
    assert run_node(add, a=[1], b=[3], isolation="thread").out == [4]
    assert run_node(total, numbers=[1, 2]).out == [3]
    assert run_node(length, answer=[Answer("ab", finish_reason="stop"), Answer("", finish_reason="stop")]).out == [2]
    assert run_node(swallow, text="a").outputs == {}


def test_a_function_is_described_by_itself() -> None:
    manifest = manifest_of(shout)
    assert (manifest.provider, manifest.description) == ("shout", "Says it louder.")
    assert [port.name for port in manifest.inputs] == ["text"]
    assert [port.name for port in manifest.outputs] == ["out"]
    assert (add.provider, add.sync_mode) == ("plus", "zip_all")
    assert shout.function("a") == "A"  # type: ignore[attr-defined]
    with pytest.raises(ValidationError):
        each.Config(separator=3)  # type: ignore[call-arg]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("function", [shout, later, each, each_later])
def test_decorated_functions_do_what_they_do_without(function: Any) -> None:
    again = node(wrapped(function.function))
    assert run_node(again, text="a b", component="n").out == run_node(function, text="a b", component="n").out


def bare(text) -> str:  # type: ignore[no-untyped-def]
    return str(text)


def silent(text: str):  # type: ignore[no-untyped-def]
    return text


def gathers(*texts: str) -> str:
    return ""


def no_item(text: str) -> str:  # type: ignore[misc]
    yield text


def reserved(version: str) -> str:
    return version


def unknown_lane(data: bytes) -> str:
    return ""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (bare, "no type hint for text"),
        (silent, "no type hint for its return value"),
        (gathers, r"it takes \*texts"),
        (no_item, r"write for example `-> Iterator\[str\]`"),
        (reserved, 'reserved name "version"'),
        (unknown_lane, "which no lane can carry"),
    ],
)
def test_a_signature_that_makes_no_node_is_refused(function: Any, said: str) -> None:
    with pytest.raises(NodeDefinitionError, match=said):
        node(function)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="no setting color"):
        node(color="red")


def test_the_package_of_the_same_name_is_the_decorator() -> None:
    import lanemesh.node.node as home

    assert home.Node is Node
    assert callable(lanemesh.node)


async def test_happy_a_function_has_several_firings_at_once() -> None:
    together = asyncio.Barrier(2)

    @node(concurrency=2)
    async def meets(number: int) -> int:
        """Waits for another firing."""
        await together.wait()
        return number

    assert (await run_node_async(meets, number=[1, 2], timeout=60)).out == [1, 2]
