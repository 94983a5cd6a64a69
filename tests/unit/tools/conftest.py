"""Tools of a component under test, and an HTTP server on this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from lanemesh import Node, ToolCall, ToolResult
from lanemesh.control.instance import HelperInstance
from lanemesh.control.links import LocalLink
from lanemesh.control.tools import LinkedTools, ToolSet
from lanemesh.helper_kinds import HELPER_KINDS
from lanemesh.node.context import Context
from lanemesh.permissions import Permissions
from lanemesh.redaction import Secrets
from lanemesh.v1 import update_pb2

LOCAL = Permissions.of(["write", "hosts"])
"""What local runs may do."""


async def loaded(
    node: type[Node], *, permissions: Permissions = LOCAL, secrets: Secrets | None = None, **config: Any
) -> ToolSet:
    """The tools of a component with these settings."""

    async def report(update: update_pb2.Update) -> None:
        pass

    made: Any = node()
    made.config = node.Config(**config)
    made.resource = await node.load(made.config)
    context = Context(
        run_id="r",
        component="tool_1",
        provider=node.provider,
        report=report,
        permissions=permissions,
        secrets=secrets or Secrets(),
    )
    link = LocalLink(HELPER_KINDS["tool"], HelperInstance(made, context), invoker="agent_1")
    return ToolSet([LinkedTools(link)])


async def result_of(tools: ToolSet, name: str, **arguments: Any) -> ToolResult:
    """The result of a call."""
    events = [event async for event in tools.stream(ToolCall("1", name, json.dumps(arguments)))]
    assert isinstance(events[-1], ToolResult)
    return events[-1]


async def value_of(tools: ToolSet, name: str, **arguments: Any) -> Any:
    """The value of a call that succeeds."""
    result = await result_of(tools, name, **arguments)
    assert not result.is_error, result.content
    return result.value


async def error_of(tools: ToolSet, name: str, **arguments: Any) -> dict[str, Any]:
    """The error of a call that fails."""
    result = await result_of(tools, name, **arguments)
    assert result.is_error, result.content
    error: dict[str, Any] = result.value
    return error


Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
"""Answers a request, whose content is given."""


@dataclass
class Web:
    """An HTTP server on this machine."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    """The answer to each path."""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """Method, path, headers and content of each request."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end of the test."""

    def url(self, path: str = "/", host: str = "localhost") -> str:
        """The URL of a path."""
        return f"http://{host}:{self.port}{path}"

    def at(self, path: str, content: bytes | str, kind: str = "text/plain", status: int = 200, **headers: str) -> None:
        """Sets the response at a path."""
        body = content.encode() if isinstance(content, str) else content

        def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
            handler.send_response(status)
            handler.send_header("content-type", kind)
            handler.send_header("content-length", str(len(body)))
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(body)

        self.answers[path] = answer


@pytest.fixture
def web() -> Iterator[Web]:
    """A server on both loopback names."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.close_connection = True
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = self.path.partition("?")[0]
            served.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = served.answers.get(path)
            if answer is None:
                self.send_error(404)
            else:
                answer(self, body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Web(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.released.set()
    server.shutdown()
    server.server_close()
    thread.join()
