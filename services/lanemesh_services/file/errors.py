"""The errors of sources and targets that use folders, times and databases. Each message has what, where and what to do next."""

from __future__ import annotations

from lanemesh import Code, Fault, LanemeshError


class FolderUnusable(LanemeshError):
    """A folder or a file of the node server cannot be read or written."""


class BadSchedule(LanemeshError):
    """A time of a timer is not one."""


class DatabaseUnusable(LanemeshError):
    """A database cannot be opened or written."""


def folder_unusable(component: str, path: str, why: str, hint: str) -> FolderUnusable:
    """The folder or file of a component cannot be used."""
    message = f"{component} cannot use {path}: {why}. {hint}"
    return FolderUnusable(
        Fault(code=Code.FAILED_PRECONDITION, reason="folder-unusable", message=message, details={"path": path})
    )


def too_many_files(component: str, path: str, most: int) -> FolderUnusable:
    """A folder has more files than a component keeps track of."""
    message = (
        f"{component}: {path} has more than {most:,} files that match. Raise config.max_files, or narrow config.globs"
    )
    return FolderUnusable(
        Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many-files", message=message, details={"path": path})
    )


def bad_schedule(text: str, why: str) -> BadSchedule:
    """A schedule is not valid."""
    message = (
        f'the schedule "{text[:80]}" is not valid: {why}. Write five fields: minute, hour, day of month, month, day of week, '
        'such as "30 6 * * 1-5"'
    )
    return BadSchedule(Fault(code=Code.INVALID_ARGUMENT, reason="bad-schedule", message=message))


def database_unusable(component: str, shown: str, why: str, hint: str) -> DatabaseUnusable:
    """The database of a component cannot be used; `shown` has no password."""
    message = f"{component} cannot use {shown}: {why}. {hint}"
    return DatabaseUnusable(
        Fault(code=Code.UNAVAILABLE, reason="database-unusable", message=message, details={"database": shown})
    )


def table_unfit(component: str, why: str, hint: str) -> LanemeshError:
    """A table does not fit those that were written before."""
    message = f"{component}: {why}. {hint}"
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="table-unfit", message=message))
