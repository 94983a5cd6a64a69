"""What user code raises, and what its values look like: sorted and shown, whatever they do."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from lanemesh._aio.user_errors import Closing, NoException, Withdrawn, called, failure_of, is_interrupt
from lanemesh.faults import Fault
from lanemesh.lanes.inbox.edge import cascade
from lanemesh.rendering import rendered, text_of


class Panic(BaseException):
    """What a library in Rust raises."""


class NoText(Exception):
    """Its text is no text."""

    def __str__(self) -> str:
        return None  # type: ignore[return-value]


class Raising(BaseException):
    """Its text raises an error of the same sort."""

    def __str__(self) -> str:
        raise Raising

    __repr__ = __str__


class Odd:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise Panic("no")


def of(error: BaseException, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


def circle() -> BaseException:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def chain(length: int) -> BaseException:
    error: BaseException = ValueError("the first")
    for _ in range(length):
        error = of(ValueError("a further one"), error)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoText(), "NoText: <cannot be formatted: TypeError was raised>"),
        (Raising(), "Raising: <cannot be formatted: Raising was raised>"),
        (NoException(Panic("index")), "Panic: index"),
        (ValueError("half \udc80, nul \0"), "ValueError: half \\udc80, nul \0"),
        (asyncio.CancelledError(), "CancelledError: it was not cancelled; "),
        (
            BaseExceptionGroup("several", [ValueError("a"), Panic("b")]),
            "BaseExceptionGroup: several (2 sub-exceptions)",
        ),
        (ExceptionGroup("deep", [ExceptionGroup("deeper", [NoText()])]), "ExceptionGroup: deep (1 sub-exception)"),
        (circle(), "ValueError: first"),
        (chain(2_000), "ValueError: a further one"),
        (ValueError("x" * 50_000_000), "ValueError: xxx"),
        (of(ValueError("wrapped"), NoText()), "ValueError: wrapped"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_error_becomes_a_fault_that_can_be_sent(error: BaseException, message: str) -> None:
    fault = Fault.from_exception(error)
    assert fault.message.startswith(message)
    assert Fault.from_status(Fault.from_exception(error, component="\udcff").to_status()).message.startswith(message)


def test_values_are_shown_within_a_bound_whatever_they_do() -> None:
    assert rendered("short") == "'short'"
    assert rendered(("out", 1, None)) == "('out', 1, None)"
    assert rendered(Odd()) == "<Odd that cannot be formatted: Panic was raised>"
    assert rendered([1, Odd()], 200) == "[1, <Odd that cannot be formatted: Panic was raised>]"
    assert rendered("\udc80") == "'\\udc80'"
    endless: list[Any] = []
    endless.append(endless)
    for value in ("x" * 10_000_000, b"x" * 10_000_000, list(range(1_000_000)), endless, 10**4000, {"k": "v" * 1000}):
        assert len(rendered(value)) <= 80
    assert text_of(Odd()) == "<cannot be formatted: Panic was raised>"


async def test_only_a_requested_cancellation_is_one() -> None:
    async def leak() -> None:
        inner = asyncio.ensure_future(asyncio.sleep(9))
        await asyncio.sleep(0)
        inner.cancel()
        await inner

    with pytest.raises(NoException) as leaked:
        await called(leak())
    assert isinstance(leaked.value.raised, asyncio.CancelledError)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await called(asyncio.sleep(9))
    waiting = asyncio.create_task(called(asyncio.sleep(9)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    with pytest.raises(Withdrawn):
        failure_of(Withdrawn())


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, Panic, KeyboardInterrupt, StopAsyncIteration])
async def test_what_is_no_exception_fails_its_caller_alone(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raising() -> None:
        raise kind("x")

    # As where a handler of one's own is set; within the test only, since its event loop restores the handler afterwards.
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
        with pytest.raises(Exception) as raised:  # noqa: PT011 - that it is an Exception is what is shown
            await called(raising())
    assert Fault.from_exception(raised.value).message.startswith(kind.__name__)


def test_ctrl_c_of_the_program_is_no_failure_of_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    assert is_interrupt(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        failure_of(KeyboardInterrupt())


async def test_a_generator_that_yields_when_it_is_closed_is_closed() -> None:
    async def talks() -> AsyncIterator[str]:
        try:
            yield "hello"
        finally:
            yield "bye"

    async def raises() -> AsyncIterator[str]:
        try:
            yield "hello"
        finally:
            raise RuntimeError("no")

    warnings: list[str] = []

    async def first(made: Any) -> None:
        async with Closing(made, warnings.append) as pieces:
            async for _ in pieces:
                return

    await first(talks())
    assert len(warnings) == 1
    assert "talks yielded after it was closed" in warnings[0]
    with pytest.raises(RuntimeError, match="no"):
        await first(raises())


def test_calls_that_cause_calls_need_no_stack_and_all_are_made() -> None:
    made: list[int] = []

    def call(number: int) -> Callable[[], None]:
        def make() -> None:
            made.append(number)
            if number < 3 * sys.getrecursionlimit():
                cascade([call(number + 1)])
            if number == 2:
                raise ValueError("the second fails")

        return make

    with pytest.raises(ValueError, match="the second fails"):
        cascade([call(1)])
    assert made == list(range(1, 3 * sys.getrecursionlimit() + 1))
