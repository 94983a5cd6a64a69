"""The ASGI application of a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanemesh.faults import LanemeshError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute

from lanemesh_orchestrator.gateway import agui, anthropic, api, dialects, openai, page, problems, webhooks, websocket
from lanemesh_orchestrator.gateway.api.pages import page_routes
from lanemesh_orchestrator.gateway.gateway import Gateway
from lanemesh_orchestrator.gateway.guard.headers import SecurityHeaders
from lanemesh_orchestrator.gateway.guard.hosts import HostGuard
from lanemesh_orchestrator.gateway.guard.limits import LimitGuard
from lanemesh_orchestrator.gateway.guard.origins import OriginGuard
from lanemesh_orchestrator.gateway.guard.tokens import TokenGuard
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.http_server.body_guard import BodyGuard

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost

EXPOSED_HEADERS = ("Location", "Retry-After", "Lanemesh-Run", "Preference-Applied")
"""The headers of responses that pages of permitted sites may read."""

DOCUMENTED = (*api.ENDPOINTS, *webhooks.ENDPOINTS, *agui.ENDPOINTS)
"""The endpoints in the document of the API. Those of OpenAI and Anthropic are documented there."""


def create_app(mesh: RunHost, options: GatewayOptions | None = None) -> Starlette:
    """The application that serves a mesh.

    Args:
        mesh: a `Client`, or a `Mesh` of this process. The caller closes it.
        options: limits and permissions; None: the defaults.
    """
    options = options or GatewayOptions()
    app = Starlette(
        routes=routes(),
        middleware=guards(options),
        exception_handlers={
            LanemeshError: problems.on_fault,
            HTTPException: dialects.on_http_error,
            ClientDisconnect: problems.on_disconnect,
            Exception: problems.on_error,
        },
    )
    app.state.gateway = Gateway(mesh=mesh, options=options)
    return app


def routes() -> list[BaseRoute]:
    """Every endpoint."""
    parts = (page, api, websocket, webhooks, openai, anthropic, agui)
    return [*(route for part in parts for route in part.routes()), *page_routes(DOCUMENTED)]


def guards(options: GatewayOptions) -> list[Middleware]:
    """What each request has to pass, in this order."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=options.origins,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    return [
        Middleware(BodyGuard),
        Middleware(SecurityHeaders),
        Middleware(HostGuard, options.hosts),
        *([cors] if options.origins else ()),
        Middleware(OriginGuard, options.origins),
        Middleware(LimitGuard, options),
        Middleware(TokenGuard, options.token, options.webhook_secrets, mesh_tokens=options.mesh_tokens),
    ]
