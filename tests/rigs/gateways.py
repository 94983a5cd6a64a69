"""Gateways at an address, and clients of them that read server-sent events."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import jsonschema
from lanemesh.client.run_host import RunHost
from lanemesh_orchestrator.gateway.api.openapi import openapi_document
from lanemesh_orchestrator.gateway.app import DOCUMENTED
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.gateway.server import gateway_server
from lanemesh_orchestrator.http_server.server import HttpServer

from endings import lasting

SECONDS = 30.0
"""How long a client waits for a part of a response."""
EVENTS = {"accept": "text/event-stream"}
"""The header with which a client asks for events."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    """Its type; "message" by default."""
    id: str
    """Its id; empty if it has none."""
    data: Any
    """Its data, read as JSON."""


@asynccontextmanager
async def gateway(mesh: RunHost, options: GatewayOptions | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway of a mesh in this process, and a client of it."""
    async with gateway_at(mesh, options) as server, client_of(server.url) as client:
        yield client


def client_of(url: str) -> httpx.AsyncClient:
    """A client of a gateway that compares every JSON response with the document of the API."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    hooks = {"response": [check_response]}
    return httpx.AsyncClient(base_url=url, timeout=SECONDS, limits=limits, event_hooks=hooks, verify=False)


async def check_response(response: httpx.Response) -> None:
    """Fails if the document of the API does not have the response: its path, method, status, media type and schema."""
    media_type = response.headers.get("content-type", "").partition(";")[0]
    path, method = response.request.url.path, response.request.method.lower()
    if path.startswith("/hooks/"):
        return  # what targets deliver has any form
    templates = [one for one in document()["paths"] if re.fullmatch(re.sub(r"{\w+}", "[^/]+", one), path)]
    operations = [document()["paths"][one].get(method) for one in templates]
    operation = next(filter(None, operations), None)
    if operation is None:
        assert response.status_code in (200, 400, 401, 403, 404, 405, 421), f"{method} {path} is not in the document"
        return
    found = operation["responses"].get(str(response.status_code))
    if found is None:
        found = operation["responses"]["default"]
        assert response.is_error, f"{method} {path}: the document has no status {response.status_code}"
    content = found.get("content", {})
    assert not content or media_type in content, f"{method} {path}: {media_type} is not one of {list(content)}"
    if media_type.endswith("json"):
        await response.aread()
        schema = {**content[media_type]["schema"], "components": document()["components"]}
        jsonschema.validate(response.json(), schema, cls=jsonschema.Draft202012Validator)


@cache
def document() -> dict[str, Any]:
    """The document of the API."""
    return openapi_document(DOCUMENTED)


@asynccontextmanager
async def gateway_at(mesh: RunHost, options: GatewayOptions | None = None, port: int = 0) -> AsyncIterator[HttpServer]:
    """A gateway of a mesh in this process."""
    server = gateway_server(mesh, "127.0.0.1", port, options)
    async with lasting("the gateway", server):
        yield server


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """The events of a response, as a browser reads them."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8", await response.aread()
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if not line:
            if "data" in fields:
                yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")


async def all_events(client: httpx.AsyncClient, path: str, **options: Any) -> list[Event]:
    """Every event of a stream, to its end."""
    async with client.stream("GET", path, **options) as response:
        return [event async for event in events(response)]


def texts(found: list[Event]) -> list[Any]:
    """The values that reached targets."""
    return [event.data["value"] for event in found if event.data.get("update") == "output"]


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits for a state of the gateway that no event reports, at most 10 s."""
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - nothing reports it
            await asyncio.sleep(0.01)
