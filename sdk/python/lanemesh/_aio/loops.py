"""Objects that belong to one event loop: their use in another one is reported in one sentence."""

from __future__ import annotations

import asyncio

from lanemesh.faults import Code, Fault, LanemeshError


def misuse(reason: str, message: str) -> LanemeshError:
    """The error for use in an event loop, a thread or a process where an object does not work, or after the object was closed."""
    return LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason=reason, message=message))


def check_loop(owner: asyncio.AbstractEventLoop | None, what: str) -> None:
    """Raises LanemeshError unless `owner` is the running event loop, or None: it has none yet. `what` is the subject of the
    message."""
    if owner is None or owner is asyncio.get_running_loop():
        return
    where = "a closed event loop" if owner.is_closed() else "another event loop"
    raise misuse("other-loop", f"{what} belongs to {where}: use it in the event loop in which it was first used")
