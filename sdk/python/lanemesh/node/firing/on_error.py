"""What a failed firing means for its node: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lanemesh._aio.backoff import exponential
from lanemesh.faults import LaneFault

MAX_PAUSE_SECONDS = 3600.0
"""The longest pause before a further attempt, and the longest `backoff`: an hour."""


class OnErrorPolicy(Enum):
    """What a node does when a firing fails."""

    FAIL = "fail"
    SKIP = "skip"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnError:
    """What is done about a firing that fails."""

    policy: OnErrorPolicy = OnErrorPolicy.FAIL
    """FAIL: the node fails. SKIP: the firing is dropped and counted. RETRY: it is tried again while it has emitted nothing."""
    attempts: int = 1
    """With RETRY: attempts in all."""
    backoff: float = 0.0
    """With RETRY: seconds before the second attempt; doubled before each further one, to 3600 at most. There is no jitter: the
    pipeline sets it."""

    def tries_again(self, attempt: int, error: Exception, *, emitted: bool) -> bool:
        """Whether a firing is tried again whose attempt of this number, from 1, has failed."""
        return (
            self.policy is OnErrorPolicy.RETRY
            and attempt < self.attempts
            and not emitted
            and not isinstance(error, LaneFault)  # a lane that broke stays broken
        )

    def skips(self, error: Exception) -> bool:
        """Whether a firing that failed is dropped."""
        return self.policy is OnErrorPolicy.SKIP and not isinstance(error, LaneFault)

    def pause(self, attempt: int) -> float:
        """Seconds between the attempt of this number, from 1, and the next."""
        return exponential(self.backoff, MAX_PAUSE_SECONDS, attempt - 1)
