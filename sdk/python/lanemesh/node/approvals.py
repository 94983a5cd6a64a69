"""Approvals: a component asks the clients of its run whether it may do something, and waits for the decision."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from lanemesh.rendering import MAX_TEXT, text_of
from lanemesh.times import set_seconds
from lanemesh.v1 import node_pb2, update_pb2

DEFAULT_SECONDS = 600.0
"""Default time limit of a decision: ten minutes."""
MAX_SECONDS = 7 * 86_400.0
"""Longest time limit of a decision: a week."""
GRACE_SECONDS = 10.0
"""How much longer than its time limit a component waits for a decision. The orchestrator refuses at the time limit."""
MAX_SENT = 64 * 1024
"""Most characters of the arguments and of the description that are sent to the orchestrator: 64 Ki. It hides the secrets of the
whole run in them before it shortens them for clients."""
MAX_TOOL = 1_000
"""Most characters of the name of the tool."""
MAX_PENDING = 256
"""Most approvals for which one component waits at once. Further ones are refused."""


@dataclass(frozen=True, slots=True)
class Approval:
    """The decision about an approval. It is true if it was approved: `if await context.approval(...):`."""

    approved: bool
    """Whether the action may be done."""
    reason: str = ""
    """Of a refusal: why, in words."""

    def __bool__(self) -> bool:
        return self.approved


class Approvals:
    """The approvals of one component in one run."""

    def __init__(
        self,
        incarnation: int,
        report: Callable[[update_pb2.ApprovalUpdate], Awaitable[None]],
        waiting_for: Callable[[str], AbstractAsyncContextManager[None]],
        hidden: Callable[[str], str],
    ) -> None:
        """Creates the approvals of a component.

        Args:
            incarnation: above 0 if the component was placed again; part of the ids then, so that none is used twice.
            report: sends an update of the component.
            waiting_for: marks a wait for something outside the run.
            hidden: removes secrets from a text.
        """
        self._suffix = f".{incarnation}" if incarnation else ""
        self._report = report
        self._waiting_for = waiting_for
        self._hidden = hidden
        self._pending: dict[str, asyncio.Future[Approval]] = {}
        self._used: set[str] = set()

    async def request(
        self, description: str, *, tool: str = "", arguments: str = "", call_id: str = "", timeout: float | None = None
    ) -> Approval:
        """Requests an approval, and waits for the decision. The arguments are those of `Context.approval`."""
        seconds = DEFAULT_SECONDS if timeout is None else timeout
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"the timeout of an approval is above 0 and at most {MAX_SECONDS:,.0f} s, not {seconds:g}")
        if len(self._pending) >= MAX_PENDING:
            return Approval(False, f"{MAX_PENDING} approvals of this component are pending already")
        shown = self._hidden(text_of(arguments))
        update = update_pb2.ApprovalUpdate(
            call_id=self._new_id(call_id),
            state=update_pb2.APPROVAL_STATE_REQUESTED,
            tool=text_of(tool)[:MAX_TOOL],
            description=self._hidden(text_of(description))[:MAX_SENT],
            arguments_json=shown[:MAX_SENT],
            omitted_characters=len(shown[MAX_SENT:]) + max(0, len(arguments) - MAX_TEXT),
        )
        set_seconds(update.timeout, seconds)
        return await self._wait(update, seconds)

    def decide(self, decision: node_pb2.ApprovalDecision) -> None:
        """Ends the wait for a decision. Ignores a decision about an approval that is not pending."""
        pending = self._pending.get(decision.call_id)
        if pending is not None and not pending.done():
            pending.set_result(Approval(decision.approved, decision.reason))

    async def _wait(self, update: update_pb2.ApprovalUpdate, seconds: float) -> Approval:
        call_id = update.call_id
        pending: asyncio.Future[Approval] = asyncio.get_running_loop().create_future()
        self._pending[call_id] = pending
        try:
            await self._report(update)
            async with self._waiting_for(f"the approval {call_id}"), asyncio.timeout(seconds + GRACE_SECONDS):
                return await pending
        except TimeoutError:
            await self._withdraw(call_id)
            return Approval(False, f"no decision within {seconds:g} s")
        except BaseException:
            await self._withdraw(call_id)
            raise
        finally:
            del self._pending[call_id]

    async def _withdraw(self, call_id: str) -> None:
        state = update_pb2.APPROVAL_STATE_WITHDRAWN
        await self._report(update_pb2.ApprovalUpdate(call_id=call_id, state=state))

    def _new_id(self, wanted: str) -> str:
        """An id that this component has not used: a late decision must not concern a later request."""
        base = text_of(wanted)[:200] or "approval"
        made, number = f"{base}{self._suffix}", 1
        while made in self._used:
            number += 1
            made = f"{base}-{number}{self._suffix}"
        self._used.add(made)
        return made
