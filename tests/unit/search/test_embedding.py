"""What embedding nodes make of their items: with the light model, and with a server that answers as OpenAI's does."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Document, LanemeshError, Question
from lanemesh.faults import Code
from lanemesh.testing import run_node
from lanemesh_services.search.embedding import CutTexts
from lanemesh_services.search.embedding_nodes import EmbeddingLight
from lanemesh_services.search.hosted_embedding import EmbeddingOpenai
from pydantic import ValidationError

from .conftest import JsonServer


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request, in another order than its texts: the embedding of each is its length and 1."""
    return {"data": [{"index": n, "embedding": [float(len(text)), 1.0]} for n, text in enumerate(body["input"])][::-1]}


@pytest.fixture
def server(server: JsonServer) -> JsonServer:
    """A server that answers as OpenAI's does."""
    server.answer = embeddings
    return server


def config_of(server: JsonServer, **more: Any) -> dict[str, Any]:
    """Settings with this server."""
    return {"base_url": server.url, "api_key": "s3cret", "model": "m", "retries": 0, **more}


def test_happy_documents_and_questions_keep_all_they_have(server: JsonServer) -> None:
    document = Document("four", id="7", source="a.txt", chunk_index=3, metadata={"page": 2})
    result = run_node(
        EmbeddingOpenai,
        config=config_of(server, query_prefix="query: "),
        documents=[document],
        questions=[Question("what?", instructions="be short")],
    )

    (embedded,), (asked,) = result.embedded_documents, result.embedded_questions
    assert (embedded.id, embedded.source, embedded.chunk_index, dict(embedded.metadata)) == (
        "7",
        "a.txt",
        3,
        {"page": 2},
    )
    assert (embedded.embedding, asked.embedding) == ((4.0, 1.0), (12.0, 1.0))
    assert asked.instructions == "be short"
    assert server.keys[0] == "Bearer s3cret"
    assert server.requests[0]["path"] == "/v1/embeddings"


def test_happy_texts_that_wait_are_sent_in_one_request_and_stay_in_order(server: JsonServer) -> None:
    documents = [Document("x" * n, source="a", chunk_index=n) for n in range(1, 101)]

    result = run_node(EmbeddingOpenai, config=config_of(server, dimensions=2), documents=documents)

    assert [document.embedding[0] for document in result.embedded_documents] == list(range(1, 101))
    assert len(server.requests) <= 10
    assert server.requests[0]["dimensions"] == 2


def test_error_a_text_that_the_server_rejects_fails_alone(server: JsonServer) -> None:
    server.answers = [(400, {"error": {"message": "too many tokens"}})] * 3

    result = run_node(
        EmbeddingOpenai,
        config=config_of(server),
        on_error="skip",
        documents=[Document(text, source=text) for text in ("one", "two", "three", "four")],
    )

    assert result.skipped >= 1
    assert result.skipped + len(result.embedded_documents) == 4


@pytest.mark.parametrize(
    ("status", "body", "reason", "said"),
    [
        (401, {"error": {"message": "bad key s3cret"}}, "model-key-refused", "Check api_key"),
        (404, {"error": "no model"}, "model-not-served", "Check model and base_url"),
        (429, {"error": "slow down"}, "model-rate-limited", "rate limit"),
        (500, {"detail": "broken"}, "model-server-failed", "broken"),
        (200, {"data": []}, "model-answer-broken", "0 embeddings for 1 texts"),
        (200, {"data": [{"index": 0, "embedding": ["x"]}]}, "model-answer-broken", "not a list of numbers"),
        (200, {"data": [{"index": 5, "embedding": [1.0]}]}, "model-answer-broken", "other indices"),
        (200, {"data": [{"index": [0], "embedding": [1.0]}]}, "model-answer-broken", "other indices"),
        (200, {"data": [{"index": 0, "embedding": [10**400]}]}, "model-answer-broken", "not a list of numbers"),
        (200, [1], "model-answer-broken", "no embeddings"),
    ],
)
def test_error_what_servers_do_is_named_without_the_key(
    server: JsonServer, status: int, body: Any, reason: str, said: str
) -> None:
    server.answers = [(status, body)]
    with pytest.raises(LanemeshError) as raised:
        run_node(EmbeddingOpenai, config=config_of(server), documents=[Document("x")])
    assert raised.value.fault.reason == reason
    assert said in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_error_a_server_that_may_recover_is_asked_again(server: JsonServer) -> None:
    server.answers = [(503, {"error": "starting"})]
    result = run_node(EmbeddingOpenai, config=config_of(server, retries=1), documents=[Document("four")])
    assert result.embedded_documents[0].embedding == (4.0, 1.0)


def test_error_openai_itself_wants_a_key() -> None:
    with pytest.raises(LanemeshError, match="OPENAI_API_KEY") as raised:
        run_node(EmbeddingOpenai, documents=[Document("x")])
    assert raised.value.fault.reason == "model-key-missing"
    with pytest.raises(ValidationError, match="user name, a query or a fragment"):
        EmbeddingOpenai.Config.model_validate({"base_url": "http://user:pw@host/v1"})


@pytest.mark.parametrize(
    ("port", "value", "said"),
    [
        (
            "documents",
            Document(" \n", source="empty.txt", chunk_index=2),
            "the document empty.txt (chunk 2) has no text",
        ),
        ("questions", Question(""), "a question has no text"),
    ],
)
def test_error_nothing_to_embed(server: JsonServer, port: str, value: Any, said: str) -> None:
    with pytest.raises(LanemeshError) as raised:
        run_node(EmbeddingOpenai, config=config_of(server), arrivals=[(port, value)])
    assert (raised.value.fault.reason, raised.value.fault.code) == ("no-text", Code.INVALID_ARGUMENT)
    assert said in str(raised.value)
    assert server.requests == []


@pytest.mark.model
def test_happy_the_light_model_places_an_answer_near_its_question() -> None:
    result = run_node(
        EmbeddingLight,
        documents=[Document("Ice floats on water.", source="a"), Document("A violin has four strings.", source="b")],
        questions=[Question("Why does ice swim?")],
        timeout=60,
    )

    ice, violin = (document.embedding for document in result.embedded_documents)
    asked = result.embedded_questions[0].embedding
    assert _dot(asked, ice) > _dot(asked, violin)
    assert _dot(ice, ice) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.model
def test_error_the_light_model_reports_texts_that_are_cut() -> None:
    long = Document("word " * 2000, source="long.txt")
    with pytest.raises(LanemeshError, match=r"the document long\.txt has more than the 8,192 characters"):
        run_node(EmbeddingLight, config={"too_long": "fail"}, documents=[long], timeout=100)


def test_the_cut_texts_of_runs_are_counted_apart_and_bounded() -> None:
    class Of:
        def __init__(self, run: str) -> None:
            self.run_id, self.component = run, "e"

    counts = CutTexts()
    first: Any = Of("first")
    assert [counts.add(first), counts.add(first)] == [1, 2]
    for number in range(1_000):
        other: Any = Of(str(number))
        counts.add(other)
    assert counts.take(first) == 0
    assert counts.take(other) == 1


def _dot(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
