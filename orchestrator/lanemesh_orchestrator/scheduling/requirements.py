"""Selects the node server of each component of a run. Pure functions over the known servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, Protocol, TypeVar

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import unsupported

from lanemesh_orchestrator.scheduling.gpus import MAX_LEAD, NO_GPUS, GpuNeed, Preference, ServerGpus, preference

_MOST_LISTED = 5
"""Most servers that an error names."""


class Server(Protocol):
    """The properties of a server that placement uses."""

    @property
    def name(self) -> str:
        """Unique in the mesh."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that the server declares."""

    @property
    def features(self) -> Collection[str]:
        """The optional features of the protocol that it supports."""

    @property
    def active_instances(self) -> int:
        """Number of components that it runs now, as far as this orchestrator knows."""

    @property
    def max_instances(self) -> int:
        """Most components that it runs at once; 0: any number."""

    @property
    def closed_because(self) -> str:
        """Why it takes no new runs, such as "is draining"; empty if it does."""

    @property
    def gpus(self) -> ServerGpus:
        """What it has on GPUs, as far as it is known."""

    @property
    def is_silent(self) -> bool:
        """Whether it has sent no heartbeat for a while. It is used only if no other server qualifies."""

    def runs(self, provider: str) -> bool:
        """Whether it has the node type."""

    def lacks(self, provider: str) -> Collection[str]:
        """The Python packages of the node type that are missing there."""


S = TypeVar("S", bound=Server)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A component that needs a server."""

    component: str
    provider: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """The server must have all of these."""
    home: str = ""
    """The name of the required server; empty: any."""
    features: frozenset[str] = frozenset()
    """The server must support all of these."""
    install: str = ""
    """The command that installs the Python packages of the node type; empty: it needs none."""
    settings: str = ""
    """The digest of the node type and its config. Servers that have its model loaded are preferred."""
    gpu: GpuNeed | None = None
    """What it needs of a GPU. Servers where that is free are preferred. None: unknown, or nothing."""


class NoServer(LanemeshError):
    """No server that accepts runs has the node type, its packages, the labels and the features that a component needs."""


class NoCapacity(LanemeshError):
    """The servers that could run a component are full. `servers` holds their names. A retry can succeed only after one of them
    has capacity again or another server joins."""

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
            servers: the servers to choose from.
            full: names of servers without capacity, whatever their load.
            idle: ignores the present load of the servers.

        Raises:
            NoServer: no server that accepts runs has what a component needs.
            NoCapacity: the servers that have it are full.
        """


def least_loaded(
    requirements: Sequence[Requirement],
    servers: Iterable[S],
    *,
    without: Collection[str] = (),
    full: Collection[str] = (),
    idle: bool = False,
) -> dict[str, S]:
    """The default placement policy: each component gets the server with the fewest active instances, those of this run included.
    Among equals, it prefers a server that the run uses already. Components with the fewest possible servers are assigned first,
    and are moved if another component needs their capacity. A server on which a component's model is loaded, and then one on whose
    GPUs its memory is free, goes before others that have up to 7 instances less.

    Args:
        without: names of excluded servers.
        full: names of servers without capacity, whatever their load.
        idle: ignores the present load of the servers.

    Raises:
        NoServer: no server that accepts runs has what a component needs.
        NoCapacity: the servers that have it are full.
    """
    candidates = [server for server in servers if server.name not in without]
    choice = _Choice(
        {requirement.component: _able(requirement, candidates) for requirement in requirements},
        {requirement.component: requirement for requirement in requirements},
        full=full,
        idle=idle,
    )
    for requirement in sorted(requirements, key=lambda requirement: len(choice.able[requirement.component])):
        visited: list[S] = []
        if not choice.assign(requirement.component, visited):
            raise _no_capacity(requirement, visited)
    return choice.chosen


class _Choice(Generic[S]):
    """The state of one placement while it is computed."""

    def __init__(
        self,
        able: Mapping[str, Sequence[S]],
        requirements: Mapping[str, Requirement],
        *,
        full: Collection[str],
        idle: bool,
    ) -> None:
        self.able = able
        """The servers that could run each component."""
        self.chosen: dict[str, S] = {}
        self._requirements = requirements
        self._full = full
        self._idle = idle
        self._added: Counter[str] = Counter()
        self._reserved: Counter[str] = Counter()
        """Bytes of GPUs for components of this placement, by server."""

    def assign(self, component: str, visited: list[S]) -> bool:
        """Assigns a server to a component and moves other components if necessary, by an augmenting path as in Kuhn's matching
        algorithm. Adds the full servers that it visits to `visited`. Returns whether it has assigned one."""
        servers = [server for server in self.able[component] if server not in visited]
        with_capacity = [server for server in servers if self._load(server) < self._limit(server)]
        if with_capacity:
            server = self._preferred(self._requirements[component], with_capacity)
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

    def _preferred(self, requirement: Requirement, servers: Sequence[S]) -> S:
        """The best of the servers with capacity."""
        if all(server.gpus is NO_GPUS for server in servers):
            return min(servers, key=self._order)
        most = min(map(self._load, servers)) + MAX_LEAD
        near = [server for server in servers if self._load(server) < most]
        ranked = {
            server.name: preference(server.gpus, requirement.settings, requirement.gpu, self._reserved[server.name])
            for server in near
        }
        server = min(near, key=lambda server: (ranked[server.name], self._order(server)))
        if requirement.gpu is not None and ranked[server.name] is Preference.FREE:
            self._reserved[server.name] += requirement.gpu.memory_bytes * requirement.gpu.count
        return server

    def _order(self, server: S) -> tuple[float, bool]:
        return self._load(server), not self._added[server.name]

    def _load(self, server: S) -> float:
        return (0 if self._idle else server.active_instances) + self._added[server.name]

    def _limit(self, server: S) -> float:
        return 0 if server.name in self._full else server.max_instances or inf


def takes(server: Server, requirement: Requirement) -> bool:
    """Whether a server could run a component, its capacity aside."""
    return (
        _has(server, requirement)
        and not server.lacks(requirement.provider)
        and _is_labelled(server, requirement)
        and not unsupported(requirement.features, server.features)
        and not server.closed_because
    )


def _has(server: Server, requirement: Requirement) -> bool:
    return server.runs(requirement.provider) and requirement.home in ("", server.name)


def _is_labelled(server: Server, requirement: Requirement) -> bool:
    return requirement.labels.items() <= server.labels.items()


def _able(requirement: Requirement, servers: Sequence[S]) -> Sequence[S]:
    """The servers that could run a component, their capacity aside. Raises NoServer if there are none."""
    able = [server for server in servers if takes(server, requirement)]
    if able:
        return [server for server in able if not server.is_silent] or able
    having = [server for server in servers if _has(server, requirement)]
    complete = [server for server in having if not server.lacks(requirement.provider)]
    if having and not complete:
        raise _missing_extra(requirement, having)
    labelled = [server for server in complete if _is_labelled(server, requirement)]
    able_to = [server for server in labelled if not unsupported(requirement.features, server.features)]
    flags = "".join(f" --label {label}" for label in _pairs(requirement.labels))
    if not having:
        why = "no node server runs it"
    elif not labelled:
        available = _listed(f"{server.name}: {', '.join(_pairs(server.labels)) or 'none'}" for server in complete)
        why = f"no node server that runs it has the labels {', '.join(_pairs(requirement.labels))}; available: {available}"
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


def _missing_extra(requirement: Requirement, having: Sequence[Server]) -> NoServer:
    lacks = _listed(f"{server.name} lacks {', '.join(server.lacks(requirement.provider))}" for server in having)
    message = (
        f'no node server can host "{requirement.component}" of the node type "{requirement.provider}", because Python packages '
        f"are missing: {lacks}. Run there: {requirement.install}, and restart the server"
    )
    details = {
        "component": requirement.component,
        "provider": requirement.provider,
        "servers": ", ".join(server.name for server in having[:_MOST_LISTED]),
    }
    return NoServer(Fault(code=Code.FAILED_PRECONDITION, reason="missing-extra", message=message, details=details))


def _missing_feature(requirement: Requirement, having: Sequence[Server]) -> NoServer:
    lacks = _listed(
        f"{server.name} lacks {', '.join(unsupported(requirement.features, server.features))}" for server in having
    )
    message = (
        f'no node server can host "{requirement.component}" of the node type "{requirement.provider}": it needs the feature '
        f"{', '.join(sorted(requirement.features))} of its node server, and {lacks}. "
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
    loads = _listed(_fullness(server) for server in full)
    message = (
        f'no node server has capacity for "{requirement.component}" of the node type "{requirement.provider}" ({loads}). '
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


def _listed(entries: Iterable[str]) -> str:
    found = list(entries)
    return ", ".join(found[:_MOST_LISTED]) + (
        f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    )
