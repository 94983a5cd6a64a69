"""The page of the gateway: the built files of `web/`, at `/` and `/assets/*`. It speaks only the HTTP API."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from lanemesh.faults import Code, Fault, LanemeshError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.reasons import Reason

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}

HEADERS = {"Cache-Control": "no-cache"}
"""Browsers ask whether a file has changed, by its ETag, so that a page never mixes files of two versions."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, in memory."""

    content: bytes
    compressed: bytes
    """The content by gzip."""
    media_type: str
    etag: str


def routes() -> list[BaseRoute]:
    """The endpoints."""
    return [Route("/", index, methods=["GET"]), Route("/assets/{name}", asset, methods=["GET"])]


async def index(request: Request) -> Response:
    """The document of the page."""
    return _respond(request, "index.html")


async def asset(request: Request) -> Response:
    """A script, a style sheet or an icon of the page. Raises LanemeshError ("no-such-path")."""
    return _respond(request, request.path_params["name"])


@cache
def assets() -> dict[str, Asset]:
    """Every file of the page by its name. They are some hundred KB, and read once."""
    found = {}
    for file in files("lanemesh_orchestrator.gateway").joinpath("page").iterdir():
        if (media_type := MEDIA_TYPES.get(file.name.rpartition(".")[2])) is not None:
            content = file.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[file.name] = Asset(content, gzip.compress(content, 9, mtime=0), media_type, etag)
    return found


def _respond(request: Request, name: str) -> Response:
    found = assets().get(name)
    if found is None:
        message = f"the page has no file {name[:100]!r}. Open / instead"
        raise LanemeshError(Fault(code=Code.NOT_FOUND, reason=Reason.NO_SUCH_PATH, message=message))
    headers = HEADERS | {"ETag": found.etag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, 200, headers | {"Content-Encoding": "gzip"}, found.media_type)
    return Response(found.content, 200, headers, found.media_type)
