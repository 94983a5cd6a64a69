"""Limits the active runs of one caller, so that one token cannot take all of an orchestrator."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from lanemesh.faults import Code, Fault, LanemeshError

if TYPE_CHECKING:
    from lanemesh._grpc.log_once import LogOnce


class CallerRuns:
    """The number of active runs of each caller. For runs without one, only the number of runs that wait to start is limited."""

    def __init__(self) -> None:
        self.limit = 0
        """Most active runs of one caller; 0: no limit."""
        self._active: Counter[str] = Counter()

    def enter(self, caller: str) -> Callable[[], None]:
        """Counts a run. Returns what the end of the run has to call, once.

        Args:
            caller: the subject of its token; empty: it has none.

        Raises:
            LanemeshError: the caller has the maximum number ("too-many-runs").
        """
        if caller and self.limit and self._active[caller] >= self.limit:
            message = (
                f'the caller "{caller}" has {self.limit:,} active runs, the limit for one caller. Retry when some have ended, or '
                "cancel some"
            )
            rejection_log().warning(caller, "%s (limit runs-per-caller)", message)
            raise LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many-runs", message=message))
        self._active[caller] += 1
        return partial(self._leave, caller)

    def _leave(self, caller: str) -> None:
        self._active[caller] -= 1
        if not self._active[caller]:
            del self._active[caller]


@cache
def rejection_log() -> LogOnce:
    """The log of rejected runs. It is imported late: most processes never reject one."""
    from lanemesh._grpc.log_once import LogOnce

    return LogOnce(logging.getLogger("lanemesh.runs"))
