"""The targets that are missed for a reason that docs/decisions.md gives. Pure.

Such a row still reads MISSED. It fails its benchmark only if its value is worse than the one that is held here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Miss:
    """One target that is missed."""

    held: float
    """The worst value that passes: somewhat worse than what was measured on the slowest machine so far."""
    section: str
    """The heading in docs/decisions.md of the section with the cause, the profile and the floor."""


STARTS = "What a start costs, and what its messages alone cost"
OWNERS = "Clients acknowledge what their programs have taken"
PACED = "A paced item pays for each task that it passes"
WATCHERS = "A watcher costs its call and its frames"
CIPHERS = "The ciphers of TLS are those of gRPC"
QUESTIONS = "What a batch of questions gains is the processor's limit"

MISSES = {
    "client against bare-coalesced, items/s": Miss(0.28, OWNERS),
    "lanemesh-spread against bare-coalesced, items/s": Miss(0.4, OWNERS),
    "lanemesh-embedded against in-process, items/s": Miss(0.24, OWNERS),
    "spread against bare-one, paced p50": Miss(2, PACED),
    "client against bare-one, an item every 10 ms, p50": Miss(2.5, PACED),
    "deployed run of five nodes: start to running, p50": Miss(15, STARTS),
    "deployed run of five nodes: start to running, p99": Miss(60, STARTS),
    "deployed, 1 at once: first item against bare streams, p50": Miss(5.5, STARTS),
    "deployed, 50 at once: first item against bare streams, p50": Miss(6, STARTS),
    "200 deployed runs at once: start to running, p50": Miss(2000, STARTS),
    "200 deployed runs at once: the first ten running": Miss(400, STARTS),
    "deployed, 200 at once: first item against bare streams, p50": Miss(6.5, STARTS),
    "deployed runs started and ended a second": Miss(50, STARTS),
    "50 watchers add to a run of 400,000 items": Miss(20, WATCHERS),
    "mTLS costs, media": Miss(35, CIPHERS),
    "50 questions at once, against the node without batches": Miss(4, QUESTIONS),
}
"""By the name of the row, without what it has in parentheses."""


def miss_of(what: str) -> Miss | None:
    """The documented miss of a row; None if there is none. `what`: of its verdict."""
    return MISSES.get(what.partition(" (")[0])
