"""The document of the API, and a page that shows it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from lanemesh_orchestrator.gateway.api.endpoint import Endpoint
from lanemesh_orchestrator.gateway.api.openapi import openapi_document, path_of
from lanemesh_orchestrator.gateway.json_response import Json

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.875rem/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; padding: 0.75rem; border-radius: 0.5rem; background: color-mix(in srgb, CanvasText 6%, Canvas); }
details { border-bottom: 1px solid color-mix(in srgb, CanvasText 15%, Canvas); }
summary { padding: 0.6rem 0; cursor: pointer; }
summary:focus-visible { outline: 2px solid; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 600; }
dt { font-weight: 600; }
dd { margin: 0 0 0.5rem 1rem; }
"""


def page_routes(endpoints: Sequence[Endpoint]) -> list[BaseRoute]:
    """The routes of the document and of its page."""

    @cache
    def document() -> dict[str, Any]:
        return openapi_document(endpoints)

    @cache
    def page() -> str:
        return render_page(endpoints, document())

    async def openapi(request: Request) -> Response:
        return Json(document())

    async def docs(request: Request) -> Response:
        return HTMLResponse(page())

    return [
        Route("/v1/openapi.json", openapi, methods=["GET"]),
        Route("/v1/docs", docs, methods=["GET"]),
        Route("/v1/docs.css", style, methods=["GET"]),
    ]


async def style(request: Request) -> Response:
    """The style of the page."""
    return Response(STYLE, media_type="text/css")


def render_page(endpoints: Sequence[Endpoint], document: dict[str, Any]) -> str:
    """The page: HTML without scripts."""
    parts = [_group(tag["name"], endpoints, document) for tag in document["tags"]]
    models = "".join(
        f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>"
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Lanemesh HTTP API</title>"
        "<meta name='viewport' content='width=device-width'><link rel='stylesheet' href='/v1/docs.css'></head><body>"
        f"<h1>Lanemesh HTTP API</h1><p>{escape(document['info']['description'])}</p>"
        "<p>The same as <a href='/v1/openapi.json'>OpenAPI document</a>.</p>"
        f"{''.join(parts)}<h2>Models</h2>{models}</body></html>"
    )


def _group(tag: str, endpoints: Sequence[Endpoint], document: dict[str, Any]) -> str:
    shown = "".join(_entry(one, document) for one in endpoints if one.tag == tag)
    return f"<h2>{escape(tag.capitalize())}</h2>{shown}"


def _entry(endpoint: Endpoint, document: dict[str, Any]) -> str:
    path = path_of(endpoint)
    operation = document["paths"][path][endpoint.method.lower()]
    body = ""
    if endpoint.body is not None:
        body = f"<h3>Body</h3>{_json(document['components']['schemas'][endpoint.body.__name__])}"
    elif endpoint.media_types:
        body = f"<h3>Body</h3><p>{escape(', '.join(endpoint.media_types))}</p>"
    parameters = _list("Parameters", operation.get("parameters", ()), lambda one: (one["name"], one["in"], one))
    responses = "".join(
        f"<dt>{status}</dt><dd>{escape(response['description'])} {_link(response)}</dd>"
        for status, response in operation["responses"].items()
    )
    return (
        f"<details><summary><code><span class='method'>{endpoint.method}</span>{escape(path)}</code> "
        f"{escape(endpoint.summary)}</summary><p>{escape(endpoint.description)}</p>{parameters}{body}"
        f"<h3>Responses</h3><dl>{responses}</dl></details>"
    )


def _list(title: str, entries: Sequence[Any], read: Callable[[Any], tuple[str, str, Any]]) -> str:
    if not entries:
        return ""
    shown = "".join(
        f"<dt><code>{escape(name)}</code> ({place})</dt><dd>{escape(one.get('description', ''))}</dd>"
        for name, place, one in map(read, entries)
    )
    return f"<h3>{title}</h3><dl>{shown}</dl>"


def _link(response: dict[str, Any]) -> str:
    for content in response.get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        if name:
            return f"<a href='#{escape(name)}'><code>{escape(name)}</code></a>"
    return ""


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
