"""A template over a question."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh.faults import LanemeshError
from lanemesh.node.context import Context
from lanemesh.node.manifest import manifest_of
from lanemesh.v1 import update_pb2
from lanemesh.values import Document, Media, Message, Question
from lanemesh_services.prompt import SERVICE
from lanemesh_services.prompt.prompt import Prompt
from pydantic import ValidationError


async def _report(update: update_pb2.Update) -> None:
    pass


async def prompted(question: Question, documents: list[Document] | None = None, **config: Any) -> Question:
    node = Prompt()
    node.config = Prompt.Config(**config)
    node.questions, node.documents = question, documents or []
    context = Context(run_id="r", component="prompt_1", provider="prompt", report=_report)
    made = (await node.process(context))["prompts"]
    assert isinstance(made, Question)
    return made


async def test_happy_the_question_is_put_into_the_template_and_the_rest_is_kept() -> None:
    history = (Message("user", "hi"),)
    question = Question("Why {documents}?", instructions="Briefly.", history=history)
    made = await prompted(question, template='Say {"q": "{question}"}', instructions="In verse.")
    assert made.text == 'Say {"q": "Why {documents}?"}'
    assert made.instructions == "In verse.\n\nBriefly."
    assert made.history == history


async def test_happy_documents_of_lane_and_question_are_written_at_the_place_in_the_template() -> None:
    question = Question("Why?", documents=(Document("one {number}", source="a.txt"),))
    made = await prompted(
        question,
        [Document("two", id="2")],
        template="{documents}\n---\n{question}",
        document="({number}) {content} <{source}{id}>",
        separator="\n",
    )
    assert made.text == "(1) one {number} <a.txt>\n(2) two <2>\n---\nWhy?"
    assert made.documents == ()


async def test_happy_documents_travel_along_if_the_template_does_not_name_them() -> None:
    documents = [Document("two")]
    assert (await prompted(Question("Why?", documents=(Document("one"),)), documents)).documents == (
        Document("one"),
        Document("two"),
    )


async def test_happy_a_document_that_comes_by_both_lanes_is_there_once() -> None:
    found = Document("one", source="a.txt", score=0.5, metadata={"page": 2, "tags": ["x"]})
    made = await prompted(Question("Why?", documents=(found,)), [found, Document("two")])
    assert made.documents == (found, Document("two"))


def test_error_a_template_without_a_question_is_refused() -> None:
    with pytest.raises(ValidationError):
        Prompt.Config.model_validate({"template": "{documents}"})


def test_happy_the_documents_input_is_optional_and_collects() -> None:
    manifest = manifest_of(SERVICE.nodes[0], "prompt")
    assert [(port.name, port.required, port.list) for port in manifest.inputs] == [
        ("questions", True, False),
        ("documents", False, True),
    ]


async def test_error_a_document_whose_text_was_not_read_is_refused_with_its_source() -> None:
    unread = Document("", source="a.pdf", file=Media("application/pdf", b"%PDF"))
    with pytest.raises(LanemeshError, match=r"a\.pdf is a file .* Connect a parse before") as raised:
        await prompted(Question("Why?"), [unread], template="{documents} {question}")
    assert raised.value.fault.reason == "file-not-read"
