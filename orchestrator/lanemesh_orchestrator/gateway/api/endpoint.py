"""An endpoint of the HTTP API: one entry for its route and for its part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response of an endpoint."""

    description: str
    """What it means."""
    schema: Any = None
    """The type of its body: a pydantic model, or another type that pydantic knows; None: no body."""
    media_type: str = "application/json"
    """The media type of its body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: str
    """The HTTP method."""
    path: str
    """The path, with parameters as in Starlette's routes, such as "/v1/runs/{run_id}"."""
    handler: Handler
    """Answers a request."""
    summary: str
    """What it does, in a few words."""
    tag: str
    """The group that it belongs to."""
    description: str = ""
    """Details, for readers of the document."""
    query: type[BaseModel] | None = None
    """Its parameters in the query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Its parameters in headers: the description of each."""
    body: type[BaseModel] | None = None
    """Its body."""
    media_types: Sequence[str] = ()
    """The media types of its body, if that is not JSON of a model."""
    answers: Mapping[int, Answer]
    """Its responses by status, those of errors aside."""


class Served:
    """A handler as an ASGI application.

    The errors of the handler are answered by the application that has the route. Starlette would answer them here as well, which
    costs each open stream some 3 KB.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        response = await self._handler(Request(scope, receive, send))
        await response(scope, receive, send)


def routes_of(endpoints: Sequence[Endpoint]) -> list[BaseRoute]:
    """The routes of endpoints."""
    return [Route(one.path, Served(one.handler), methods=[one.method], name=one.handler.__name__) for one in endpoints]
