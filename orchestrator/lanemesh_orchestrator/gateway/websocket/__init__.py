"""The WebSocket of the gateway: many runs and channels over one connection."""

from __future__ import annotations

from starlette.routing import BaseRoute, WebSocketRoute

from lanemesh_orchestrator.gateway.websocket.socket import Application


def routes() -> list[BaseRoute]:
    """The endpoint."""
    return [WebSocketRoute("/v1/ws", Application())]
