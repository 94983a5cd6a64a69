"""A helper: a node instance that serves control connections, and how its calls run."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from lanemesh._aio.user_code import Closing, called, failure_of
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.callables import call_hook
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.rendering import rendered

P = TypeVar("P")

CLOSE_SECONDS = 5.0
"""How long cancelled calls may take when their helper closes, before they are abandoned."""


@dataclass(frozen=True, slots=True)
class HelperActivity:
    """Counts of one helper in one run."""

    calls: int = 0
    """Calls that it was given."""
    active: int = 0
    """Calls that it answers right now."""
    failed: int = 0
    """Calls that ended with an error; one that its caller left early has not failed."""
    prompt_tokens: int = 0
    """Tokens of all prompts, where its model reports them."""
    completion_tokens: int = 0
    """Tokens of all answers, likewise."""


class HelperInstance:
    """One component of one run that serves control connections. Each call runs on a fresh shallow copy of its node.

    Whatever a call raises, here and over gRPC, is a LanemeshError whose fault names the component and its node type.
    """

    def __init__(self, node: Node, context: Context) -> None:
        self.context = context
        """The helper's own context."""
        self.closed = False
        """It takes no more calls."""
        self._node = node
        self._calls: set[asyncio.Task[Any]] = set()
        self.activity = HelperActivity()
        """What it has done so far."""

    async def stream(
        self, kind: str, method: str, arguments: Callable[[], tuple[Any, ...]], encode: Callable[[Any], P | None]
    ) -> AsyncGenerator[P, None]:
        """Counts a call, makes it, and yields what the node yields.

        Args:
            kind: the kind of helper that it has to be.
            method: the node's method, an asynchronous generator.
            arguments: makes its arguments.
            encode: makes a response of what it yields; None: nothing is to be sent yet. Raises TypeError, with the types that may
                be yielded as its text, if it may not yield this.
        """
        with self._counted():
            produced = getattr(self._fresh(kind), method)(*arguments())
            if not hasattr(produced, "aclose"):
                _discard(produced)
                raise self.bad(f"{method} must be an async generator: async def {method}(...) with yield")
            async with Closing(produced, self.context.log.warning):
                while True:
                    try:
                        event = await called(anext(produced))
                    except StopAsyncIteration:
                        return
                    try:
                        piece = encode(event)
                    except TypeError as error:
                        raise self.bad(f"{method} yielded {rendered(event)}; yield {error}") from None
                    if piece is not None:
                        yield piece

    async def call(
        self,
        kind: str,
        method: str,
        arguments: Callable[[], tuple[Any, ...]],
        encode: Callable[[Any], P],
        *,
        counted: bool = True,
    ) -> P:
        """Makes a call, and returns the response that `encode` makes of what the node returns.

        Args:
            kind: the kind of helper that it has to be.
            method: the node's method; a plain one runs in a worker thread.
            arguments: makes its arguments.
            encode: makes the response. Raises TypeError, with what is to be returned as its text, if the node may not return this.
            counted: False: the call is no work of the helper, and is not counted in its activity.
        """
        with self._counted() if counted else self._faults():
            try:
                returned = await call_hook(getattr(self._fresh(kind), method), *arguments())
                try:
                    return encode(returned)
                except TypeError as error:
                    raise self.bad(f"{method} returned {rendered(returned)}; return {error}") from None
            except BaseException as error:
                raise failure_of(error)  # noqa: B904 - it is the same error, or has it as its cause

    def count_tokens(self, prompt: int, completion: int) -> None:
        """Adds what a call has cost."""
        self._add(prompt_tokens=prompt, completion_tokens=completion)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Marks the current task as a call from elsewhere, so that `close` cancels it."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            yield
        finally:
            self._calls.discard(task)

    async def close(self) -> None:
        """Cancels the calls from elsewhere that are under way, and waits up to 5 s for them. Later calls are refused."""
        self.closed = True
        calls = self._calls - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=CLOSE_SECONDS)

    def closed_fault(self) -> Fault:
        """What calls see once the helper is closed."""
        return Fault(
            code=Code.CANCELLED,
            reason="helper-closed",
            message=f"{self.context.component} accepts no more calls: its run has ended here",
            details={"component": self.context.component, "provider": self.context.provider},
            secondary=True,
        )

    def bad(self, what: str) -> LanemeshError:
        """The error of a node that yields or returns what it may not."""
        message = f"{self.context.component} ({self.context.provider}): {what}."
        return LanemeshError(Fault(code=Code.INTERNAL, reason="bad-result", message=message))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a call. What it raises is raised as a fault of this helper."""
        self._add(calls=1, active=1)
        try:
            with self._faults():
                yield
        except LanemeshError:
            self._add(failed=1)
            raise
        finally:
            self._add(active=-1)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """What it raises is raised as a fault of this helper."""
        try:
            yield
        except Exception as error:
            where = {"component": self.context.component, "provider": self.context.provider}
            fault = self.context.secrets.fault(Fault.from_exception(error, **where))
            raise LanemeshError(fault.bounded()) from error

    def _add(self, **counts: int) -> None:
        self.activity = replace(
            self.activity, **{name: getattr(self.activity, name) + count for name, count in counts.items()}
        )

    def _fresh(self, kind: str) -> Any:
        if self.closed:
            raise LanemeshError(self.closed_fault())
        if kind not in self._node.offers:
            raise LanemeshError(
                Fault(
                    code=Code.UNIMPLEMENTED,
                    reason="not-offered",
                    message=f"{self.context.component} ({self.context.provider}) is no {kind} helper; "
                    f"it offers: {', '.join(self._node.offers) or 'nothing'}",
                )
            )
        return copy.copy(self._node)


def _discard(produced: object) -> None:
    """Closes a coroutine that nobody awaits, so that Python does not warn of it beside the error."""
    if inspect.iscoroutine(produced):
        produced.close()


class HelperLookup(Protocol):
    """Where a server finds the helper that a call means."""

    def find_helper(self, run_id: str, component: str) -> HelperInstance | None:
        """The helper, or None. Both names are as the caller's metadata say; empty if they say nothing."""
