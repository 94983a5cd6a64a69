"""Reranking with a model in the node server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lanemesh import Document, LanemeshError, Question
from lanemesh.testing import run_node
from lanemesh_services.search.rerank import Rerank

from .collection import passages, questions

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


def test_happy_the_passage_that_answers_comes_first_whatever_the_order_before() -> None:
    asked = []
    for text, number in questions()[:12]:
        others = [passages()[(number + step) % len(passages())] for step in (1, 2, 3, 50, 90)]
        documents = [Document(passage, source=str(n)) for n, passage in enumerate([*others, passages()[number]])]
        asked.append(Question(text, documents=tuple(documents)))

    result = run_node(Rerank, config={"limit": 2}, questions=asked, timeout=110)

    first = [question.documents[0].content for question in result.reranked]
    assert sum(found == passages()[number] for found, (_, number) in zip(first, questions(), strict=False)) >= 11
    assert all(len(question.documents) == 2 for question in result.reranked)
    assert len(result.best) == 24
    assert all(0 < (document.score or 0) <= 1 for document in result.best)


def test_error_empty_documents_and_questions_are_judged_too() -> None:
    question = Question("", documents=(Document(""), Document("x " * 10_000, source="long")))
    result = run_node(Rerank, questions=[question, replace(question, documents=())], timeout=110)
    assert [len(found.documents) for found in result.reranked] == [2, 0]


def test_error_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    with pytest.raises(LanemeshError, match="Give the folder of a cross-encoder or an embedding model"):
        run_node(Rerank, config={"model": str(tmp_path)}, questions=[Question("?")], timeout=110)


def test_happy_a_folder_with_a_cross_encoder_is_used_as_one(tmp_path: Path) -> None:
    from lanemesh_services.search.rerank_model import CrossEncoderReranker, opened
    from lanemesh_services.shared.models import locate
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(locate("minilm"))
    tokenizer.save_pretrained(tmp_path)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=1, **sizes)).save_pretrained(
        tmp_path
    )

    model = opened(tmp_path, "cpu")

    assert isinstance(model, CrossEncoderReranker)
    assert model.scores("a question", ["one", "two"]) == pytest.approx(model.scores("a question", ["one", "two"]))
