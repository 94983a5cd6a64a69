"""The errors of memories. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


def memory_full(component: str, what: str, hint: str) -> LanemeshError:
    """A memory has reached one of its limits."""
    message = f"{component} cannot store the value: {what}. {hint}"
    return _error(Code.RESOURCE_EXHAUSTED, "memory-full", message, component=component)


def scope_not_kept(component: str) -> LanemeshError:
    """A memory within a process was asked to store a value permanently."""
    message = (
        f"{component} (memory_internal) keeps values for a run or a session, in the process of its server, and has no scope store. "
        "Use memory_store for values that outlive the server"
    )
    return _error(Code.INVALID_ARGUMENT, "scope-not-kept", message, component=component)


def bad_database(shown: str, why: str, hint: str) -> LanemeshError:
    """The location of a memory store is invalid."""
    message = f"memory_store cannot use {shown}: {why}. {hint}"
    return _error(Code.INVALID_ARGUMENT, "bad-database", message, database=shown)


def database_unusable(shown: str, why: str, hint: str) -> LanemeshError:
    """The database of a memory store cannot be opened, read or written."""
    message = f"memory_store cannot use {shown}: {why}. {hint}"
    return _error(Code.UNAVAILABLE, "database-unusable", message, database=shown)


def driver_missing(shown: str) -> LanemeshError:
    """The driver of the database of a memory store is not installed."""
    message = (
        f"memory_store cannot use {shown}: the driver of PostgreSQL is not installed; install it with: "
        "pip install 'lanemesh[postgres]'"
    )
    return _error(Code.UNAVAILABLE, "database-unusable", message, database=shown)


def _error(code: Code, reason: str, message: str, **details: str) -> LanemeshError:
    return LanemeshError(Fault(code=code, reason=reason, message=message, details=details))
