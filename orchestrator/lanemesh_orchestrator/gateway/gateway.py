"""What the endpoints of a gateway share: the mesh and the options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lanemesh_orchestrator.gateway.options import GatewayOptions

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost
    from starlette.requests import HTTPConnection


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A gateway to one mesh. It has no state of its own: two gateways of a mesh answer alike."""

    mesh: RunHost
    """The mesh: a `Client`, or a `Mesh` of this process."""
    options: GatewayOptions


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that serves a request or a WebSocket."""
    return cast("Gateway", connection.app.state.gateway)
