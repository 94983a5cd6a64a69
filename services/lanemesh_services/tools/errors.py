"""The errors of the tools service. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


def bad_file(path: str, why: str, hint: str) -> LanemeshError:
    """A file or module of tools cannot be used."""
    message = f"tool_python cannot use {path}: {why}. {hint}"
    return LanemeshError(
        Fault(code=Code.FAILED_PRECONDITION, reason="bad-tool-file", message=message, details={"file": path})
    )
