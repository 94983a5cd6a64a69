"""Who makes the call that the current task serves."""

from __future__ import annotations

from contextvars import ContextVar

CALLER: ContextVar[str] = ContextVar("CALLER", default="")
"""The subject of the token with which the current call was made. What checks tokens sets it in the task of the call, before the
handler begins."""


def current_caller() -> str:
    """The subject of the token of the current call; empty if there is no call, or it needed no token."""
    return CALLER.get()
