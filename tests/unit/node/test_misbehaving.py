"""Bodies that raise unexpected exceptions: only the node of the body fails, and is named."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from lanemesh import Context, In, Inputs, Node, Out, Outputs, ProgressUpdate
from lanemesh.faults import Fault
from lanemesh.node.runtime.actor import State
from lanemesh.testing import run_node


class Panic(BaseException):
    """What a library in Rust raises."""


class Odd:
    """Cannot be shown."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __repr__(self) -> str:
        raise self._error


async def leak() -> None:
    """Awaits what it has cancelled itself."""
    inner = asyncio.ensure_future(asyncio.sleep(9))
    await asyncio.sleep(0)
    inner.cancel()
    await inner


def misbehave(how: str) -> None:
    """What a body does."""
    if how == "panic":
        raise Panic("index")
    if how == "exit":
        sys.exit(3)
    if how == "cancelled":
        raise asyncio.CancelledError
    if how == "generator exit":
        raise GeneratorExit


class Processing(Node):
    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        if self.text == "leak":
            await leak()
        misbehave(self.text)
        return {"out": self.text}


class ProcessingInThreads(Node):
    text: In[str]
    out: Out[str]

    def process(self, context: Context) -> dict[str, Any]:
        if self.text == "leak":
            asyncio.run(leak())
        misbehave(self.text)
        return {"out": self.text}


class Generating(Node):
    text: In[str]
    out: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[tuple[str, Any]]:
        if self.text == "leak":
            await leak()
        misbehave(self.text)
        yield "out", self.text


class GeneratingInThreads(Node):
    text: In[str]
    out: Out[str]

    def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
        if self.text == "leak":
            asyncio.run(leak())
        misbehave(self.text)
        yield "out", self.text


class Running(Node):
    text: In[str]
    out: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        async for text in inputs.stream("text"):
            if text == "leak":
                await leak()
            misbehave(text)
            await outputs.emit("out", text)


class Finalizing(Node):
    text: In[str]
    out: Out[str]
    asked = ""

    async def process(self, context: Context) -> dict[str, Any]:
        Finalizing.asked = self.text
        return {}

    async def finalize(self, context: Context) -> None:
        if self.asked == "leak":
            await leak()
        misbehave(self.asked)


KINDS = {
    "leak": "CancelledError",
    "cancelled": "CancelledError",
    "panic": "Panic",
    "exit": "SystemExit",
    "generator exit": "GeneratorExit",
}


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(
    "node", [Processing, ProcessingInThreads, Generating, GeneratingInThreads, Running, Finalizing]
)
def test_what_a_body_raises_is_its_failure(node: type[Node], concurrency: int, how: str) -> None:
    several = {"concurrency": concurrency} if concurrency > 1 and node is not Running else {}
    result = run_node(node, text=["good", how], raises=False, **several)  # type: ignore[arg-type]
    assert result.state is State.FAILED
    assert result.error is not None
    assert Fault.from_exception(result.error).details["exception"] == KINDS[how]


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("node", [Processing, ProcessingInThreads, Generating, GeneratingInThreads])
def test_it_can_be_skipped_and_tried_again_as_any_other(node: type[Node], concurrency: int, how: str) -> None:
    result = run_node(node, text=["good", how, "more"], on_error="skip", concurrency=concurrency)
    assert (result.out, result.skipped) == (["good", "more"], 1)
    retry = {"retry": {"attempts": 3, "backoff": 0.001}}
    failed = run_node(node, text=["good", how, "more"], on_error=retry, concurrency=concurrency, raises=False)
    assert (failed.state, failed.retried) == (State.FAILED, 2)


class CancelsItself(Node):
    """Cancels its own task and goes on, as old libraries of timeouts do."""

    text: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task.uncancel()
        return {"out": self.text}


def test_a_cancellation_that_is_taken_back_is_none() -> None:
    assert run_node(CancelsItself, text=["a", "b"]).out == ["a", "b"]


class Logging(Node):
    """Logs and reports what cannot be shown."""

    case: In[str]
    out: Out[str]

    async def process(self, context: Context) -> dict[str, Any]:
        CASES[self.case](context)
        return {"out": self.case}


CASES: dict[str, Callable[[Context], object]] = {
    "argument": lambda context: context.log.info("got %s", Odd(RuntimeError("no"))),
    "panic": lambda context: context.log.info("got %r", Odd(Panic("no"))),
    "exit": lambda context: context.log.warning("got %s", Odd(SystemExit(3))),
    "message": lambda context: context.log.error(Odd(AttributeError("no"))),
    "format": lambda context: context.log.info("%d", "x"),
    "few": lambda context: context.log.info("%s %s", "x"),
    "surrogate": lambda context: context.log.info("got \udc80"),
    "error": lambda context: context.log.info("failed", exc_info=ValueError(Odd(RuntimeError("no")))),
    "progress": lambda context: context.progress(1, 2, Odd(RuntimeError("no"))),  # type: ignore[arg-type]
    "progress surrogate": lambda context: context.progress(1, 2, "half \udc80"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_shown_does_not_fail_the_body(case: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lanemesh.node"):
        result = run_node(Logging, case=case)
    assert result.out == [case]
    told = [record.getMessage() for record in caplog.records] + [
        update.message for update in result.updates if isinstance(update, ProgressUpdate)
    ]
    assert len(told) == 1
    if "surrogate" in case:
        assert "\\udc80" in told[0]


class BadPair(Node):
    """Yields what is no pair and cannot be shown."""

    text: In[str]
    out: Out[str]

    async def gen_process(self, context: Context) -> AsyncIterator[Any]:
        yield Odd(Panic("no"))


def test_an_error_about_a_value_that_cannot_be_shown_names_its_type() -> None:
    result = run_node(BadPair, text="x", raises=False)
    assert "gen_process yielded <Odd that cannot be formatted: Panic was raised>" in str(result.error)
