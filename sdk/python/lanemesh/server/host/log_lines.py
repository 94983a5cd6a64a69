"""Log lines of nodes on their way to the run's clients: never waited for, and counted if there is no capacity."""

from __future__ import annotations

import logging
from collections.abc import Callable

from lanemesh.times import stamp
from lanemesh.v1 import update_pb2

MAX_LINE = 8_192
"""Longest log message in characters that clients get; longer ones are cut."""


class LogLines:
    """The log lines of one run, in all its queues: at its host, and before a client that is behind."""

    def __init__(self, try_send: Callable[[update_pb2.Update], bool]) -> None:
        """`try_send` accepts an update if there is capacity for it, and returns whether it did."""
        self._try_send = try_send
        self._left_out: dict[str, int] = {}

    def report(self, line: update_pb2.Update) -> None:
        """Passes a line on. If lines of its component were left out before it, first reports their number."""
        component = line.log.component
        left_out = self._left_out.get(component, 0)
        if left_out and self._try_send(_notice(component, left_out)):
            left_out = 0
        if left_out or not self._try_send(line):
            left_out += 1
        self._left_out[component] = left_out

    def rest(self, component: str) -> update_pb2.Update | None:
        """At the end of a component: the report of lines that were left out."""
        left_out = self._left_out.pop(component, 0)
        return _notice(component, left_out) if left_out else None

    def rests(self) -> list[update_pb2.Update]:
        """At the end of the run: the reports for every component."""
        return [rest for component in list(self._left_out) if (rest := self.rest(component)) is not None]


def _notice(component: str, left_out: int) -> update_pb2.Update:
    return log_update(component, logging.WARNING, f"{left_out:,} log lines were dropped: too many at once")


def log_update(component: str, level: int, message: str) -> update_pb2.Update:
    """A log line as an update. `level` is a level of Python's logging."""
    if len(message) > MAX_LINE:
        message = f"{message[:MAX_LINE]} ... ({len(message) - MAX_LINE:,} more characters)"
    text = message.encode("utf-8", "replace").decode()
    update = update_pb2.Update(log=update_pb2.LogUpdate(component=component, level=_level(level), message=text))
    stamp(update.time)
    return update


def _level(level: int) -> update_pb2.LogLevel.ValueType:
    if level >= logging.ERROR:
        return update_pb2.LOG_LEVEL_ERROR
    if level >= logging.WARNING:
        return update_pb2.LOG_LEVEL_WARNING
    return update_pb2.LOG_LEVEL_INFO if level >= logging.INFO else update_pb2.LOG_LEVEL_DEBUG
