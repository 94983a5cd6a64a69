"""A forgotten `await` before `outputs.emit(...)` fails the node, and warns of nothing else."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
from lanemesh import Context, In, Inputs, Node, Out, Outputs
from lanemesh.faults import LanemeshError
from lanemesh.testing import run_node

FORGOTTEN = (
    r'^shout_1 called outputs\.emit\("shouted", \.\.\.\) without `await`, so nothing was sent: '
    r'write `await outputs\.emit\("shouted", \.\.\.\)`$'
)


class Base(Node):
    """Upper-cases text."""

    provider = "shout"
    text: In[str]
    shouted: Out[str]


def test_an_emit_that_was_not_awaited_fails_the_node_that_called_it() -> None:
    class Shout(Base):
        provider = "shout"

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            async for piece in inputs.stream("text"):
                outputs.emit("shouted", piece.upper())  # type: ignore[unused-coroutine]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LanemeshError, match=FORGOTTEN) as caught:
            run_node(Shout, text=["a", "b"])
    assert caught.value.fault.reason == "not-awaited"


def test_the_next_emit_reports_it_at_once() -> None:
    reached: list[str] = []

    class Shout(Base):
        provider = "shout"

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            outputs.emit("shouted", "first")  # type: ignore[unused-coroutine]
            await outputs.emit("shouted", "second")
            reached.append("the end")

    with pytest.raises(LanemeshError, match=FORGOTTEN):
        run_node(Shout, text="a")
    assert reached == []


def test_emits_that_are_awaited_later_are_none_of_that() -> None:
    class Shout(Base):
        provider = "shout"

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            await asyncio.gather(*[outputs.emit("shouted", piece) async for piece in inputs.stream("text")])

    assert run_node(Shout, text=["a", "b"]).shouted == ["a", "b"]


def test_other_coroutines_that_were_not_awaited_are_warned_of_as_ever() -> None:
    async def other() -> None: ...

    class Shout(Base):
        provider = "shout"

        async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
            other()  # type: ignore[unused-coroutine]
            await outputs.emit("shouted", "x")

    with pytest.warns(RuntimeWarning, match="other' was never awaited"):
        result: Any = run_node(Shout, text="a")
    assert result.shouted == ["x"]
