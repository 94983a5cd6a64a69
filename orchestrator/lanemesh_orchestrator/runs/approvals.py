"""The approvals of one run: those that its components wait for, and the decisions of clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.rendering import shortened
from lanemesh.times import seconds_of, stamp
from lanemesh.v1 import node_pb2, run_pb2, update_pb2

MAX_PENDING = 1_000
"""Most approvals for which the components of a run wait at once. Further ones are refused."""
MAX_DECIDED = 1_000
"""Number of decided approvals that are remembered for the error of a second decision."""
MAX_ARGUMENTS = 4_000
"""Most characters of the arguments that clients get, before the mark with the number of the others."""
MAX_OMITTED = 2**53
"""Largest number of characters that a node server may have left out."""
MAX_DESCRIPTION = 1_000
"""Most characters of the description that clients get, before such a mark."""
MAX_REASON = 1_000
"""Most characters of the reason of a refusal."""

Key = tuple[str, str]
"""A component and the id of its approval."""
SendDecision = Callable[[node_pb2.ApprovalDecision], Awaitable[None]]
"""Sends a decision to the node server of its component."""


@dataclass(slots=True)
class _Pending:
    """One approval that a component waits for."""

    update: update_pb2.ApprovalUpdate
    timer: asyncio.TimerHandle


class RunApprovals:
    """The approvals of one run. Each gets exactly one decision: of a client, of its deadline, or of the end of its component."""

    def __init__(self, run_id: str, append: Callable[[update_pb2.Update], None], send: SendDecision) -> None:
        """`append` adds an update to the log of the run."""
        self._run_id = run_id
        self._append = append
        self._send = send
        self._pending: dict[Key, _Pending] = {}
        self._decided: dict[Key, None] = {}
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def pending(self) -> list[update_pb2.ApprovalUpdate]:
        """The approvals that components wait for, the oldest first."""
        return [one.update for one in self._pending.values()]

    def take(self, update: update_pb2.Update) -> None:
        """Takes in a request or a withdrawal of a component, without secrets, and appends it to the log. Ignores other states, a
        second request of one id, and the withdrawal of an approval that is not pending."""
        approval = update.approval
        key = approval.component, approval.call_id
        if approval.state == update_pb2.APPROVAL_STATE_REQUESTED:
            if key not in self._pending and key not in self._decided:
                self._request(update)
        elif approval.state == update_pb2.APPROVAL_STATE_WITHDRAWN:
            self._end(key, approval.state)

    def _request(self, update: update_pb2.Update) -> None:
        approval = update.approval
        key, seconds = (approval.component, approval.call_id), seconds_of(approval.timeout)
        omitted = min(approval.omitted_characters, MAX_OMITTED)
        approval.omitted_characters = omitted + max(0, len(approval.arguments_json) - MAX_ARGUMENTS)
        approval.arguments_json = shortened(approval.arguments_json, MAX_ARGUMENTS, omitted)
        approval.description = shortened(approval.description, MAX_DESCRIPTION)
        approval.deadline.FromNanoseconds(time.time_ns() + int(seconds * 1e9))
        kept = update_pb2.ApprovalUpdate()
        kept.CopyFrom(approval)
        timer = asyncio.get_running_loop().call_later(seconds, self._refuse, key, f"no decision within {seconds:g} s")
        full = len(self._pending) >= MAX_PENDING
        self._pending[key] = _Pending(kept, timer)
        self._append(update)
        if full:
            self._refuse(key, f"{MAX_PENDING:,} approvals of the run are pending already")

    async def decide(self, request: run_pb2.DecideApprovalRequest) -> None:
        """Decides an approval for a client.

        Raises:
            LanemeshError: no approval of that id is pending ("unknown-approval"), it was decided before ("approval-decided"), or
                several components wait for one of that id ("several-approvals").
        """
        key = self._find(request.call_id, request.component)
        reason = "" if request.approved else (request.reason[:MAX_REASON] or "refused by a client")
        await self._send(self._decide(key, approved=request.approved, reason=reason))

    def withdraw(self, components: Collection[str]) -> None:
        """The components have ended, or their node server is lost."""
        for key in [key for key in self._pending if key[0] in components]:
            self._end(key, update_pb2.APPROVAL_STATE_WITHDRAWN)

    async def close(self) -> None:
        """The run has ended: withdraws what is pending."""
        for key in list(self._pending):
            self._end(key, update_pb2.APPROVAL_STATE_WITHDRAWN)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _find(self, call_id: str, component: str) -> Key:
        found = [key for key in self._pending if key[1] == call_id and component in ("", key[0])]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(name for name, _ in found)
            raise _error(
                Code.FAILED_PRECONDITION,
                "several-approvals",
                f'the components {names} of run {self._run_id} wait for approvals of the id "{call_id}": name the component',
            )
        if any(key[1] == call_id and component in ("", key[0]) for key in self._decided):
            raise _error(
                Code.FAILED_PRECONDITION,
                "approval-decided",
                f'the approval "{call_id}" of run {self._run_id} was decided or withdrawn before',
            )
        waiting = ", ".join(name for _, name in list(self._pending)[:10])
        hint = f"pending are {waiting}" if waiting else "none is pending"
        raise _error(Code.NOT_FOUND, "unknown-approval", f'run {self._run_id} has no approval "{call_id}": {hint}')

    def _refuse(self, key: Key, reason: str) -> None:
        decision = self._decide(key, approved=False, reason=reason)
        task = asyncio.ensure_future(self._send(decision))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _decide(self, key: Key, *, approved: bool, reason: str) -> node_pb2.ApprovalDecision:
        state = update_pb2.APPROVAL_STATE_APPROVED if approved else update_pb2.APPROVAL_STATE_REFUSED
        self._end(key, state, reason)
        return node_pb2.ApprovalDecision(component=key[0], call_id=key[1], approved=approved, reason=reason)

    def _end(self, key: Key, state: update_pb2.ApprovalState.ValueType, reason: str = "") -> None:
        pending = self._pending.pop(key, None)
        if pending is None:
            return
        pending.timer.cancel()
        self._decided[key] = None
        if len(self._decided) > MAX_DECIDED:
            del self._decided[next(iter(self._decided))]
        request = pending.update
        update = update_pb2.Update()
        ended = update.approval
        ended.component, ended.call_id, ended.state, ended.reason = *key, state, reason
        ended.tool, ended.description = request.tool, request.description
        stamp(update.time)
        self._append(update)


def ended_error(run_id: str) -> LanemeshError:
    """The error of a decision about a run that has ended."""
    message = f"run {run_id} has ended, and waits for no approval"
    return _error(Code.FAILED_PRECONDITION, "run-ended", message)


def unknown_error(run_id: str, call_id: str) -> LanemeshError:
    """The error of a decision about a run whose components have requested no approval."""
    return _error(Code.NOT_FOUND, "unknown-approval", f'run {run_id} has no approval "{call_id}": none is pending')


def _error(code: Code, reason: str, message: str) -> LanemeshError:
    return LanemeshError(Fault(code=code, reason=reason, message=message))
