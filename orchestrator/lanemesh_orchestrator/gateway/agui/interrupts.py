"""Approvals as interrupts of AG-UI: the id of an interrupt has all that a later request needs to decide it and to continue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ag_ui.core import Interrupt, ResumeEntry
from lanemesh.client.updates import ApprovalUpdate

from lanemesh_orchestrator.gateway.invalid import invalid
from lanemesh_orchestrator.item_json import loads_or_text

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

MAX_ENTRIES = 1_000
"""Most interrupts that one request answers."""
MAX_ID = 4_096
"""Longest id of an interrupt, in characters."""
MAX_REASON = 10_000
"""Longest reason of a refusal, in characters."""
RESPONSE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": {"type": "string", "maxLength": MAX_REASON}},
    "required": ["approved"],
    "additionalProperties": False,
}
"""The payload with which a client answers."""


@dataclass(frozen=True, slots=True)
class InterruptId:
    """What the id of an interrupt has."""

    run_id: str
    """The run that waits."""
    after: int
    """Number of the last update that the client has."""
    component: str
    """The component that waits."""
    call_id: str
    """The id of its approval."""

    def __str__(self) -> str:
        parts = (self.run_id, str(self.after), self.component, self.call_id)
        return "/".join(quote(part, safe="") for part in parts)

    @classmethod
    def parse(cls, text: str, pointer: str) -> InterruptId:
        """The parts of an id. Raises InvalidRequest if it is not one of this gateway's kind."""
        parts = [unquote(part) for part in text.split("/")] if len(text) <= MAX_ID else []
        if len(parts) != 4 or not (parts[1].isascii() and parts[1].isdecimal() and len(parts[1]) < 19):
            raise invalid(pointer, "this is not the id of an interrupt. Send it as RUN_FINISHED has it")
        return cls(parts[0], int(parts[1]), parts[2], parts[3])


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one interrupt."""

    of: InterruptId
    """The interrupt."""
    approved: bool
    """Whether the call is made."""
    reason: str = ""
    """Of a refusal: why."""


def interrupt_of(approval: ApprovalUpdate, run_id: str, after: int, tool_call_id: str | None) -> Interrupt:
    """An approval as an interrupt. `after`: the number of the last update before the interrupt."""
    about: dict[str, Any] = {"run_id": run_id, "component": approval.component, "call_id": approval.call_id}
    if approval.tool:
        about |= {"tool": approval.tool, "arguments": loads_or_text(approval.arguments)}
    if approval.omitted_characters:
        about["omitted_characters"] = approval.omitted_characters
    return Interrupt(
        id=str(InterruptId(run_id, after, approval.component, approval.call_id)),
        reason="tool_call" if approval.tool else "confirmation",
        message=approval.description or f"{approval.component} waits for an approval",
        tool_call_id=tool_call_id,
        response_schema=RESPONSE_SCHEMA,
        expires_at=approval.deadline.isoformat() if approval.deadline is not None else None,
        metadata={"lanemesh": about},
    )


def decisions_of(entries: Sequence[ResumeEntry]) -> list[Decision]:
    """The answers of a request, all of one run.

    Raises:
        InvalidRequest: an id or a payload is invalid, an interrupt is answered twice, or the interrupts are of several runs.
    """
    if len(entries) > MAX_ENTRIES:
        raise invalid("/resume", f"at most {MAX_ENTRIES:,} interrupts are answered at once")
    found = [_decision(entry, f"/resume/{place}") for place, entry in enumerate(entries)]
    if len({(one.of.run_id, one.of.after) for one in found}) > 1:
        raise invalid("/resume", "the interrupts are not of one run. Answer those of one RUN_FINISHED")
    if len({one.of for one in found}) < len(found):
        raise invalid("/resume", "an interrupt is answered twice")
    return found


def _decision(entry: ResumeEntry, pointer: str) -> Decision:
    of = InterruptId.parse(entry.interrupt_id, f"{pointer}/interruptId")
    if entry.status == "cancelled":
        return Decision(of, approved=False, reason="cancelled by the client")
    payload = {"approved": entry.payload} if isinstance(entry.payload, bool) else entry.payload
    where = f"{pointer}/payload"
    if not isinstance(payload, Mapping) or not isinstance(payload.get("approved"), bool):
        raise invalid(where, 'a payload is {"approved": true} or {"approved": false, "reason": "..."}')
    if unknown := sorted(set(payload) - {"approved", "reason"}):
        raise invalid(where, f'there is no field "{str(unknown[0])[:80]}". The payload has "approved" and "reason"')
    reason = payload.get("reason", "")
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        raise invalid(f"{where}/reason", f"a reason is a text of at most {MAX_REASON:,} characters")
    return Decision(of, payload["approved"], reason)


async def decide(mesh: RunHost, decisions: Sequence[Decision]) -> None:
    """Sends the decisions to the run.

    Raises:
        LanemeshError: no such approval is pending, it was decided before, or the run has ended. The decisions before it were sent.
    """
    for one in decisions:
        if one.approved:
            await mesh.approve(one.of.run_id, one.of.call_id, component=one.of.component)
        else:
            await mesh.refuse(one.of.run_id, one.of.call_id, one.reason, component=one.of.component)
