"""Searching the web, tried on a server of this machine that answers as each engine does."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import LanemeshError, Question
from lanemesh.testing import run_node
from lanemesh_services.search.web_search import WebSearch

from .conftest import JsonServer

EXA = {
    "results": [
        {"url": f"https://e.example/{n}", "title": f"T{n}", "highlights": ["a", "b" * 300], "score": 0.5}
        for n in range(9)
    ]
}
TAVILY = {"results": [{"url": "https://t.example", "title": "T", "content": "text", "score": 0.9}]}
BRAVE = {
    "web": {"results": [{"url": "https://b.example", "title": "B", "description": "text", "page_age": "2026-01-02"}]}
}
SEARXNG = {"results": [{"url": "https://s.example", "title": "S", "content": "text", "score": 3.5}]}


def config_of(server: JsonServer, **more: Any) -> dict[str, Any]:
    """Settings with this server."""
    return {"base_url": server.url.removesuffix("/v1"), "api_key": "s3cret", "retries": 0, **more}


def test_happy_results_are_documents_and_an_answer_and_pass_on(server: JsonServer) -> None:
    server.answer = lambda body: EXA
    result = run_node(
        WebSearch,
        config=config_of(server, results=2, characters=100, include_domains=["e.example"]),
        questions=[Question("ferries\n to  Oslo")],
    )

    assert [(document.source, document.metadata["title"]) for document in result.documents] == [
        ("https://e.example/0", "T0"),
        ("https://e.example/1", "T1"),
    ]
    assert len(result.documents[0].content) == 100
    assert result.answers[0].text.startswith("T0\nhttps://e.example/0\na\nb")
    assert result.asked[0].documents == tuple(result.documents)
    (request,) = server.requests
    assert (request["path"], request["query"], request["numResults"]) == ("/search", "ferries to Oslo", 2)
    assert request["includeDomains"] == ["e.example"]


@pytest.mark.parametrize(
    ("engine", "answer", "path", "source"),
    [
        ("tavily", TAVILY, "/search", "https://t.example"),
        ("brave", BRAVE, "/res/v1/web/search?q=ferries+-site%3Ax.example&count=5", "https://b.example"),
        ("searxng", SEARXNG, "/search?q=ferries+-site%3Ax.example&format=json", "https://s.example"),
    ],
)
def test_happy_every_engine(server: JsonServer, engine: str, answer: Any, path: str, source: str) -> None:
    server.answer = lambda body: answer
    result = run_node(
        WebSearch,
        config=config_of(server, engine=engine, exclude_domains=["x.example"]),
        questions=[Question("ferries")],
    )
    assert [(document.source, document.content) for document in result.documents] == [(source, "text")]
    assert server.requests[0]["path"] == path


def test_error_no_results_are_said(server: JsonServer) -> None:
    server.answer = lambda body: {"results": []}
    result = run_node(WebSearch, config=config_of(server), questions=[Question("nothing")])
    assert (result.documents, result.answers[0].text, result.asked[0].documents) == ([], "No results.", ())


def test_error_failures_are_named_without_the_key(server: JsonServer) -> None:
    for answer, reason in (((500, {"error": "down"}), "model-server-failed"), ((200, {"x": 1}), "model-answer-broken")):
        server.answers = [answer]
        with pytest.raises(LanemeshError) as raised:
            run_node(WebSearch, config=config_of(server), questions=[Question("q")])
        assert raised.value.fault.reason == reason
        assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "question", "said"),
    [
        ({}, "q", "EXA_API_KEY"),
        ({"engine": "searxng"}, "q", "config.base_url is missing"),
        ({"engine": "exa", "api_key": "k"}, " ", "no text to search for"),
    ],
)
def test_error_what_is_missing_is_named(config: dict[str, Any], question: str, said: str) -> None:
    with pytest.raises(LanemeshError, match=said):
        run_node(WebSearch, config=config, questions=[Question(question)])
