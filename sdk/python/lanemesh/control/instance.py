"""A helper: a node instance that serves control connections, and the execution of its calls."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lanemesh._aio.user_errors import Closing, failure_of
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
        self._received = self._active = self._failed = self._prompt_tokens = self._completion_tokens = 0
        self._cost = 0.0

    @property
    def activity(self) -> HelperActivity:
        """Its activity so far."""
        return HelperActivity(
            self._received, self._active, self._failed, self._prompt_tokens, self._completion_tokens, self._cost
        )

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
        self._begin()
        try:
            produced = getattr(self._fresh(kind), method)(*arguments())
            if not hasattr(produced, "aclose"):
                _discard(produced)
                raise self.bad(f"{method} must be an async generator: async def {method}(...) with yield")
            async with Closing(produced, self.context.log.warning):
                while True:
                    try:
                        event = await anext(produced)
                    except StopAsyncIteration:
                        return
                    except BaseException as error:
                        raise failure_of(error)  # noqa: B904 - it is the same error, or has it as its cause
                    try:
                        piece = encode(event)
                    except TypeError as error:
                        raise self.bad(f"{method} yielded {rendered(event)}; yield {error}") from None
                    if piece is not None:
                        yield piece
        except Exception as error:
            self._failed += 1
            raise self._fault(error) from error
        finally:
            self._active -= 1

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
        if counted:
            self._begin()
        try:
            try:
                returned = await call_hook(getattr(self._fresh(kind), method), *arguments())
            except BaseException as error:
                raise failure_of(error)  # noqa: B904 - it is the same error, or has it as its cause
            try:
                return encode(returned)
            except TypeError as error:
                raise self.bad(f"{method} returned {rendered(returned)}; return {error}") from None
        except Exception as error:
            self._failed += counted
            raise self._fault(error) from error
        finally:
            self._active -= counted

    def count_failure(self) -> None:
        """Adds a call that returned an error instead of raising it."""
        self._failed += 1

    @property
    def has_fixed_tools(self) -> bool:
        """Its tools do not change during a run."""
        return self._node.fixed_tools

    def count_tokens(self, prompt: int, completion: int, cost: float = 0.0) -> None:
        """Adds the tokens of a call, and their price in US dollars."""
        self._prompt_tokens += prompt
        self._completion_tokens += completion
        self._cost += cost

    def begin_remote_call(self) -> asyncio.Task[Any]:
        """Marks the current task as a remote call, so that `close` cancels it. Its caller ends it with the result."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        return task

    def end_remote_call(self, task: asyncio.Task[Any]) -> None:
        """The task is no longer a remote call."""
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

    def _begin(self) -> None:
        """Counts the begin of a call."""
        self._received += 1
        self._active += 1

    def _fault(self, error: Exception) -> LanemeshError:
        """An error as a fault of this helper."""
        where = {"component": self.context.component, "provider": self.context.provider}
        return LanemeshError(self.context.secrets.fault(Fault.from_exception(error, **where)).bounded())

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
