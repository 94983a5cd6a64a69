"""Objects that belong to one event loop: their use in another one is reported in one sentence."""

from __future__ import annotations

import asyncio

from lanemesh.faults import Code, Fault, LanemeshError


class WrongLoop(LanemeshError, RuntimeError):
    """Something was used in an event loop, a thread or a process where it does not work, or after it was closed."""

    @classmethod
    def because(cls, reason: str, message: str) -> WrongLoop:
        """One with this reason and this sentence."""
        return cls(Fault(code=Code.FAILED_PRECONDITION, reason=reason, message=message))


def check_loop(owner: asyncio.AbstractEventLoop | None, what: str) -> None:
    """Raises `WrongLoop` unless `owner` is the running event loop; None: it has none yet. `what` is the subject of the message."""
    if owner is None or owner is asyncio.get_running_loop():
        return
    where = "a closed event loop" if owner.is_closed() else "another event loop"
    raise WrongLoop.because(
        "other-loop", f"{what} belongs to {where}: use it in the event loop in which it was first used"
    )
