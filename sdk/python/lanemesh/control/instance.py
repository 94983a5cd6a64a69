"""A helper: a node instance that serves control connections, and the execution of its calls."""

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
    """Calls that it received."""
    active: int = 0
    """Calls that it is answering now."""
    failed: int = 0
    """Calls that ended with an error. A call that its caller left early has not failed."""
    prompt_tokens: int = 0
    """Tokens of all prompts, where its model reports them."""
    completion_tokens: int = 0
    """Tokens of all answers, likewise."""
    cost: float = 0.0
    """Price of these tokens in US dollars, where its model reports it."""


class HelperInstance:
    """One component of one run that serves control connections. Each call runs on a fresh shallow copy of its node.

    Every error of a call, here and over gRPC, is a LanemeshError whose fault names the component and its node type.
    """

    def __init__(self, node: Node, context: Context) -> None:
        self.context = context
        """The helper's own context."""
        self.closed = False
        """It accepts no more calls."""
        self._node = node
        self._calls: set[asyncio.Task[Any]] = set()
        self.activity = HelperActivity()
        """Its activity so far."""

    async def stream(
        self, kind: str, method: str, arguments: Callable[[], tuple[Any, ...]], encode: Callable[[Any], P | None]
    ) -> AsyncGenerator[P, None]:
        """Counts a call, makes it, and yields the encoded values of the node.

        Args:
            kind: the kind of helper that the instance must be.
            method: the node's method, an asynchronous generator.
            arguments: makes its arguments.
            encode: makes a response from each value; None: it has no response. Raises TypeError for an invalid value, with the
                valid types as its text.
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
        """Makes a call, and returns the response that `encode` makes from the result of the node.

        Args:
            kind: the kind of helper that the instance must be.
            method: the node's method; a plain one runs in a worker thread.
            arguments: makes its arguments.
            encode: makes the response. Raises TypeError for an invalid result, with the valid types as its text.
            counted: False: the call is not counted in the activity of the helper.
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

    def count_failure(self) -> None:
        """Adds a call that returned an error instead of raising it."""
        self._add(failed=1)

    @property
    def has_fixed_tools(self) -> bool:
        """Its tools do not change during a run."""
        return self._node.fixed_tools

    def count_tokens(self, prompt: int, completion: int, cost: float = 0.0) -> None:
        """Adds the tokens of a call, and their price in US dollars."""
        self._add(prompt_tokens=prompt, completion_tokens=completion, cost=cost)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Marks the current task as a remote call, so that `close` cancels it."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            yield
        finally:
            self._calls.discard(task)

    async def close(self) -> None:
        """Cancels the remote calls in progress, and waits up to 5 s for them. Later calls are rejected."""
        self.closed = True
        calls = self._calls - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=CLOSE_SECONDS)

    def closed_fault(self) -> Fault:
        """The fault of calls after the helper was closed."""
        return Fault(
            code=Code.CANCELLED,
            reason="helper-closed",
            message=f"{self.context.component} accepts no more calls: its run has ended here",
            details={"component": self.context.component, "provider": self.context.provider},
            secondary=True,
        )

    def bad(self, what: str) -> LanemeshError:
        """The error of a node that yields or returns an invalid value."""
        message = f"{self.context.component} ({self.context.provider}): {what}."
        return LanemeshError(Fault(code=Code.INTERNAL, reason="bad-result", message=message))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a call. Errors are raised as faults of this helper."""
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
        """Errors are raised as faults of this helper."""
        try:
            yield
        except Exception as error:
            where = {"component": self.context.component, "provider": self.context.provider}
            fault = self.context.secrets.fault(Fault.from_exception(error, **where))
            raise LanemeshError(fault.bounded()) from error

    def _add(self, **counts: float) -> None:
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
                    message=f"{self.context.component} ({self.context.provider}) is not a helper of the kind {kind}; "
                    f"it offers: {', '.join(self._node.offers) or 'nothing'}",
                )
            )
        return copy.copy(self._node)


def _discard(produced: object) -> None:
    """Closes a coroutine that will not be awaited, so that Python logs no warning besides the error."""
    if inspect.iscoroutine(produced):
        produced.close()


class HelperLookup(Protocol):
    """Finds the helper of a call on a server."""

    def find_helper(self, run_id: str, component: str) -> HelperInstance | None:
        """The helper, or None. Both names are those in the caller's metadata; empty if the metadata have none."""
