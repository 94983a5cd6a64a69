"""Exceptions of user code: which are its failures, and which belong to Lanemesh or to the embedding program.

User code can raise any exception: a BaseException that is not an Exception (a panic of a Rust library, `sys.exit()`), or a
CancelledError of another task. Supervision handles all of these as `Exception`; `failure_of` converts them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound="Closable")


class Withdrawn(asyncio.CancelledError):
    """A cancellation that Lanemesh raises in a body without cancelling its task: nothing takes its outputs any more."""


class NoException(RuntimeError):
    """User code raised a BaseException that is not an Exception. That is its cause, and faults show it."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"user code raised {type(raised).__name__}")
        self.__cause__ = raised
        self.raised = raised

    def __reduce__(self) -> tuple[type[NoException], tuple[BaseException]]:
        return (type(self), (self.raised,))


def failure_of(error: BaseException) -> Exception:
    """The failure for an exception of user code. Called in the task that ran the code, in the `except` clause.

    Raises:
        BaseException: `error` itself, if it is not a failure of user code: a requested cancellation, the end of a coroutine whose
        event loop is closed, or Ctrl-C.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, asyncio.CancelledError) and (isinstance(error, Withdrawn) or cancel_requested()):
        raise error
    if isinstance(error, GeneratorExit) and current_task() is None:
        raise error
    if is_interrupt(error):
        raise error
    return NoException(error)


def failure_or_cancellation(error: BaseException) -> Exception | asyncio.CancelledError:
    """As `failure_of`, but returns a cancellation that was requested."""
    try:
        return failure_of(error)
    except asyncio.CancelledError as cancelled:
        return cancelled


async def called(work: Awaitable[T]) -> T:
    """Awaits user code. Raises its failures as `Exception`."""
    try:
        return await work
    except BaseException as error:
        raise failure_of(error)  # noqa: B904 - it is the same error, or has it as its cause


class Closable(Protocol):
    """Has an asynchronous `aclose`, as asynchronous generators have."""

    async def aclose(self) -> None:
        """Ends it."""


class Closing(Generic[C]):
    """Closes a generator of user code at the end, as `contextlib.aclosing` does. A generator that yields after it was closed, as a
    `yield` in `finally` does, has also ended: the yielded value is dropped, and a warning is logged."""

    __slots__ = ("_generator", "_warn")

    def __init__(self, generator: C, warn: Callable[[str], object]) -> None:
        self._generator = generator
        self._warn = warn

    async def __aenter__(self) -> C:
        return self._generator

    async def __aexit__(self, *raised: object) -> None:
        try:
            await self._generator.aclose()
        except RuntimeError as error:
            _warn_of_ignored_close(error, _name(self._generator), self._warn)


async def close(closing: Awaitable[None], name: str, warn: Callable[[str], object]) -> None:
    """Closes a generator of user code as `Closing` does; `closing` is the call of its `aclose`."""
    try:
        await closing
    except RuntimeError as error:
        _warn_of_ignored_close(error, name, warn)


def _warn_of_ignored_close(error: RuntimeError, name: str, warn: Callable[[str], object]) -> None:
    if not ignored_close(error):
        raise error
    warn(f"{name} yielded after it was closed, as `yield` in `finally` does; the generator was abandoned")


def ignored_close(error: RuntimeError) -> bool:
    """A generator has yielded instead of ending when it was closed."""
    return any(type(text) is str and text.endswith("generator ignored GeneratorExit") for text in error.args)


def _name(generator: object) -> str:
    return str(getattr(generator, "__qualname__", None) or getattr(generator, "name", type(generator).__name__))


def cancel_requested() -> bool:
    """The current task was cancelled, and that was not withdrawn: a CancelledError is its consequence."""
    task = current_task()
    return task is not None and task.cancelling() > 0


def current_task() -> asyncio.Task[object] | None:
    """The task that runs now; None outside of an event loop."""
    return asyncio.current_task() if asyncio._get_running_loop() is not None else None


def is_interrupt(error: BaseException) -> bool:
    """A KeyboardInterrupt by Ctrl-C, rather than one that code has raised by itself."""
    if not isinstance(error, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_name == "_on_sigint"  # of asyncio.Runner
