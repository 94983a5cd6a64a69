"""What the endpoints of a gateway share: the mesh and the options."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lanemesh.client.specs import Conversation
from lanemesh.faults import Code, Fault, LanemeshError

from lanemesh_orchestrator.gateway.open_streams import OpenStreams
from lanemesh_orchestrator.gateway.options import GatewayOptions

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost
    from starlette.requests import HTTPConnection

SENT_TOKEN = "lanemesh.token"  # the name of an entry
"""The entry of a scope with the token of the mesh that a request carries."""
SESSION_HEADER = "lanemesh-session"
"""The header with the session of a request."""


@dataclass(slots=True, kw_only=True)
class Gateway:
    """A gateway to one mesh. It has no state besides its connections: two gateways of a mesh answer alike."""

    mesh: RunHost
    """The mesh: a `Client`, or a `Mesh` of this process."""
    options: GatewayOptions
    streams: OpenStreams = field(default_factory=OpenStreams)
    """Its open event streams."""


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that serves a request or a WebSocket."""
    gateway: Gateway = connection.scope["app"].state.gateway
    return gateway


def check_documents(connection: HTTPConnection, pipeline: object = None, settings: object = None) -> None:
    """Checks whether clients may run what a request has.

    Args:
        connection: the request or the WebSocket.
        pipeline: a document, or the name of a deployed pipeline; None: the request deploys or removes one.
        settings: changes to settings; empty: none.

    Raises:
        LanemeshError: the gateway runs deployed pipelines alone, and as they are ("documents-refused").
    """
    if gateway_of(connection).options.documents or (isinstance(pipeline, str) and not settings):
        return
    message = (
        "this gateway runs deployed pipelines alone, and as they are: anyone can reach it, and documents of clients could use "
        "files and commands of its machine. Name a deployed pipeline, without settings, or start the gateway with --token-file"
    )
    raise LanemeshError(Fault(code=Code.PERMISSION_DENIED, reason="documents-refused", message=message))


def owner_of(connection: HTTPConnection) -> str:
    """The owner of the sessions of a caller: one per token, or for JWTs, which are renewed, per subject; empty without a token."""
    options = gateway_of(connection).options
    token = subject_of(connection.scope.get(SENT_TOKEN, "")) if options.mesh_tokens else options.token
    return f"token-{hashlib.sha256(token.encode()).hexdigest()[:32]}" if token else ""


def subject_of(token: str) -> str:
    """The subject of a JWT and its issuer, or any other token itself. It is not verified: the mesh does so at each call, which
    carries the same token."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        subject = json.dumps([claims["iss"], claims["sub"]])
    except (IndexError, KeyError, TypeError, ValueError):
        return token
    return subject


def conversation_of(connection: HTTPConnection, session_id: str = "") -> Conversation | None:
    """The session of a request: of the field `session` of its body, else of its header `Lanemesh-Session`; None if it has none."""
    chosen = session_id or connection.headers.get(SESSION_HEADER, "")
    return Conversation(id=chosen, owner=owner_of(connection)) if chosen else None
