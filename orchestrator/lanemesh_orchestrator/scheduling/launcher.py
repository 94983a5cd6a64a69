"""The interface that starts the node servers of a mesh. Another way to start them is another implementation of `Launcher`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import registry_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """How a node server is started."""

    name: str
    """The name under which it registers; the registry may give it another one."""
    service: str
    """The service whose node types it runs."""
    nodes: Path | None = None
    """The Python file of that service; None: the service is installed."""
    interpreter: str = sys.executable
    """The Python interpreter that runs it."""
    orchestrator: str
    """The address of the orchestrator with which it registers: "host:port"."""


class Launched(Protocol):
    """A node server that was started."""

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""

    def is_server(self, info: registry_pb2.ServerInfo) -> bool:
        """Whether this registration is that of this node server."""

    async def exit_reason(self) -> str:
        """A description of how it has ended; empty while it runs. Returns within a second."""


class Launcher(Protocol):
    """Starts node servers, and ends them on `close`."""

    async def launch(self, spec: ServerSpec) -> Launched:
        """Starts a node server; does not wait until it has registered. Raises LanemeshError if it cannot be started."""

    async def launch_arbiter(self) -> str:
        """Starts the GPU arbiter of the mesh if its node servers have devices. Returns its address, "host:port"; empty if there
        are no devices.

        Raises:
            LanemeshError: it ended, or did not report its address within 60 s.
        """

    async def close(self) -> None:
        """Ends all started processes within a time limit; the arbiter last."""


def not_started(names: Sequence[str], what: str) -> LanemeshError:
    """The error of a run whose node servers did not start."""
    message = f"the node server {', '.join(names)} {what}. `--log-level debug` shows more"
    return LanemeshError(Fault(code=Code.UNAVAILABLE, reason="server-not-started", message=message))
