"""The embedding node with its real model: lengths, prefixes, long texts, and batches of several runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lanemesh import Document, LanemeshError, Question
from lanemesh.testing import run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.search.embedding import Text
from lanemesh_services.search.embedding_nodes import EmbeddingTransformer
from lanemesh_services.search.transformer_model import TransformerEmbedder
from lanemesh_services.shared.models import locate

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

LONG = Document("The harbour closes at nine. " * 100, source="long.txt", chunk_index=1)


@pytest.fixture(scope="module")
def model() -> TransformerEmbedder:
    return TransformerEmbedder(
        locate("minilm"), query_prefix="", passage_prefix="", normalise=True, max_tokens=None, device="cpu"
    )


def test_happy_the_same_text_has_the_same_embedding_of_length_1(model: TransformerEmbedder) -> None:
    one, same, other = model.embed(
        [Text("ice floats", is_query=False), Text("ice floats", is_query=True), Text("x", False)]
    )

    assert len(one) == 384
    assert sum(number * number for number in one) == pytest.approx(1.0, abs=1e-5)
    assert one == pytest.approx(same, abs=1e-6)
    assert one != pytest.approx(other, abs=1e-2)


def test_happy_texts_of_any_lengths_have_in_a_batch_the_embeddings_that_they_have_alone(
    model: TransformerEmbedder,
) -> None:
    texts = [Text("The ferry leaves at nine. " * count, is_query=False) for count in (9, 1, 40, 2, 30, 1, 35, 38, 3)]
    together = model.embed(texts)
    for text, embedding in zip(texts, together, strict=True):
        assert model.embed([text])[0] == pytest.approx(embedding, abs=1e-5)


def test_error_only_texts_beyond_the_limit_are_cut(model: TransformerEmbedder) -> None:
    words = ["word " * 250, "word " * 260, "word", "x" * 100_000]
    assert model.are_cut([Text(text, is_query=False) for text in words]) == [False, True, False, True]
    assert model.limit == "256 tokens"


def test_error_a_text_that_is_too_long_is_reported_or_fails(caplog: pytest.LogCaptureFixture) -> None:
    result = run_node(EmbeddingTransformer, documents=[LONG, LONG], timeout=100)
    first, last = caplog.messages
    assert len(result.embedded_documents) == 2
    assert first.startswith("the document long.txt (chunk 1) is longer than the 256 tokens")
    assert last == "2 texts were longer than the model reads, and were cut"

    result = run_node(
        EmbeddingTransformer,
        config={"too_long": "fail"},
        on_error="skip",
        documents=[LONG, Document("short")],
        timeout=100,
    )
    assert (result.skipped, [document.content for document in result.embedded_documents]) == (1, ["short"])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("no-such-model", "neither as a file or folder here nor as a known name"),
        (str(Path(__file__).parent), "cannot be used"),
    ],
)
def test_error_a_model_that_is_none_is_named_with_the_command(model: str, said: str) -> None:
    with pytest.raises(LanemeshError, match=said) as raised:
        run_node(EmbeddingTransformer, config={"model": model}, documents=[Document("x")], timeout=100)
    assert "lanemesh models get" in str(raised.value)


PIPELINE: dict[str, Any] = {
    "source": "chat_1",
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {
            "id": "embed_1",
            "provider": "embedding_transformer",
            "config": {"profile": "miniLM", "parameters": {}},
            "input": [{"lane": "questions", "from": "chat_1"}],
        },
        {"id": "response_1", "provider": "response", "input": [{"lane": "questions", "from": "embed_1"}]},
    ],
}


async def test_happy_runs_share_batches_in_a_mesh() -> None:
    async with Mesh() as mesh:
        runs = [mesh.run(PIPELINE, input=Question(f"question {number}")) for number in range(8)]
        results = await asyncio.gather(*(run.result() for run in runs))
    asked = [result["response_1"][0] for result in results]
    assert [question.text for question in asked] == [f"question {number}" for number in range(8)]
    assert all(len(question.embedding) == 384 for question in asked)
