"""Requests to HTTP servers as a tool, tried on a server of this machine."""

from __future__ import annotations

import asyncio
import gzip
import socket
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from lanemesh.chat import ToolResult
from lanemesh.permissions import Permissions
from lanemesh.redaction import Secrets
from lanemesh.values import Image
from lanemesh_services.shared.hosts import is_public
from lanemesh_services.tools.http import ToolHttp

from .conftest import Web, error_of, loaded, result_of, value_of

OPEN: dict[str, Any] = {"hosts": ["localhost"], "private": True}
"""Requests may go to this machine."""


async def test_happy_json_text_and_images_are_returned_as_such(web: Web) -> None:
    web.at("/json", '{"a": [1]}', "application/json; charset=utf-8", ETag="x")
    web.at("/text", "grüße".encode("latin-1"), "text/plain; charset=latin-1", status=404)
    web.at("/image", b"\x89PNG", "image/png")
    web.at("/binary", b"\x00\x01", "application/octet-stream")
    tools = await loaded(ToolHttp, **OPEN)

    found = await value_of(tools, "http_request", url=web.url("/json"))
    assert (found["status"], found["json"], found["headers"]["etag"]) == (200, {"a": [1]}, "x")
    found = await value_of(tools, "http_request", url=web.url("/text"))
    assert (found["status"], found["text"]) == (404, "grüße")
    result = await result_of(tools, "http_request", url=web.url("/image"))
    assert result.parts == (Image("image/png", b"\x89PNG"),)
    assert (await value_of(tools, "http_request", url=web.url("/binary")))["bytes"] == 2


async def test_happy_method_query_headers_and_body_are_sent(web: Web) -> None:
    web.at("/", "ok")
    tools = await loaded(ToolHttp, **OPEN, methods=["GET", "POST"], headers={"localhost": {"x-key": "s3cret"}})

    given = {"headers": {"X-Mine": "1", "X-Key": "other", "Host": "evil"}, "query": {"b": 2}, "body": {"c": 3}}
    await value_of(tools, "http_request", url=web.url("/?a=1"), method="POST", **given)

    ((method, path, headers, body),) = web.requests
    assert (method, path, body) == ("POST", "/?a=1&b=2", b'{"c": 3}')
    expected = {"x-mine": "1", "x-key": "s3cret", "content-type": "application/json", "host": f"localhost:{web.port}"}
    assert expected.items() <= headers.items()


async def test_happy_the_model_reads_the_hosts_and_methods() -> None:
    (spec,) = await (await loaded(ToolHttp, hosts=["*.example.com"], methods=["GET"])).specs()
    assert spec.description.endswith("Hosts: *.example.com. Methods: GET.")


async def test_happy_a_redirect_is_followed_and_headers_go_to_their_host_alone(web: Web) -> None:
    web.at("/from", "", status=302, Location=web.url("/to", "127.0.0.1"))
    web.at("/to", "there")
    config: dict[str, Any] = {**OPEN, "hosts": ["localhost", "127.0.0.1"]}
    tools = await loaded(ToolHttp, **config, headers={"localhost": {"x-key": "s3cret"}})

    found = await value_of(tools, "http_request", url=web.url("/from"))

    assert (found["text"], found["url"]) == ("there", web.url("/to", "127.0.0.1"))
    assert ["x-key" in headers for _, _, headers, _ in web.requests] == [True, False]


async def test_happy_the_connection_goes_to_the_address_that_was_checked(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.at("/", "ok")
    asked: list[str] = []
    own = socket.getaddrinfo

    def rebinding(host: Any, *more: Any, **named: Any) -> Any:
        """Resolves a name to another address each time."""
        if host != "rebinding.test":
            return own(host, *more, **named)
        asked.append(host)
        return own("127.0.0.1" if len(asked) == 1 else "192.0.2.1", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    tools = await loaded(ToolHttp, hosts=["rebinding.test"], private=True)

    assert (await value_of(tools, "http_request", url=web.url("/", "rebinding.test")))["text"] == "ok"
    assert web.requests[0][2]["host"] == f"rebinding.test:{web.port}"
    assert asked == ["rebinding.test"]


async def test_error_a_compressed_response_is_refused_before_it_is_unpacked(web: Web) -> None:
    web.at("/", gzip.compress(b"\0" * 1_000_000), "text/plain", content_encoding="gzip")
    tools = await loaded(ToolHttp, **OPEN, max_bytes=10_000)

    assert "the response is compressed" in (await error_of(tools, "http_request", url=web.url("/")))["error"]


async def test_the_content_of_a_redirect_is_not_read(web: Web) -> None:
    def endless(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(302)
        handler.send_header("location", "/to")
        handler.end_headers()
        handler.wfile.write(b"more of it is never sent")
        handler.wfile.flush()
        web.released.wait(30)

    web.answers["/from"] = endless
    web.at("/to", "there")
    tools = await loaded(ToolHttp, **OPEN)

    assert (await value_of(tools, "http_request", url=web.url("/from")))["text"] == "there"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/", "the host example.org is not allowed; the allowed ones: localhost"),
        ("http://localhost.example.org/", "is not allowed"),
        ("ftp://localhost/", 'does not begin with "http://"'),
        ("file:///etc/passwd", 'does not begin with "http://"'),
        ("nothing", 'does not begin with "http://"'),
        ("http://user:word@localhost/", "must not contain a user"),
        ("http://localhost:1/", "failed: ConnectError"),
        ("http://[::1", "failed"),
    ],
)
async def test_error_a_url_that_is_not_allowed(url: str, said: str) -> None:
    assert said in (await error_of(await loaded(ToolHttp, **OPEN), "http_request", url=url))["error"]


async def test_error_a_private_address_unless_settings_and_node_server_permit_it(web: Web) -> None:
    web.at("/", "ok")
    closed = Permissions.of([])
    named = Permissions.of([f"host:localhost:{web.port}"])
    cases: list[tuple[dict[str, Any], Permissions, bool]] = [
        ({}, Permissions.of(["hosts"]), False),
        ({"private": True}, closed, False),
        ({"private": True}, Permissions.of(["host:localhost:1"]), False),
        ({"private": True}, named, True),
    ]
    for config, permissions, allowed in cases:
        tools = await loaded(ToolHttp, permissions=permissions, hosts=["*"], **config)
        result = await result_of(tools, "http_request", url=web.url())
        assert result.is_error is not allowed
        if not allowed:
            assert "which is not a public one" in result.value["error"]
    assert len(web.requests) == 1


async def test_error_a_redirect_to_a_host_or_an_address_that_is_not_allowed(web: Web) -> None:
    web.at("/host", "", status=302, Location="http://example.org/")
    web.at("/scheme", "", status=302, Location="file:///etc/passwd")
    web.at("/address", "", status=307, Location=web.url("/to", "127.0.0.1"))
    web.at("/again", "", status=302, Location="/again")
    web.at("/to", "secret")
    tools = await loaded(
        ToolHttp, permissions=Permissions.of([f"host:localhost:{web.port}"]), hosts=["*"], private=True
    )

    for path, said in (("/address", "not a public one"), ("/scheme", "does not"), ("/again", "more than 5 times")):
        assert said in (await error_of(tools, "http_request", url=web.url(path)))["error"]
    assert "/to" not in [path for _, path, _, _ in web.requests]
    tools = await loaded(ToolHttp, **OPEN)
    assert "example.org is not allowed" in (await error_of(tools, "http_request", url=web.url("/host")))["error"]


async def test_error_a_method_that_is_not_allowed(web: Web) -> None:
    error = await error_of(await loaded(ToolHttp, **OPEN), "http_request", url=web.url(), method="DELETE")
    assert "the allowed ones: GET, HEAD" in error["error"]


async def test_error_a_large_or_endless_response_is_cut(web: Web) -> None:
    def endless(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.end_headers()
        try:
            while not web.released.is_set():
                handler.wfile.write(b"x" * 10_000)
        except OSError:
            return

    web.answers["/"] = endless
    found = await value_of(await loaded(ToolHttp, **OPEN, max_bytes=1000), "http_request", url=web.url())
    assert (found["text"], found["note"]) == ("x" * 1000, "only the first 1,000 bytes of the content")


@pytest.mark.parametrize("when", ["before the headers", "in the content"])
async def test_error_a_server_that_hangs(web: Web, when: str) -> None:
    def hang(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        if when == "in the content":
            handler.send_response(200)
            handler.send_header("content-length", "9")
            handler.end_headers()
        web.released.wait(30)

    web.answers["/"] = hang
    error = await error_of(await loaded(ToolHttp, **OPEN, timeout=0.2), "http_request", url=web.url())
    assert error["reason"] == "tool-timeout"


async def test_error_a_secret_that_the_server_returns_is_hidden(web: Web) -> None:
    web.at("/", "your key is s3cret-key")
    config: dict[str, Any] = {**OPEN, "headers": {"localhost": {"x-key": "s3cret-key"}}}
    tools = await loaded(ToolHttp, secrets=Secrets(["s3cret-key"]), **config)
    assert (await value_of(tools, "http_request", url=web.url()))["text"] == "your key is ***"


async def test_shutdown_a_cancelled_call_closes_its_connection(web: Web) -> None:
    begun, closed = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        loop.call_soon_threadsafe(begun.set)
        if not handler.connection.recv(1):
            loop.call_soon_threadsafe(closed.set)

    web.answers["/"] = hang
    tools = await loaded(ToolHttp, **OPEN)
    task: asyncio.Task[ToolResult] = asyncio.create_task(result_of(tools, "http_request", url=web.url()))
    await asyncio.wait_for(begun.wait(), 5)
    task.cancel()
    await asyncio.wait_for(closed.wait(), 10)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *(("8.8.8.8", True), ("2001:4860:4860::8888", True), ("64:ff9b::808:808", True)),
        *(
            (address, False)
            for address in ("127.0.0.1", "10.1.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1")
        ),
        *(
            (address, False)
            for address in ("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1")
        ),
        *((address, False) for address in ("2002:7f00:1::", "::7f00:1", "192.0.2.1", "255.255.255.255", "ff02::1")),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
