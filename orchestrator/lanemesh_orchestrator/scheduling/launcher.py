"""What starts the node servers of a mesh. A second way to start them is a second implementation of `Launcher`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import registry_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """A node server that is to be started."""

    name: str
    """The name under which it registers; the registry may give it another one."""
    service: str
    """The service whose node types it runs."""
    nodes: Path | None = None
    """The Python file of that service; None: it is installed."""
    orchestrator: str
    """Where it registers: "host:port"."""


class Launched(Protocol):
    """A node server that was started."""

    @property
    def has_ended(self) -> bool:
        """It is there no more."""

    def is_server(self, info: registry_pb2.ServerInfo) -> bool:
        """Whether this is what it has registered as."""

    async def exit_reason(self) -> str:
        """How it has ended, in words; empty if it has not. Returns at once, or within a second."""


class Launcher(Protocol):
    """Starts node servers, and ends all that it has started."""

    async def launch(self, spec: ServerSpec) -> Launched:
        """Starts a node server; does not wait until it has registered. Raises LanemeshError if it cannot be started."""

    async def launch_arbiter(self) -> str:
        """Starts the GPU arbiter of the mesh, if its node servers have devices. Returns its address, "host:port"; empty: there is
        none.

        Raises:
            LanemeshError: it ended, or did not report its address within 60 s.
        """

    async def close(self) -> None:
        """Ends everything, within a bound; the arbiter last."""


def not_started(names: Sequence[str], what: str) -> LanemeshError:
    """How a run fails whose node servers did not start."""
    message = f"the node server {', '.join(names)} {what}. `--log-level debug` shows more"
    return LanemeshError(Fault(code=Code.UNAVAILABLE, reason="server-not-started", message=message))
