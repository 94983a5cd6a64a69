"""The context of one call of a tool, which a function gets in a parameter with the type `ToolContext`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping

from lanemesh._aio.time_left import time_left
from lanemesh.chat import ToolProgress
from lanemesh.node.context import Context
from lanemesh.node.log import ComponentLog
from lanemesh.node.progress import REPORTED
from lanemesh.rendering import text_of

MAX_PROGRESS = 1_000
"""Longest text of a progress report, in characters; a longer one is cut."""


class ToolContext:
    """One call of a tool. A parameter with this type is hidden from models."""

    def __init__(
        self,
        context: Context,
        *,
        tool: str,
        call_id: str,
        secrets: Mapping[str, str],
        report: Callable[[ToolProgress], object],
    ) -> None:
        self.tool = tool
        """The tool."""
        self.call_id = call_id
        """The call."""
        self.secrets = secrets
        """Secrets by name, from the field `secrets` of the component's config."""
        self.log: ComponentLog = context.log
        """A logger whose lines carry the component and the run, and reach the run's clients; never waits."""
        self._context = context
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._ended = False

    @property
    def run_id(self) -> str:
        """The run."""
        return self._context.run_id

    @property
    def component(self) -> str:
        """The component that offers the tool."""
        return self._context.component

    @property
    def session(self) -> str:
        """The session of the run, such as a conversation; empty if it has none."""
        return self._context.session

    @property
    def node(self) -> Context:
        """The context of the component that offers the tool."""
        return self._context

    @property
    def cancelled(self) -> bool:
        """The call was cancelled, or its time is over: the function has to stop. Plain functions should check it regularly."""
        return self._ended or self._context.cancelled

    @property
    def time_left(self) -> float | None:
        """Seconds until the time limit of the call; None if there is no limit."""
        return time_left()

    def progress(self, message: str = "", fraction: float | None = None) -> Awaitable[None]:
        """Reports progress to the caller. Never waits, and works in plain functions as well. The result may be awaited.

        Args:
            message: the present activity; longer ones than 1,000 characters are cut.
            fraction: the completed fraction, from 0 to 1; None if unknown.

        Raises:
            ValueError: the fraction is not from 0 to 1.
        """
        progress = made_progress(message, fraction)
        if asyncio._get_running_loop() is self._loop:
            self._report(progress)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._report, progress)
        return REPORTED

    def end(self) -> None:
        """Marks the call as ended."""
        self._ended = True


def made_progress(message: object = "", fraction: float | None = None) -> ToolProgress:
    """A progress report within its bounds. Raises ValueError if the fraction is not from 0 to 1."""
    if fraction is not None:
        fraction = float(fraction)
        if not (math.isfinite(fraction) and 0 <= fraction <= 1):
            raise ValueError(f"the fraction of a progress report is {fraction}; it must be from 0 to 1")
    return ToolProgress(text_of(message)[:MAX_PROGRESS], fraction)
