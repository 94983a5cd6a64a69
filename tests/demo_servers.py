"""Local servers in the place of the remote services that examples name by variables: they speak the same APIs, and know a harbour.

One HTTP server has the searches of SearXNG and Exa, pages of news, a webhook, the embeddings and chat completions of OpenAI, the
Gemini API of Google, and the rerank API of Cohere. Its embeddings count words, and its answers quote: the passage that has most of
the words of a question, or the first sentence of a text.
"""

from __future__ import annotations

import json
import math
import re
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from postgres import NoPostgres, postgres, with_pgvector

KEY = "local-demo-key"
"""The key that the servers ask for."""
DIMENSIONS = 256
PAGES = {
    "pier": (
        "A new pier",
        "Port Ellen has opened its new pier. Mayor Ada Miller cut the ribbon on Monday. The pier was built by Harbour Lights Ltd. "
        "and has berths for forty boats.",
    ),
    "ferry": (
        "The ferry to Oslo",
        "From May on, a ferry will sail to Oslo every night. The Nordic Ferry Company has bought a ship for it, said John Smith, "
        "who leads the company.",
    ),
}
"""Pages of news: title and text by name."""


@dataclass
class Received:
    """What was sent to the server."""

    messages: list[Any] = field(default_factory=list)
    """Bodies of the requests to the webhook."""


def words(text: str) -> list[str]:
    """The words of a text with four letters or more, in lower case, without the ends that plurals and verbs have."""
    return [re.sub(r"(ing|ed|es|s)$", "", word) for word in re.findall(r"[a-z]{4,}", text.lower())]


def embedding(text: str) -> list[float]:
    """The counts of the words, in the buckets of a hash, with the length 1."""
    counts = [0.0] * DIMENSIONS
    for word in words(text):
        counts[zlib.crc32(word.encode()) % DIMENSIONS] += 1.0
    length = math.sqrt(sum(count * count for count in counts)) or 1.0
    return [count / length for count in counts] if any(counts) else [1.0, *counts[1:]]


def common(question: str, text: str) -> float:
    """The part of the words of a question that a text has."""
    wanted = set(words(question))
    return len(wanted & set(words(text))) / max(1, len(wanted))


def answer(messages: list[dict[str, Any]]) -> str:
    """The line of the last message that has most words of the question at its end; without one, the first sentence of the longest
    line."""
    lines = [line.strip() for line in str(messages[-1]["content"]).splitlines() if line.strip()]
    *passages, question = lines
    if not question.endswith("?"):
        return max(lines, key=len).partition(". ")[0].rstrip(".") + "."
    return max(passages, key=lambda line: common(question, line), default=question)


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    received: Received

    def do_GET(self) -> None:
        """Pages and the search."""
        parts = urlsplit(self.path)
        host = f"http://{self.headers['host']}"
        name = parts.path.removeprefix("/news/")
        if parts.path == "/robots.txt":
            self._send("User-agent: *\nAllow: /\n", "text/plain")
        elif parts.path == "/search" and parse_qs(parts.query).get("format") == ["json"]:
            found = [
                {"url": f"{host}/news/{name}", "title": title, "content": text[:80], "engine": "local", "score": 1.0}
                for name, (title, text) in PAGES.items()
            ]
            self._send(json.dumps({"query": parse_qs(parts.query)["q"][0], "results": found}))
        elif name in PAGES:
            title, text = PAGES[name]
            page = (
                f"<!doctype html><html lang=en><title>{title}</title><main><h1>{title}</h1><p>{text}</p></main></html>"
            )
            self._send(page, "text/html; charset=utf-8")
        else:
            self._send("no such page", "text/plain", 404)

    def do_POST(self) -> None:
        """The webhook and the models."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/hook":
            self.received.messages.append(body)
            self._send("ok", "text/plain")
        elif KEY in (self.headers["x-api-key"], self.headers["x-goog-api-key"]):
            self._post_with_key(body)
        elif self.headers["authorization"] != f"Bearer {KEY}":
            self._send(json.dumps({"error": {"message": "invalid api key"}}), status=401)
        elif self.path == "/v1/embeddings":
            found = [{"index": index, "embedding": embedding(text)} for index, text in enumerate(body["input"])]
            self._send(json.dumps({"object": "list", "data": found, "model": body["model"]}))
        elif self.path == "/v2/rerank":
            scores = [
                {"index": n, "relevance_score": common(body["query"], t)} for n, t in enumerate(body["documents"])
            ]
            self._send(json.dumps({"results": sorted(scores, key=lambda score: -score["relevance_score"])}))
        elif self.path == "/v1/chat/completions":
            self._send(_events(answer(body["messages"]), body["model"]), "text/event-stream")
        else:
            self._send("no such path", "text/plain", 404)

    def _post_with_key(self, body: Any) -> None:
        """The search of Exa and the model of Gemini, whose keys have headers of their own."""
        if self.path == "/search":
            host = f"http://{self.headers['host']}"
            found = [
                {"id": name, "url": f"{host}/news/{name}", "title": title, "score": 0.5, "highlights": [text]}
                for name, (title, text) in PAGES.items()
            ]
            self._send(json.dumps({"requestId": "1", "results": found[: body["numResults"]]}))
        elif ":streamGenerateContent" in self.path:
            text = "\n".join(part["text"] for part in body["contents"][-1]["parts"])
            self._send(_gemini_events(answer([{"content": text}])), "text/event-stream")
        else:
            self._send("no such path", "text/plain", 404)

    def log_message(self, *_: Any) -> None:
        """Logs nothing."""

    def _send(self, text: str, mime_type: str = "application/json", status: int = 200) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("content-type", mime_type)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _events(text: str, model: str) -> str:
    """An answer as the stream of Chat Completions."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    choices: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
    choices += [{"delta": {"content": piece}} for piece in re.findall(r"\S+\s*", text)]
    choices.append({"delta": {}, "finish_reason": "stop"})
    events = [{**head, "choices": [{"index": 0, "finish_reason": None, **choice}]} for choice in choices]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def _gemini_events(text: str) -> str:
    """An answer as the stream of the Gemini API."""
    candidates: list[dict[str, Any]] = [
        {"index": 0, "content": {"role": "model", "parts": [{"text": piece}]}} for piece in re.findall(r"\S+\s*", text)
    ]
    candidates.append({"index": 0, "content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP"})
    return "".join(f"data: {json.dumps({'candidates': [one], 'responseId': '1'})}\n\n" for one in candidates)


@contextmanager
def http_server() -> Iterator[tuple[str, Received]]:
    """Starts the HTTP server. Gives its address and what it receives."""
    received = Received()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"received": received}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="demo server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def variables(*, with_database: bool) -> Iterator[tuple[Mapping[str, str], str]]:
    """Starts the servers. Gives the variables of the examples, and why there is no database, if it was asked for."""
    with ExitStack() as servers:
        address, _ = servers.enter_context(http_server())
        found = {
            "SEARXNG_URL": address,
            "NEWS_HOOK": f"{address}/hook",
            "OPENAI_BASE_URL": f"{address}/v1",
            "OPENAI_API_KEY": KEY,
            "EXA_BASE_URL": address,
            "EXA_API_KEY": KEY,
            "GEMINI_BASE_URL": address,
            "GEMINI_API_KEY": KEY,
            "COHERE_BASE_URL": f"{address}/v2",
            "COHERE_API_KEY": KEY,
        }
        why = ""
        if with_database:
            try:
                found["SEARCH_URL"] = servers.enter_context(postgres(with_pgvector()))
            except NoPostgres as error:
                why = f"It needs PostgreSQL with pgvector: {error}."
        yield found, why
