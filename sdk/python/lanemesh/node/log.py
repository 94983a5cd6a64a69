"""`context.log`: Python logging, and the log lines that the run's clients get."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

from lanemesh._aio.user_errors import failure_of
from lanemesh.faults import Fault
from lanemesh.redaction import NO_SECRETS, Secrets
from lanemesh.rendering import rendered, text_of, valid_unicode

MAX_SHOWN = 200
"""Longest argument, in characters, that is shown for a line that cannot be formatted."""

OnLog = Callable[[int, str], None]
"""Takes a level and a message; called in the event loop."""


class ComponentLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry the component and the run. The run's clients get lines of level INFO and above, and lower ones
    that Python's logging shows. Works in worker threads as well; never waits. If the config holds secrets, the line is formatted
    here and emitted without them."""

    def __init__(
        self,
        provider: str,
        component: str,
        run_id: str,
        on_log: OnLog | None = None,
        secrets: Secrets = NO_SECRETS,
    ) -> None:
        super().__init__(logging.getLogger(f"lanemesh.node.{provider}"), {"component": component, "run": run_id})
        self._on_log = on_log
        self._secrets = secrets
        self._loop = asyncio._get_running_loop() if on_log is not None else None

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Logs a line."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        if level < logging.INFO and not self.isEnabledFor(level):
            return
        line, sound = _line(msg, args, kwargs.get("exc_info"))
        if self._secrets:
            line, sound = self._secrets.hidden(line), False
        if not sound:  # logging would raise, or write a secret
            msg, args = "%s", (line,)
            kwargs.pop("exc_info", None)
        super().log(level, msg, *args, **kwargs)
        if self._on_log is None:
            return
        if self._loop is None or self._loop is asyncio._get_running_loop():
            self._on_log(level, line)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_log, level, line)


def _line(msg: object, args: tuple[object, ...], exc_info: Any) -> tuple[str, bool]:
    """The line with its traceback, and whether logging would format it to the same text."""
    sound = True
    try:
        line = logging.LogRecord("", 0, "", 0, msg, args, None).getMessage()  # formats mappings as logging does
        if type(line) is not str:
            line = text_of(line)
    except BaseException as error:  # of the format, or of the `__str__` or `__repr__` of an argument
        failure = failure_of(error)
        shown = " ".join([text_of(msg), *(rendered(value, MAX_SHOWN) for value in args)])
        line, sound = f"{shown} (this log line cannot be formatted: {Fault.from_exception(failure).message})", False
    valid = valid_unicode(line)
    if valid != line:
        line, sound = valid, False
    return (line + _traceback(exc_info) if exc_info else line), sound


def _traceback(exc_info: Any) -> str:
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    try:
        lines = traceback.format_exception(error) if isinstance(error, BaseException) else [traceback.format_exc()]
    except Exception as failure:
        lines = [f"its traceback cannot be formatted: {type(failure).__name__} was raised"]
    return "\n" + valid_unicode("".join(lines)).rstrip()
