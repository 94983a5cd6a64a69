"""Determines whether a deployed pipeline is ready, from the state of its servers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import deployment_pb2

from lanemesh_orchestrator.pipeline.faults import listed

SHOWN = 3
"""Maximum number of faults in a detail; the rest is counted."""
LOST_ATTEMPTS = 4
"""How often a server may be lost, or drain, before that is reported as the cause: one that has just ended is removed by then."""
MAX_DETAIL = 2_000
"""Maximum length of a detail, in characters."""

_PASSING = frozenset({"server-lost", "draining"})


@dataclass(frozen=True, slots=True)
class ServerStanding:
    """The state of one server."""

    server: str
    """Its name."""
    warm: bool
    """All resources are loaded there."""
    faults: Sequence[Fault] = ()
    """The faults of the last attempt."""
    failures: int = 0
    """Number of consecutive failures."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a pipeline is ready."""

    state: deployment_pb2.DeploymentState.ValueType
    """Ready, warming or degraded."""
    detail: str = ""
    """A description of the details."""


def readiness(
    fault: Fault | None, servers: Sequence[ServerStanding], components: Mapping[str, Sequence[str]]
) -> Readiness:
    """Whether a pipeline is ready.

    Args:
        fault: why its servers could not be determined.
        servers: their state.
        components: where each component is kept warm.
    """
    faults = [fault] if fault is not None else []
    faults += _homeless(components)
    faults += [fault for server in servers for fault in server.faults]
    if faults:
        return Readiness(deployment_pb2.DEPLOYMENT_STATE_DEGRADED, _cut([_placed(fault) for fault in faults]))
    cold = [server.server for server in servers if not server.warm]
    if cold or not components:
        detail = f"{listed(cold)} {'loads' if len(cold) == 1 else 'load'}" if cold else "it waits for its servers"
        return Readiness(deployment_pb2.DEPLOYMENT_STATE_WARMING, detail)
    return Readiness(deployment_pb2.DEPLOYMENT_STATE_READY)


def in_the_way(servers: Iterable[ServerStanding], components: Mapping[str, Sequence[str]]) -> list[Fault]:
    """The faults that do not resolve themselves during a deployment."""
    lasting = [
        fault
        for server in servers
        for fault in server.faults
        if fault.reason not in _PASSING or server.failures >= LOST_ATTEMPTS
    ]
    return _homeless(components) + lasting


def _homeless(components: Mapping[str, Sequence[str]]) -> list[Fault]:
    """The fault that components have no server, if there is one."""
    names = [name for name, where in components.items() if not where]
    message = (
        f"no node server that accepts runs has the node type of {listed(names)}. Start one with "
        "`lanemesh node SERVICE --orchestrator ADDRESS`"
    )
    return [Fault(code=Code.UNAVAILABLE, reason="no-server", message=message)] if names else []


def not_ready(name: str, faults: Sequence[Fault]) -> LanemeshError:
    """The fault that a pipeline was not deployed, with all causes; place and traceback are those of the first fault."""
    first = faults[0]
    message = (
        f'"{name}" was not deployed, because it cannot be made ready: {_cut([_placed(fault) for fault in faults])}'
    )
    code = first.code if first.code is not Code.NOT_FOUND else Code.FAILED_PRECONDITION
    return LanemeshError(
        Fault(code=code, reason="not-ready", message=message, details=first.details, traceback=first.traceback)
    )


def _placed(fault: Fault) -> str:
    """The message of a fault, after its component, node type and server if they are known."""
    component, server = fault.details.get("component", ""), fault.details.get("server", "")
    about = [fault.details["provider"]] if "provider" in fault.details else []
    about += [f"on {server}"] if server else []
    if not component or not about:
        return fault.message
    return f"{component} ({', '.join(about)}): {fault.message}"


def _cut(parts: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(parts))
    more = f"; and {len(distinct) - SHOWN} more" if len(distinct) > SHOWN else ""
    text = "; ".join(distinct[:SHOWN])
    return (text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]} ...") + more
