"""Reranking by a server, tried on one of this machine that answers as those of Cohere and Jina do."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Document, LanemeshError, Question
from lanemesh.testing import run_node
from lanemesh_services.search.rerank import RerankApi

from .conftest import JsonServer

DOCUMENTS = tuple(Document(text, source=text) for text in ("a", "ccc", "bb", "dd"))


def by_length(body: dict[str, Any]) -> dict[str, Any]:
    """The longest document is the best one."""
    scored = [{"index": n, "relevance_score": len(text) / 10} for n, text in enumerate(body["documents"])]
    return {"results": sorted(scored, key=lambda result: -float(result["relevance_score"]))}


def config_of(server: JsonServer, **more: Any) -> dict[str, Any]:
    """Settings with this server."""
    return {"base_url": server.url, "api_key": "s3cret", "retries": 0, **more}


def test_happy_the_best_documents_are_kept_in_order(server: JsonServer) -> None:
    server.answer = by_length
    result = run_node(
        RerankApi,
        config=config_of(server, limit=3),
        questions=[Question("which?", documents=DOCUMENTS), Question("none?")],
    )

    assert [document.content for document in result.best] == ["ccc", "bb", "dd"]
    first, second = result.reranked
    assert [(document.content, document.score) for document in first.documents] == [
        ("ccc", 0.3),
        ("bb", 0.2),
        ("dd", 0.2),
    ]
    assert (second.text, second.documents) == ("none?", ())
    (request,) = server.requests
    assert (request["path"], request["query"], request["top_n"]) == ("/v1/rerank", "which?", 4)
    assert server.keys == ["Bearer s3cret"]


def test_happy_documents_below_the_least_score_are_dropped(server: JsonServer) -> None:
    server.answer = by_length
    result = run_node(
        RerankApi, config=config_of(server, min_score=0.25), questions=[Question("which?", documents=DOCUMENTS)]
    )
    assert [document.content for document in result.best] == ["ccc"]


@pytest.mark.parametrize(
    "answer",
    [{}, [], {"results": [{"index": 0, "relevance_score": 1}]}, {"results": [{"index": 9, "relevance_score": "x"}]}],
)
def test_error_an_answer_of_another_form_is_named(server: JsonServer, answer: Any) -> None:
    server.answer = lambda body: answer
    with pytest.raises(LanemeshError, match="it has scores of") as raised:
        run_node(RerankApi, config=config_of(server), questions=[Question("which?", documents=DOCUMENTS)])
    assert raised.value.fault.reason == "model-answer-broken"


def test_error_the_servers_of_the_makers_want_a_key() -> None:
    with pytest.raises(LanemeshError, match="COHERE_API_KEY"):
        run_node(RerankApi, questions=[Question("which?", documents=DOCUMENTS)])
