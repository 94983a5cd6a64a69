"""Firing policies, as pure decisions. No asyncio here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


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
class NotReady:
    """No firing is possible until more items arrive or an input ends."""


@dataclass(frozen=True, slots=True)
class Done:
    """There will be no further firing. `skipped_for` names the required input that ended without an item, if that is the cause."""

    skipped_for: str = ""


Decision = Fire | NotReady | Done


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
            return NotReady()
        if not heads:
            return Done() if all(view.ended for view in ports.values()) else NotReady()
        firsts = [heads[name] for name in self._required]
        moment = max(firsts) if firsts else min(heads.values())  # when the last required input got its first item
        self._begun = True
        return Fire(tuple(name for name, head in heads.items() if head <= moment))

    def _next(self, ports: Mapping[str, PortView]) -> Decision:
        heads = {name: view.head for name, view in ports.items() if view.head is not None}
        if heads:
            return Fire((min(heads, key=lambda name: heads[name]),))
        return Done() if all(view.ended for view in ports.values()) else NotReady()


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
            return NotReady()
        self._begun = True
        return Fire(tuple(sorted(wanted)))
