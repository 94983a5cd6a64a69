"""`context.log`: Python logging, and beside it what the run's clients see."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

from lanemesh.redaction import NO_SECRETS, Secrets

OnLog = Callable[[int, str], None]
"""Takes a level and a message; called in the event loop."""


class ComponentLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines carry the component and the run. From level INFO on, clients of the run see them too, and
    those below it where Python's logging shows them. Works in worker threads as well; never waits. Where the config holds secrets,
    a line is put together here and told without them."""

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
        told = level >= logging.INFO or self.isEnabledFor(level)
        if told and self._secrets:
            msg, args = "%s", (self._secrets.hidden(_line(msg, args, kwargs.pop("exc_info", None))),)
        super().log(level, msg, *args, **kwargs)
        if self._on_log is None or not told:
            return
        line = _line(msg, args, kwargs.get("exc_info"))
        if self._loop is None or self._loop is asyncio._get_running_loop():
            self._on_log(level, line)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_log, level, line)


def _line(msg: object, args: tuple[object, ...], exc_info: Any) -> str:
    record = logging.LogRecord("", 0, "", 0, msg, args, None)  # formats mappings as logging does
    try:
        line = record.getMessage()
    except (TypeError, ValueError, KeyError):  # logging has told of it
        line = f"{msg} {args}"
    if exc_info:
        error = exc_info if isinstance(exc_info, BaseException) else None
        line += "\n" + ("".join(traceback.format_exception(error)) if error else traceback.format_exc()).rstrip()
    return line
