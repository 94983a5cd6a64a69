"""What the nodes of a run log, on its way to the run's clients: never waited for, and counted where there is no room."""

from __future__ import annotations

import logging
from collections.abc import Callable

from lanemesh.v1 import node_pb2, run_pb2

MAX_LINE = 8_192
"""Longest log message in characters that clients get; longer ones are cut."""


class LogLines:
    """The log lines of one run on one host."""

    def __init__(self, offer: Callable[[node_pb2.HostResponse], bool]) -> None:
        """`offer` says something to the orchestrator if there is room, and returns whether there was."""
        self._offer = offer
        self._left_out: dict[str, int] = {}

    def tell(self, component: str, level: int, message: str) -> None:
        """Shows a line to the run's clients. Where some were left out before it, says so first."""
        left_out = self._left_out.get(component, 0)
        if left_out:
            notice = f"{left_out:,} log lines were left out: too many at once"
            if not self._say(component, logging.WARNING, notice):
                self._left_out[component] = left_out + 1
                return
            del self._left_out[component]
        if not self._say(component, level, message):
            self._left_out[component] = self._left_out.get(component, 0) + 1

    def _say(self, component: str, level: int, message: str) -> bool:
        if len(message) > MAX_LINE:
            message = f"{message[:MAX_LINE]} ... ({len(message) - MAX_LINE:,} more characters)"
        text = message.encode("utf-8", "replace").decode()
        update = run_pb2.Update(log=run_pb2.LogUpdate(component=component, level=_level(level), message=text))
        update.time.GetCurrentTime()
        return self._offer(node_pb2.HostResponse(update=update))


def _level(level: int) -> run_pb2.LogLevel.ValueType:
    if level >= logging.ERROR:
        return run_pb2.LOG_LEVEL_ERROR
    if level >= logging.WARNING:
        return run_pb2.LOG_LEVEL_WARNING
    return run_pb2.LOG_LEVEL_INFO if level >= logging.INFO else run_pb2.LOG_LEVEL_DEBUG
