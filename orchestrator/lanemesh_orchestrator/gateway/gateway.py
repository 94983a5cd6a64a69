"""What the endpoints of a gateway share: the mesh and the options."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lanemesh.client.specs import Conversation

from lanemesh_orchestrator.gateway.options import GatewayOptions

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost
    from starlette.requests import HTTPConnection

SESSION_HEADER = "lanemesh-session"
"""The header with the session of a request."""


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A gateway to one mesh. It has no state of its own: two gateways of a mesh answer alike."""

    mesh: RunHost
    """The mesh: a `Client`, or a `Mesh` of this process."""
    options: GatewayOptions


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that serves a request or a WebSocket."""
    return cast("Gateway", connection.app.state.gateway)


def owner_of(connection: HTTPConnection) -> str:
    """The owner of the sessions of a caller: one per token; empty without a token."""
    token = gateway_of(connection).options.token
    return f"token-{hashlib.sha256(token.encode()).hexdigest()[:32]}" if token else ""


def conversation_of(connection: HTTPConnection, session_id: str = "") -> Conversation | None:
    """The session of a request: of the field `session` of its body, else of its header `Lanemesh-Session`; None if it has none."""
    chosen = session_id or connection.headers.get(SESSION_HEADER, "")
    return Conversation(id=chosen, owner=owner_of(connection)) if chosen else None
