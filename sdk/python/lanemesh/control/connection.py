"""The common properties of control connections of every transport: two components, limits and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from lanemesh.faults import Code, Fault, LanemeshError

P = TypeVar("P")

Waiting = Callable[[], AbstractAsyncContextManager[None]]
"""Entered around each wait on a helper and left before user code continues: a GPU lease may be yielded within it."""

CALL_SECONDS = 600.0
"""Longest duration of one call of a helper, unless a component sets another."""
REACH_SECONDS = 10.0
"""Longest time for reaching a helper before a run starts."""
RUN_KEY = "lanemesh-run"
"""Metadata key of a call: the run."""
COMPONENT_KEY = "lanemesh-component"
"""Metadata key of a call: the component that is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A resolved control connection, as errors describe it."""

    class_type: str
    """The kind of helper, such as "llm"."""
    helper: str
    """The component that is called; empty outside any run."""
    invoker: str = ""
    """The component that calls; empty outside any run."""
    address: str = ""
    """Address of the helper, as "host:port"; empty if it is in this process."""

    def __str__(self) -> str:
        name = f"the {self.class_type} helper {self.helper}" if self.helper else f"the {self.class_type} server"
        return name + (f" at {self.address}" if self.address else "")

    def fault(self, code: Code, reason: str, what: str, *, secondary: bool = False) -> Fault:
        """A fault of this connection: `what` continues "agent_1 called the llm helper llm_1 at host:port"."""
        caller = self.invoker or "a client"
        details = {"component": self.invoker, "helper": self.helper, "address": self.address}
        return Fault(
            code=code,
            reason=reason,
            message=f"{caller} called {self}: {what}",
            details={key: value for key, value in details.items() if value},
            secondary=secondary,
        )

    def timed_out(self, seconds: float | None) -> LanemeshError:
        """The call exceeded its time limit."""
        bound = "its deadline" if seconds is None else f"{seconds:g} s"
        what = f"it did not end within {bound}, so the call was cancelled. Allow more time, or request less in one call"
        return LanemeshError(self.fault(Code.DEADLINE_EXCEEDED, "helper-timeout", what))

    def unreachable(self, why: str) -> LanemeshError:
        """The helper cannot be reached, detected before the run starts."""
        what = f"it cannot be reached: {why}. Check that its server runs, and that this machine can dial the address"
        return LanemeshError(self.fault(Code.UNAVAILABLE, "helper-unreachable", what))


async def relay(
    pieces: AsyncGenerator[P, None],
    connection: Connection,
    *,
    timeout: float | None = None,
    waiting: Waiting | None = None,
) -> AsyncGenerator[P, None]:
    """Passes on the pieces of a helper's answer. Leaving it early closes `pieces`, which cancels the call at the helper.

    Args:
        pieces: the pieces that the helper sends.
        connection: named in errors.
        timeout: seconds from the first wait until the end of the answer; None if `pieces` has its own limit.
        waiting: entered around each wait.

    Raises:
        LanemeshError: the helper's own fault, or "helper-timeout".
    """
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    async with aclosing(pieces):
        while True:
            async with waiting() if waiting is not None else nullcontext():
                try:
                    async with asyncio.timeout_at(deadline) as bound:
                        piece = await anext(pieces, None)
                except TimeoutError:
                    if bound.expired():
                        raise connection.timed_out(timeout) from None
                    raise
            if piece is None:
                return
            yield piece
