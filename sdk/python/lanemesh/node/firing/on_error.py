"""The handling of failed firings, as pure decisions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lanemesh._aio.backoff import exponential
from lanemesh.faults import LaneFault

MAX_PAUSE_SECONDS = 3600.0
"""The longest pause before a further attempt, and the longest `backoff`: an hour."""


class OnErrorPolicy(Enum):
    """How a failed firing is handled."""

    FAIL = "fail"
    SKIP = "skip"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnError:
    """The setting for failed firings."""

    policy: OnErrorPolicy = OnErrorPolicy.FAIL
    """FAIL: the node fails. SKIP: the firing is dropped and counted. RETRY: it is retried if it has emitted nothing."""
    attempts: int = 1
    """With RETRY: total number of attempts."""
    backoff: float = 0.0
    """With RETRY: seconds before the second attempt; doubled before each further one, to 3600 at most. There is no jitter: the
    pipeline sets it."""

    def tries_again(self, attempt: int, error: Exception, *, emitted: bool) -> bool:
        """Whether a firing is retried after the failure of this attempt, counted from 1."""
        return (
            self.policy is OnErrorPolicy.RETRY
            and attempt < self.attempts
            and not emitted
            and not isinstance(error, LaneFault)  # a broken lane stays broken
        )

    def skips(self, error: Exception) -> bool:
        """Whether a failed firing is dropped."""
        return self.policy is OnErrorPolicy.SKIP and not isinstance(error, LaneFault)

    def pause(self, attempt: int) -> float:
        """Seconds between this attempt, counted from 1, and the next."""
        return exponential(self.backoff, MAX_PAUSE_SECONDS, attempt - 1)
