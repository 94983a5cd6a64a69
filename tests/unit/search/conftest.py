"""A server on this machine that answers as the APIs of models do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest


class JsonServer:
    """A server of this machine that takes and returns JSON."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        """The bodies of the requests, each with its path."""
        self.keys: list[str] = []
        """The keys of the requests."""
        self.answers: list[tuple[int, Any]] = []
        """Answers to the next requests: their status and body."""
        self.answer: Callable[[dict[str, Any]], Any] = lambda body: {}
        """Makes the answers to all others."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self._answer(body)

            def do_GET(self) -> None:
                self._answer({})

            def _answer(self, body: dict[str, Any]) -> None:
                outer.requests.append({"path": self.path, **body})
                outer.keys.append(self.headers.get("authorization", ""))
                status, answer = outer.answers.pop(0) if outer.answers else (200, outer.answer(body))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        """Stops it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[JsonServer]:
    """The server."""
    made = JsonServer()
    yield made
    made.close()
