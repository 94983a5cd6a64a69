"""Firing policies and the handling of failed firings, as pure decisions. No asyncio here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from lanemesh._aio.backoff import exponential
from lanemesh.faults import LaneFault


@dataclass(frozen=True, slots=True)
class PortView:
    """The state of a port on which a policy decides."""

    head: int | None
    """Arrival number of the first waiting item; None if none waits."""
    ended: bool
    """Every edge has ended and no item waits."""


@dataclass(frozen=True, slots=True)
class Fire:
    """Take one item from each of these ports, then fire."""

    take: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """No firing is possible until something changes."""


@dataclass(frozen=True, slots=True)
class Done:
    """There will be no further firing. `skipped_for` names the required input that ended without an item, if that is the cause."""

    skipped_for: str = ""


Decision = Fire | Wait | Done


class FiringPolicy(Protocol):
    """Decides on the next step from the waiting items."""

    def decide(self, ports: Mapping[str, PortView]) -> Decision:
        """The next step. A returned `Fire` counts as executed."""


class OnAny:
    """Fires on every item, with the latest taken value of each other input, once every required input has had an item."""

    def __init__(self, required: frozenset[str]) -> None:
        self._required = required
        self._begun = False

    def decide(self, ports: Mapping[str, PortView]) -> Decision:
        """The next step."""
        return self._next(ports) if self._begun else self._first(ports)

    def _first(self, ports: Mapping[str, PortView]) -> Decision:
        for name in sorted(self._required):
            if ports[name].ended:
                return Done(skipped_for=name)
        heads = {name: view.head for name, view in ports.items() if view.head is not None}
        if not self._required <= heads.keys():
            return Wait()
        if not heads:
            return Done() if all(view.ended for view in ports.values()) else Wait()
        firsts = [heads[name] for name in self._required]
        moment = max(firsts) if firsts else min(heads.values())  # when the last required input got its first item
        self._begun = True
        return Fire(tuple(name for name, head in heads.items() if head <= moment))

    def _next(self, ports: Mapping[str, PortView]) -> Decision:
        heads = {name: view.head for name, view in ports.items() if view.head is not None}
        if heads:
            return Fire((min(heads, key=lambda name: heads[name]),))
        return Done() if all(view.ended for view in ports.values()) else Wait()


class ZipAll:
    """Fires with one item from every connected input, in lockstep. A single-item input gets one item, which is reused."""

    def __init__(self, one: frozenset[str], connected: frozenset[str]) -> None:
        self._one = one
        self._connected = connected
        self._begun = False

    def decide(self, ports: Mapping[str, PortView]) -> Decision:
        """The next step."""
        reused = self._one if self._begun else frozenset()
        wanted = self._connected - reused
        for name in sorted(wanted):
            if ports[name].ended:
                return Done(skipped_for="" if self._begun else name)
        if self._begun and not wanted:
            return Done()  # all inputs have a single item: they fire once
        if any(ports[name].head is None for name in wanted):
            return Wait()
        self._begun = True
        return Fire(tuple(sorted(wanted)))


MAX_PAUSE_SECONDS = 3600.0
"""The longest pause before a further attempt, and the longest `backoff`: an hour."""


class Policy(Enum):
    """How a failed firing is handled."""

    FAIL = "fail"
    SKIP = "skip"
    RETRY = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnError:
    """The setting for failed firings."""

    policy: Policy = Policy.FAIL
    """FAIL: the node fails. SKIP: the firing is dropped and counted. RETRY: it is retried if it has emitted nothing."""
    attempts: int = 1
    """With RETRY: total number of attempts."""
    backoff: float = 0.0
    """With RETRY: seconds before the second attempt; doubled before each further one, to 3600 at most. There is no jitter: the
    pipeline sets it."""

    def tries_again(self, attempt: int, error: Exception, *, emitted: bool) -> bool:
        """Whether a firing is retried after the failure of this attempt, counted from 1."""
        return (
            self.policy is Policy.RETRY
            and attempt < self.attempts
            and not emitted
            and not isinstance(error, LaneFault)  # a broken lane stays broken
        )

    def skips(self, error: Exception) -> bool:
        """Whether a failed firing is dropped."""
        return self.policy is Policy.SKIP and not isinstance(error, LaneFault)

    def pause(self, attempt: int) -> float:
        """Seconds between this attempt, counted from 1, and the next."""
        return exponential(self.backoff, MAX_PAUSE_SECONDS, attempt - 1)
