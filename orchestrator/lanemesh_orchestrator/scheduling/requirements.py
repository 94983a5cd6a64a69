"""Which node server takes which component of a run: plain decisions over the servers that there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, Protocol, TypeVar

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import unsupported

_MOST_LISTED = 5
"""Most servers that an error names."""


class Server(Protocol):
    """What is to be known of a server for the choice."""

    @property
    def name(self) -> str:
        """Unique in the mesh."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What it says of itself."""

    @property
    def features(self) -> Collection[str]:
        """What it supports beyond the base of the protocol."""

    @property
    def active_instances(self) -> int:
        """Components that it runs now, as far as is known here."""

    @property
    def max_instances(self) -> int:
        """Most components that it runs at once; 0: any number."""

    @property
    def closed_because(self) -> str:
        """Why it takes no new runs, such as "is draining"; empty if it does."""

    @property
    def is_silent(self) -> bool:
        """Nothing was heard of it for a while: it is used only where no other will do."""

    def runs(self, provider: str) -> bool:
        """It has the node type."""


S = TypeVar("S", bound=Server)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A component that needs a server."""

    component: str
    provider: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """The server must have all of these."""
    home: str = ""
    """The only server that will do; empty: any."""
    features: frozenset[str] = frozenset()
    """The server must support all of these."""


class NoServer(LanemeshError):
    """No server that takes runs has a component's node type, its labels and the features that it needs."""


class NoCapacity(LanemeshError):
    """The servers that could run a component are full. `servers` has their names: unless one of them gets room, or another one
    comes, asking again is in vain."""

    def __init__(self, fault: Fault, servers: frozenset[str]) -> None:
        super().__init__(fault)
        self.servers = servers


class PlacementPolicy(Protocol):
    """Decides which server runs which component. An orchestrator has one for all of its runs: `Orchestrator(placement=...)`."""

    def __call__(
        self,
        requirements: Sequence[Requirement],
        servers: Iterable[S],
        *,
        full: Collection[str] = (),
        idle: bool = False,
    ) -> dict[str, S]:
        """The server for each component, one that `takes` it and has capacity left.

        Args:
            requirements: the components that need a server.
            servers: those that there are.
            full: names of servers that have no capacity, whatever is known here.
            idle: as if the servers ran nothing yet.

        Raises:
            NoServer: no server that takes runs has what a component needs.
            NoCapacity: those that have it are full.
        """


def least_loaded(
    requirements: Sequence[Requirement],
    servers: Iterable[S],
    *,
    without: Collection[str] = (),
    full: Collection[str] = (),
    idle: bool = False,
) -> dict[str, S]:
    """The placement policy by which each component gets the server with the fewest active instances, those of this run included;
    of equals, one that the run uses already. Those that can live on few servers choose first, and move to make room for others.

    Args:
        without: names of servers that are not to be used.
        full: names of servers that have no room, whatever is known here.
        idle: as if the servers ran nothing yet.

    Raises:
        NoServer: no server that takes runs has what a component needs.
        NoCapacity: those that have it are full.
    """
    there = [server for server in servers if server.name not in without]
    choice = _Choice(
        {requirement.component: _able(requirement, there) for requirement in requirements}, full=full, idle=idle
    )
    for requirement in sorted(requirements, key=lambda requirement: len(choice.able[requirement.component])):
        visited: list[S] = []
        if not choice.assign(requirement.component, visited):
            raise _no_capacity(requirement, visited)
    return choice.chosen


class _Choice(Generic[S]):
    """A choice that is being made."""

    def __init__(self, able: Mapping[str, Sequence[S]], *, full: Collection[str], idle: bool) -> None:
        self.able = able
        """The servers that could run each component."""
        self.chosen: dict[str, S] = {}
        self._full = full
        self._idle = idle
        self._added: Counter[str] = Counter()

    def assign(self, component: str, visited: list[S]) -> bool:
        """Finds a component its server, if need be by moving others: an augmenting path, as in Kuhn's matching. `visited` gets the
        servers that were found full."""
        servers = [server for server in self.able[component] if server not in visited]
        with_capacity = [server for server in servers if self._load(server) < self._limit(server)]
        if with_capacity:
            server = min(with_capacity, key=lambda server: (self._load(server), not self._added[server.name]))
            self.chosen[component] = server
            self._added[server.name] += 1
            return True
        visited += servers
        for server in servers:
            for other in [name for name, its in self.chosen.items() if its is server]:
                if self.assign(other, visited):
                    self.chosen[component] = server
                    return True
        return False

    def _load(self, server: S) -> float:
        return (0 if self._idle else server.active_instances) + self._added[server.name]

    def _limit(self, server: S) -> float:
        return 0 if server.name in self._full else server.max_instances or inf


def takes(server: Server, requirement: Requirement) -> bool:
    """Whether a server could run a component, if it had room."""
    return (
        _has(server, requirement)
        and _is_labelled(server, requirement)
        and not unsupported(requirement.features, server.features)
        and not server.closed_because
    )


def _has(server: Server, requirement: Requirement) -> bool:
    return server.runs(requirement.provider) and requirement.home in ("", server.name)


def _is_labelled(server: Server, requirement: Requirement) -> bool:
    return requirement.labels.items() <= server.labels.items()


def _able(requirement: Requirement, servers: Sequence[S]) -> Sequence[S]:
    """The servers that could run a component if they had room. Raises NoServer if there are none."""
    able = [server for server in servers if takes(server, requirement)]
    if able:
        return [server for server in able if not server.is_silent] or able
    having = [server for server in servers if _has(server, requirement)]
    labelled = [server for server in having if _is_labelled(server, requirement)]
    able_to = [server for server in labelled if not unsupported(requirement.features, server.features)]
    flags = "".join(f" --label {label}" for label in _pairs(requirement.labels))
    if not having:
        why = "no node server runs it"
    elif not labelled:
        told = _listed(f"{server.name}: {', '.join(_pairs(server.labels)) or 'none'}" for server in having)
        why = f"no node server that runs it has the labels {', '.join(_pairs(requirement.labels))}; available: {told}"
    elif not able_to:
        raise _missing_feature(requirement, labelled)
    elif all(server.closed_because == "is draining" for server in able_to):
        why = "every node server that runs it is draining"
    else:
        why = _listed(f"{server.name} {server.closed_because}" for server in able_to)
    message = (
        f'no node server can host "{requirement.component}" of the node type "{requirement.provider}": {why}. Start one with '
        f"`lanemesh node SERVICE --orchestrator ADDRESS{flags}`; `lanemesh nodes` lists node types with their services"
    )
    details = {"component": requirement.component, "provider": requirement.provider}
    raise NoServer(Fault(code=Code.UNAVAILABLE, reason="no-server", message=message, details=details))


def _missing_feature(requirement: Requirement, having: Sequence[Server]) -> NoServer:
    told = _listed(
        f"{server.name} lacks {', '.join(unsupported(requirement.features, server.features))}" for server in having
    )
    message = (
        f'no node server can host "{requirement.component}" of the node type "{requirement.provider}": it needs the feature '
        f"{', '.join(sorted(requirement.features))} of its node server, and {told}. "
        "Install a version of the server's software that supports it, or start another node server with this node type"
    )
    details = {
        "component": requirement.component,
        "provider": requirement.provider,
        "features": ", ".join(sorted(requirement.features)),
        "servers": ", ".join(server.name for server in having[:_MOST_LISTED]),
    }
    return NoServer(Fault(code=Code.FAILED_PRECONDITION, reason="missing-feature", message=message, details=details))


def _no_capacity(requirement: Requirement, full: Sequence[Server]) -> NoCapacity:
    told = _listed(_fullness(server) for server in full)
    message = (
        f'no node server has capacity for "{requirement.component}" of the node type "{requirement.provider}" ({told}). '
        "Start another with `lanemesh node SERVICE --orchestrator ADDRESS`, raise --max-instances, or start fewer runs at once"
    )
    details = {"component": requirement.component, "provider": requirement.provider}
    fault = Fault(code=Code.RESOURCE_EXHAUSTED, reason="no-capacity", message=message, details=details)
    return NoCapacity(fault, frozenset(server.name for server in full))


def _fullness(server: Server) -> str:
    if not server.max_instances:
        return f"{server.name} reports that it is full"
    runs = f"{server.name} runs {server.active_instances} of at most {server.max_instances} components"
    has_some = server.active_instances < server.max_instances
    return runs + (", not enough for this run and those before it" if has_some else "")


def _pairs(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in sorted(labels.items())]


def _listed(things: Iterable[str]) -> str:
    told = list(things)
    return ", ".join(told[:_MOST_LISTED]) + (
        f" and {len(told) - _MOST_LISTED} more" if len(told) > _MOST_LISTED else ""
    )
