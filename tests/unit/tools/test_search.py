"""Web search by Exa, tried on a server of this machine that answers as Exa does."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.permissions import Permissions
from lanemesh.redaction import Secrets
from lanemesh.testing import run_node
from lanemesh.values import Question
from lanemesh_services.tools.search import SearchExa, ToolSearch

from .conftest import Web, error_of, loaded, result_of

PAGES = {
    "requestId": "1",
    "resolvedSearchType": "neural",
    "results": [
        {
            "id": f"https://example.com/{number}",
            "url": f"https://example.com/{number}",
            "title": f"Page {number}",
            "score": 0.5,
            "publishedDate": "2026-01-02",
            "highlights": ["rain in Oslo", "x" * 300],
        }
        for number in range(3)
    ],
    "costDollars": {"total": 0.005},
}


def config_of(web: Web, **more: Any) -> dict[str, Any]:
    """Settings with this server."""
    return {"api_key": "s3cret-key", "base_url": web.url("").rstrip("/"), **more}


async def test_happy_the_tool_returns_documents(web: Web) -> None:
    web.at("/search", json.dumps(PAGES), "application/json")
    tools = await loaded(ToolSearch, **config_of(web, characters=100, include_domains=["example.com"], results=2))

    result = await result_of(tools, "web_search", query="weather", limit=40)

    first, second = result.value
    assert (first["source"], first["score"], first["metadata"]["title"]) == ("https://example.com/0", 0.5, "Page 0")
    assert (first["content"][:12], len(first["content"])) == ("rain in Oslo", 100)
    assert [part.source for part in result.parts] == [first["source"], second["source"]]  # type: ignore[union-attr]
    ((method, path, headers, body),) = web.requests
    assert (method, path, headers["x-api-key"]) == ("POST", "/search", "s3cret-key")
    asked = json.loads(body)
    assert (asked["query"], asked["numResults"], asked["includeDomains"]) == ("weather", 2, ["example.com"])


def test_happy_the_node_sends_documents_and_an_answer(web: Web) -> None:
    web.at("/search", json.dumps(PAGES), "application/json")

    trial = run_node(SearchExa, questions=[Question("weather")], config=config_of(web))

    assert [document.source for document in trial.documents] == [f"https://example.com/{number}" for number in range(3)]
    (answer,) = trial.answers
    assert answer.text.startswith("Page 0\nhttps://example.com/0\nrain in Oslo")


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (401, '{"error": "Invalid API key s3cret-key"}', "status code 401"),
        (429, "slow down", "status code 429"),
        (500, "", "status code 500"),
        (200, "no JSON", "the search failed"),
        (200, "{}", "the search failed"),
    ],
)
async def test_error_a_service_that_refuses_or_answers_wrongly(web: Web, status: int, content: str, said: str) -> None:
    web.at("/search", content, "application/json", status=status)
    tools = await loaded(ToolSearch, secrets=Secrets(["s3cret-key"]), **config_of(web))

    error = (await error_of(tools, "web_search", query="weather"))["error"]

    assert said in error
    assert "s3cret" not in error


async def test_error_a_service_that_hangs(web: Web) -> None:
    def hang(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        web.released.wait(30)

    web.answers["/search"] = hang
    tools = await loaded(ToolSearch, **config_of(web, timeout=0.3))
    assert (await error_of(tools, "web_search", query="weather"))["reason"] in ("tool-timeout", "search-failed")


async def test_error_no_key_and_an_address_that_is_not_permitted(web: Web) -> None:
    with pytest.raises(LanemeshError, match=r"config.api_key is missing. Set it to a variable"):
        await loaded(ToolSearch, api_key="")
    tools = await loaded(ToolSearch, permissions=Permissions.of([]), **config_of(web))
    error = await error_of(tools, "web_search", query="weather")
    assert (error["reason"], web.requests) == ("not-permitted", [])


def test_happy_the_settings_of_rocketride_are_understood(web: Web) -> None:
    web.at("/search", json.dumps(PAGES), "application/json")
    more = {"numResults": 1, "includeHighlights": False, "highlightChars": 200, "type": "fast", "apikey": "other"}
    config = {key: value for key, value in config_of(web, **more).items() if key != "api_key"}

    result = run_node(SearchExa, config=config, questions=[Question("weather")])

    ((_, _, headers, body),) = web.requests
    asked = json.loads(body)
    assert (len(result.documents), headers["x-api-key"]) == (1, "other")
    assert (asked["numResults"], asked["type"], asked["contents"]) == (1, "fast", {"text": {"maxCharacters": 200}})
