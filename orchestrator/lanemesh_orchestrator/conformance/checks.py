"""The checks of the driver: what each one is, and how it reports what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

CHECK_SECONDS = 20.0
"""Longest that one check may take."""
WAIT_SECONDS = 5.0
"""Longest that a check waits for one answer, unless the protocol has a longer bound for it."""
QUIET_SECONDS = 0.15
"""How long a check waits for what must not come."""

LEVELS = ("L0", "L1", "L2", "L3", "L4", "L5", "L6")
"""The levels of the protocol."""
REQUIRED = ("L0", "L1", "L2")
"""The levels without a feature: a server is tested for them unless `--level` is lower."""
FEATURES_OF = {
    "L3": ("joins",),
    "L4": ("recovery",),
    "L5": ("preload",),
    "L6": ("quick-starts", "merged-frames", "short-lanes"),
}
"""The features by which a server reports that it has a level."""

Body = Callable[[Any], Awaitable[None]]
"""The body of a check, which gets the driver."""
T = TypeVar("T")


class Miss(Exception):
    """The server under test violates a rule."""

    def __init__(self, expected: str, came: str) -> None:
        """`expected` is what the rule demands, `came` what the server did; both as phrases."""
        super().__init__(f"expected {expected}; came {came}")
        self.expected = expected
        self.came = came


class Skip(Exception):
    """The check does not apply to the server under test. Its text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of the driver."""

    level: str
    """The level of the protocol that has the rule."""
    id: str
    """Unique among the checks, in kebab case."""
    what: str
    """The rule, as a sentence about the server."""
    rule: str
    """The heading of docs/protocol.md under which the rule stands."""
    body: Body
    """Tests the server; raises Miss or Skip."""
    slow: bool = False
    """It waits for a time limit of the protocol, of 10 s or more."""
    feature: str = ""
    """It applies only to servers with this feature; empty: to all."""


CHECKS: list[Check] = []
"""All checks, in the order of their levels."""


def check(
    level: str, name: str, what: str, *, rule: str, slow: bool = False, feature: str = ""
) -> Callable[[Body], Body]:
    """Registers a function as a check, whose id is `name`. The other arguments are those of Check."""

    def register(body: Body) -> Body:
        CHECKS.append(Check(level=level, id=name, what=what, rule=rule, body=body, slow=slow, feature=feature))
        return body

    return register


async def within(expected: str, work: Awaitable[T], seconds: float = WAIT_SECONDS) -> T:
    """The result of `work`. Raises Miss if it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise Miss(expected, f"nothing within {seconds:g} s") from None


def expect(condition: object, expected: str, came: object) -> None:
    """Raises Miss unless the condition holds."""
    if not condition:
        raise Miss(expected, str(came))
