"""The Python files with node types of a process (`--nodes`), which are loaded again when they have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from lanemesh.faults import LanemeshError
from lanemesh.node.node import Service
from lanemesh.server.services import load_files, only_once
from lanemesh.server.user_modules import USER_MODULES
from lanemesh.server.user_package import Stamp

POLL_SECONDS = 0.5
"""Time between two checks of watched files. They are loaded when they have been unchanged for as long."""

log = logging.getLogger("lanemesh.nodes")


class NodeFiles:
    """Files with node types, and their services."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Loads the files. Raises LanemeshError if one of them cannot be loaded."""
        self.paths = only_once(paths)
        self.services: list[Service] = load_files(self.paths)
        """The service of each file, as last loaded without an error."""
        self._failed = False
        self._reported = ""

    def have_changed(self) -> bool:
        """Whether a file, or a module that it imports from its folder, has changed since it was last loaded, or failed to load."""
        return any(USER_MODULES.has_changed(path) for path in self.paths)

    def is_current(self) -> bool:
        """Whether the loaded services match the files."""
        return not self._failed and not self.have_changed()

    def refresh(self) -> bool:
        """Loads the files again if they have changed, or failed to load. Returns whether it did.

        Raises:
            LanemeshError: one of them cannot be loaded; the previous services remain.
        """
        if self.is_current():
            return False
        self._failed = True
        self.services = load_files(self.paths)
        self._failed, self._reported = False, ""
        return True

    def report(self, error: LanemeshError) -> None:
        """Logs why they cannot be loaded, once for the same reason."""
        if str(error) != self._reported:
            self._reported = str(error)
            log.warning("%s; the node types remain as they were before this edit", error)

    async def watch(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Calls `refresh` whenever the files have changed and then been unchanged for 0.5 s, until it is cancelled. An error is
        logged once and does not end the watch."""
        seen: list[dict[str, Stamp]] = []
        while True:
            try:
                before, seen = seen, self._stamps()
                if seen == before and self.have_changed():
                    await refresh()
            except LanemeshError as error:
                self.report(error)
            except Exception as error:
                self._report_unexpected(error)
            await asyncio.sleep(POLL_SECONDS)

    def _report_unexpected(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._reported:
            self._reported = text
            files = ", ".join(map(str, self.paths))
            log.error("%s cannot be watched: %s; trying again every %g s", files, text, POLL_SECONDS, exc_info=error)

    def _stamps(self) -> list[dict[str, Stamp]]:
        return [USER_MODULES.stamps(path) for path in self.paths]
