"""Approvals of a run as questions to the user of an MCP client."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lanemesh.client.updates import ApprovalState, ApprovalUpdate
from lanemesh.faults import LanemeshError
from mcp_types import ElicitRequest, ElicitRequestFormParams

if TYPE_CHECKING:
    from lanemesh.client.records import RunRecord
    from lanemesh.client.run_reader import RunReader

log = logging.getLogger("lanemesh.mcp")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "approve": {"type": "boolean", "title": "Approve", "default": True},
        "reason": {"type": "string", "title": "Reason of a refusal"},
    },
}
"""What a user fills in. Accepting it without a change approves; declining it refuses."""


def key_of(update: ApprovalUpdate) -> str:
    """The key of an approval, by which a client answers the question about it."""
    return f"{update.component}:{update.call_id}"


class Approvals:
    """The approvals of a run for which its components wait, by keys for the client."""

    def __init__(self) -> None:
        self.pending: dict[str, ApprovalUpdate] = {}
        """Those that are not decided, in the order of the requests."""

    @classmethod
    def of(cls, record: RunRecord) -> Approvals:
        """Those that a record of a run has."""
        approvals = cls()
        for update in record.approvals:
            approvals.note(update)
        return approvals

    def note(self, update: ApprovalUpdate) -> None:
        """Notes the state of an approval."""
        key = key_of(update)
        if update.state is ApprovalState.REQUESTED:
            self.pending[key] = update
        else:
            self.pending.pop(key, None)

    def requests(self) -> dict[str, ElicitRequest]:
        """The questions to the user, by key."""
        return {
            key: ElicitRequest(params=ElicitRequestFormParams(message=question(update), requested_schema=SCHEMA))
            for key, update in self.pending.items()
        }


def question(update: ApprovalUpdate) -> str:
    """What the user is asked."""
    arguments = f" with {update.arguments}" if update.arguments else ""
    call = f" ({update.tool}{arguments})" if update.tool else ""
    return f"{update.component} asks for an approval: {update.description}{call}"


class _Silent:
    """Reports nothing."""

    async def progress(self, done: float, message: str) -> None:
        """Does nothing."""

    async def log(self, level: str, component: str, message: str) -> None:
        """Does nothing."""

    async def approval(self, run: RunReader, update: ApprovalUpdate) -> bool:
        """Does nothing."""
        return False


SILENT = _Silent()
"""A reporter without a client."""


async def answer(run: RunReader, key: str, response: Any) -> None:
    """Decides an approval by the answer of a user. One that was decided meanwhile, and one that is unknown, are ignored.

    `response` has `action` and `content`, as an `ElicitResult` or as an object.
    """
    component, _, call_id = key.partition(":")
    action, content = _field(response, "action"), _field(response, "content")
    values = content if isinstance(content, Mapping) else {}
    try:
        if action == "accept" and values.get("approve", True) is not False:
            await run.approve(call_id, component=component)
        else:
            reason = values.get("reason")
            await run.refuse(
                call_id, reason if isinstance(reason, str) and reason else "the user refused it", component=component
            )
    except LanemeshError as error:
        log.debug("an answer about %s of run %s has no effect: %s", key, run.id, error)


def _field(response: Any, name: str) -> Any:
    return response.get(name) if isinstance(response, Mapping) else getattr(response, name, None)
