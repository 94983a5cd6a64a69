"""Names and personal data, found by a real model in a real text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from lanemesh import Document, Example, Image, LanemeshError, Message, Question, ToolCall
from lanemesh.testing import DictMemory, run_node
from lanemesh_orchestrator import Mesh
from lanemesh_services.documents.anonymize import Anonymize
from lanemesh_services.documents.deanonymize import Deanonymize
from lanemesh_services.documents.ner import Ner
from lanemesh_services.documents.privacy import recognition
from lanemesh_services.shared.models import resolve
from pydantic import ValidationError

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def _model() -> None:
    """Loads the model once, which takes longer than a test may wait for a node."""
    recognition.analyzer(resolve("en-core-web-sm"), "en", "anonymize")


TEXT = (
    "Anna Miller moved to Berlin in May. Write to anna.miller@example.com or call 212-555-0123. "
    "Her card is 4111 1111 1111 1111. Later Anna Miller left for Project Falcon."
)


def test_happy_names_are_found_and_documents_pass_on_with_them() -> None:
    result = run_node(Ner, documents=Document(TEXT, source="a.txt"), config={"labels": ["PERSON", "GPE"]})
    names = [(entity["text"], entity["label"]) for entity in result.tagged[0].metadata["entities"]]
    assert names[0] == ("Anna Miller", "PERSON")
    assert ("Berlin", "GPE") in names
    assert result.tagged[0].content == TEXT
    assert run_node(Ner, text=TEXT).same == [TEXT]
    assert run_node(Ner, text="").entities == [[]]


def test_happy_a_long_text_is_analysed_in_parts_with_true_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "PART", 1_000)
    text = "Nothing here at all.\n" * 200 + "Anna Miller is here."
    (entities,) = run_node(Ner, text=text, config={"labels": ["PERSON"]}).entities
    assert text[entities[-1]["start"] : entities[-1]["end"]] == "Anna Miller"


def test_happy_personal_data_are_replaced_by_labels() -> None:
    result = run_node(Anonymize, text=TEXT)
    (text,) = result.clean
    assert text.startswith("<PERSON> moved to <LOCATION> in ")
    for name in ("Anna", "Berlin", "example.com", "555-0123", "4111"):
        assert name not in text
    assert {"EMAIL_ADDRESS", "CREDIT_CARD", "PHONE_NUMBER"} <= {one["label"] for one in result.found[0]}
    assert "Anna" not in json.dumps(result.found)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mode": "mask", "entities": ["PERSON"]}, "**** ****** moved to Berlin"),
        ({"mode": "detect"}, "Anna Miller moved to Berlin"),
        ({"entities": ["PERSON"], "allowed": ["Anna Miller"]}, "Anna Miller moved to Berlin"),
        ({"entities": ["EMAIL_ADDRESS"], "words": {"PROJECT": ["Falcon"]}}, "Anna Miller moved to Berlin"),
    ],
)
def test_happy_other_modes(config: dict[str, Any], expected: str) -> None:
    (text,) = run_node(Anonymize, text=TEXT, config=config).clean
    assert text.startswith(expected)
    if "words" in config:
        assert text.endswith("Project <PROJECT>.")
        assert "<EMAIL_ADDRESS>" in text


def test_happy_hashes_are_those_of_the_key() -> None:
    config = {"mode": "hash", "entities": ["PERSON"], "key": "a long key"}
    (text,) = run_node(Anonymize, text=TEXT, config=config).clean
    assert text == run_node(Anonymize, text=TEXT, config=config).clean[0]
    assert text != run_node(Anonymize, text=TEXT, config={**config, "key": "another key"}).clean[0]
    assert len(text.split(" moved")[0]) == 32
    with pytest.raises(LanemeshError, match=r"config\.key") as raised:
        run_node(Anonymize, text=TEXT, config={"mode": "hash"})
    assert raised.value.fault.reason == "key-missing"
    with pytest.raises(ValidationError, match="8 characters"):
        Anonymize.Config.model_validate({"key": "short"})


def test_happy_questions_and_documents_are_anonymized_throughout() -> None:
    history = (Message("user", "I am Anna Miller."),)
    found = Document("Anna Miller is here.", metadata={"title": "About Anna Miller"})
    question = Question("Where is Anna Miller?", history=history, documents=(found,))
    (asked,) = run_node(Anonymize, questions=question).asked
    assert "Anna" not in repr(asked)
    document = Document("Anna Miller is here.", source="a.txt", metadata={"title": "About Anna Miller"})
    (cleaned,) = run_node(Anonymize, documents=document).cleaned
    assert (cleaned.content, cleaned.source) == ("<PERSON> is here.", "a.txt")
    assert "Anna" not in repr(cleaned)


def test_happy_sources_ids_metadata_and_tool_calls_are_anonymized() -> None:
    document = Document(
        "The contract.",
        id="hr/John_Smith.pdf#3",
        source="hr/John_Smith.pdf",
        metadata={
            "author": "John Smith",
            "lines": [{"text": "Call John Smith", "score": 0.5}],
            "page": 3,
            "type": "a.txt",
        },
    )
    call = ToolCall("1", "mail", '{"to": "anna.miller@example.com", "name": "John Smith"}')
    question = Question(
        "Where?",
        history=(Message("assistant", "", tool_calls=(call,)),),
        examples=(Example("Who is John Smith?", "John Smith is a clerk."),),
        images=(Image("image/png", b"x"),),
        documents=(document,),
    )

    (cleaned,) = run_node(Anonymize, documents=document).cleaned
    (other,) = run_node(Anonymize, documents=replace(document, source="hr/Jane_Smith.pdf")).cleaned
    (asked,) = run_node(Anonymize, questions=question).asked

    assert cleaned.source.startswith("hr/<PERSON>.pdf (")
    assert cleaned.source != other.source
    assert cleaned.id == f"{cleaned.source}#3"
    assert (cleaned.metadata["author"], cleaned.metadata["page"], cleaned.metadata["type"]) == ("<PERSON>", 3, "a.txt")
    for name in ("John", "Smith", "miller"):
        assert name not in repr((cleaned, asked))
    assert asked.images == ()
    memory = DictMemory()
    (hidden,) = run_node(Anonymize, documents=document, config={"mode": "pseudonym"}, memory=memory).cleaned
    (restored,) = run_node(Deanonymize, documents=hidden, memory=memory).restored
    assert "Smith" not in repr(hidden)
    assert restored == replace(document, content=restored.content)


def test_happy_pseudonyms_are_taken_back() -> None:
    memory = DictMemory()
    config = {"mode": "pseudonym", "key": "a long key"}
    (text,) = run_node(Anonymize, text=TEXT, config=config, memory=memory).clean
    assert "Anna" not in text
    assert text.count(text.split(" ")[0]) == 2  # the same name has the same pseudonym
    assert run_node(Deanonymize, text=text, config={"key": "a long key"}, memory=memory).named == [TEXT]
    with pytest.raises(LanemeshError, match="Add a memory_internal") as raised:
        run_node(Anonymize, text=TEXT, config=config)
    assert raised.value.fault.reason == "pseudonyms-not-kept"


PIPELINE = {
    "version": 1,
    "source": "chat_1",
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {
            "id": "anonymize_1",
            "provider": "anonymize",
            "config": {"mode": "pseudonym"},
            "input": [{"lane": "questions", "from": "chat_1"}],
        },
        {"id": "ner_1", "provider": "ner", "input": [{"lane": "text", "from": "chat_1"}]},
        {"id": "names", "provider": "response", "input": [{"lane": "data", "from": "ner_1"}]},
        {"id": "model_1", "provider": "llm_scripted", "input": [{"lane": "questions", "from": "anonymize_1"}]},
        {"id": "deanonymize_1", "provider": "deanonymize", "input": [{"lane": "answers", "from": "model_1"}]},
        {
            "id": "memory_1",
            "provider": "memory_internal",
            "control": [
                {"classType": "memory", "from": "anonymize_1"},
                {"classType": "memory", "from": "deanonymize_1"},
            ],
        },
        {"id": "out", "provider": "response", "input": [{"lane": "answers", "from": "deanonymize_1"}]},
        {"id": "seen", "provider": "response", "input": [{"lane": "answers", "from": "model_1"}]},
    ],
}


async def test_happy_a_model_sees_pseudonyms_and_the_client_names() -> None:
    async with Mesh() as mesh:
        result = await mesh.run(PIPELINE, input="Anna Miller lives in Berlin.").result()
    said = {"out": "", "seen": ""}
    for output in result.outputs:
        if output.component in said:
            said[output.component] += output.value.text
    (names,) = (output.value for output in result.outputs if output.component == "names")
    assert [name["text"] for name in names] == ["Anna Miller", "Berlin"]
    assert said["out"] == "Anna Miller lives in Berlin."
    assert "Anna" not in said["seen"]
