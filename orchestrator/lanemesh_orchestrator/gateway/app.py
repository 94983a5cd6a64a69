"""The ASGI application of a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanemesh.faults import LanemeshError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from lanemesh_orchestrator.gateway import page, problems
from lanemesh_orchestrator.gateway.api import runs
from lanemesh_orchestrator.gateway.gateway import Gateway
from lanemesh_orchestrator.gateway.options import GatewayOptions

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost


def create_app(mesh: RunHost, options: GatewayOptions | None = None) -> Starlette:
    """The application that serves a mesh.

    Args:
        mesh: a `Client`, or a `Mesh` of this process. The caller closes it.
        options: limits and permissions; None: the defaults.
    """
    app = Starlette(
        routes=routes(),
        exception_handlers={
            LanemeshError: problems.on_fault,
            HTTPException: problems.on_http_error,
            Exception: problems.on_error,
        },
    )
    app.state.gateway = Gateway(mesh=mesh, options=options or GatewayOptions())
    return app


def routes() -> list[BaseRoute]:
    """Every endpoint."""
    return [*page.routes(), *runs.routes()]
