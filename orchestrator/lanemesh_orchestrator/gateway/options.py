"""The options of a gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lanemesh.faults import Code, Fault, LanemeshError

_ORIGIN = re.compile(r"https?://[^/?#@\s*]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What a gateway permits, and its limits."""

    token: str = ""
    """What each request has to send as `Authorization: Bearer TOKEN`; empty: nothing."""
    mesh_tokens: bool = False
    """Each request has to send a token of the mesh, which the gateway sends on, and the mesh checks. The mesh is a `Client` with
    `forward_tokens`."""
    origins: tuple[str, ...] = ()
    """Origins of other sites, such as "https://app.example", whose pages may call the API."""
    hosts: tuple[str, ...] = ()
    """Names by which clients reach the gateway, besides addresses and localhost. Requests for other names are rejected."""
    documents: bool = True
    """Clients may run, validate and deploy documents of their own, change settings of deployed pipelines, and remove these.
    Otherwise they run deployed pipelines as they are. A `Mesh` trusts documents as its program's own: they read the environment,
    open files and start commands. An orchestrator that a `Client` reaches does not."""
    max_body: int = 16 * 1024 * 1024
    """Largest body of a request of the API, in bytes."""
    max_upload: int = 1024 * 1024 * 1024
    """Largest upload to a webhook or a dropper, in bytes."""
    max_answer: int = 64 * 1024 * 1024
    """Largest answer of a webhook, in bytes. A run that delivers more is cancelled unless it has an idempotency key; its events
    have no such limit."""
    webhook_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The secrets of the deployed pipelines whose webhooks require a signature, by their names."""
    body_seconds: float = 60.0
    """How long a request may send nothing of its body, in seconds."""
    max_requests: int = 2_000
    """Most requests, event streams and WebSockets at once, of all callers."""
    max_requests_per_token: int = 1_000
    """Most of them at once of one token, or of one address without a token."""
    rate: float = 200.0
    """Most requests a second of one token or address; short bursts of 5 seconds of them are served."""

    def __post_init__(self) -> None:
        """Raises LanemeshError ("bad-value") if an origin is none, because "*" would let every page use the gateway, or for both a
        token of its own and those of the mesh."""
        if self.token and self.mesh_tokens:
            message = (
                "the gateway has a token of its own, so callers cannot send those of the mesh. Use one or the other"
            )
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-value", message=message))
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                message = f'"{origin[:80]}" is not an origin. Write scheme and host without a path, such as https://app.example'
                raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-value", message=message))
