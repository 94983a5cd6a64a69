"""HTTP requests for items, to a server of this machine."""

from __future__ import annotations

import asyncio
import gzip
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from lanemesh import Document, LanemeshError, Media
from lanemesh.testing import run_node_async
from lanemesh_services.flow.http_request import HttpRequest, TimeLimit

from unit.tools.conftest import Web
from unit.tools.conftest import web as web

OPEN: dict[str, Any] = {"hosts": ["localhost"], "private": True}


async def test_happy_text_json_and_documents(web: Web) -> None:
    web.at("/json", '{"a": [1]}', "application/json; charset=utf-8")
    result = await run_node_async(HttpRequest, config=OPEN, item=[web.url("/json")])
    assert "".join(result.text) == '{"a": [1]}'
    assert result.data == [
        {"status": 200, "url": web.url("/json"), "content_type": "application/json", "json": {"a": [1]}}
    ]
    assert result.documents == [Document('{"a": [1]}', source=web.url("/json"))]


async def test_happy_the_text_of_the_item_is_encoded_into_the_url(web: Web) -> None:
    web.at("/find", "ok")
    config = {**OPEN, "url": web.url("/find?q={text}")}
    await run_node_async(HttpRequest, config=config, item="a b&c=/é")
    assert web.requests[0][1] == "/find?q=a%20b%26c%3D%2F%C3%A9"


async def test_happy_a_body_and_headers(web: Web) -> None:
    web.at("/", "ok")
    config = {**OPEN, "url": web.url(), "method": "POST", "headers": {"localhost": {"x-key": "k"}}}
    await run_node_async(HttpRequest, config={**config, "body": "json"}, item=[Document("a", source="s")])
    await run_node_async(HttpRequest, config={**config, "body": "text"}, item="grüße")
    (method, _, headers, body), (_, _, _, text) = web.requests
    assert (method, headers["x-key"], body) == ("POST", "k", b'{"content": "a", "id": "", "source": "s"}')
    assert text == "grüße".encode()


async def test_happy_a_large_text_streams_in_its_own_encoding(web: Web) -> None:
    web.at("/long", ("ü" * 200_000).encode("latin-1"), "text/plain; charset=latin-1")
    result = await run_node_async(HttpRequest, config=OPEN, item=[web.url("/long")])
    assert "".join(result.text) == "ü" * 200_000
    assert len(result.text) > 1
    groups = {item.envelope.group.id for item in result.items["text"] if item.envelope and item.envelope.group}
    assert len(groups) == 1


async def test_happy_a_file_leaves_as_data_and_document_without_a_text(web: Web) -> None:
    web.at("/image", b"\x89PNG\0", "image/png")
    result = await run_node_async(HttpRequest, config=OPEN, item=[web.url("/image")])
    assert result.documents == [Document("", source=web.url("/image"), file=Media("image/png", b"\x89PNG\0"))]
    assert result.data == [{"status": 200, "url": web.url("/image"), "content_type": "image/png", "bytes": 5}]
    assert result.text == []


@pytest.mark.parametrize(
    ("path", "config", "said"),
    [
        ("/missing", {}, 'the request for the text "http://localhost.* the server answers with status 404'),
        ("/long", {"max_bytes": 100}, "has more than 100 bytes; raise config.max_bytes"),
        ("/", {"hosts": ["example.com"]}, "the host localhost is not allowed"),
        ("/", {"private": False}, "which is not a public one"),
        ("/packed", {}, "the response is compressed, which was not asked for"),
    ],
)
async def test_error_requests_that_fail(web: Web, path: str, config: dict[str, Any], said: str) -> None:
    web.at("/long", "x" * 1_000)
    web.at("/", "ok")
    encoded: dict[str, Any] = {"content-encoding": "gzip"}
    web.at("/packed", gzip.compress(b"x"), **encoded)
    with pytest.raises(LanemeshError, match=said):
        await run_node_async(HttpRequest, config={**OPEN, **config}, item=[web.url(path)])


@pytest.mark.parametrize("url", ["", "http://localhost/?q={text}"])
async def test_error_a_url_that_is_too_long(url: str) -> None:
    with pytest.raises(LanemeshError, match="its URL has more than 8,192 characters"):
        await run_node_async(HttpRequest, config={**OPEN, "url": url}, item=["http://localhost/" + "x" * 9_000])


async def test_error_a_text_that_is_no_url(web: Web) -> None:
    for text in ("", "no url", "file:///etc/passwd", "http://"):
        result = await run_node_async(HttpRequest, config=OPEN, item=[text], raises=False)
        assert isinstance(result.error, LanemeshError), text


async def test_error_a_server_that_is_too_slow(web: Web) -> None:
    def wait(*_: object) -> None:
        web.released.wait(10)

    web.answers["/slow"] = wait
    with pytest.raises(LanemeshError, match=r"it took longer than 0\.2 s|ReadTimeout"):
        await run_node_async(HttpRequest, config={**OPEN, "timeout": 0.2}, item=[web.url("/slow")])
    web.released.set()


async def test_error_a_response_that_trickles_ends_at_the_time_limit(web: Web) -> None:
    def trickle(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.released.wait(0.02):
            handler.wfile.write(b"x")

    web.answers["/trickle"] = trickle
    with pytest.raises(LanemeshError, match=r"it took longer than 0\.3 s"):
        await run_node_async(HttpRequest, config={**OPEN, "timeout": 0.3}, item=[web.url("/trickle")])
    web.released.set()


async def test_only_the_waits_for_the_server_count_for_the_time_limit() -> None:
    limit = TimeLimit(0.2)
    for _ in range(3):
        async with limit:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.sleep(1)
