"""The language of texts and documents."""

from __future__ import annotations

from typing import Any

import pytest
from lanemesh import Document, LanemeshError
from lanemesh.testing import run_node
from lanemesh_services.documents.language import Language
from pydantic import ValidationError

FEW = {"languages": ["en", "de", "FR"]}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The weather is fine, and everybody walks in the park.", "en"),
        ("Das Wetter ist schön, und alle gehen im Park spazieren.", "de"),
        ("Il fait beau, et tout le monde se promène dans le parc.", "fr"),
    ],
)
def test_happy_the_language_of_a_text_is_found(text: str, code: str) -> None:
    (tags,) = run_node(Language, text=text, config=FEW).tags
    assert tags["language"] == code
    assert tags["language_confidence"] > 0.5


def test_happy_documents_pass_on_with_their_language() -> None:
    document = Document("Das Wetter ist schön.", source="a.txt", metadata={"page": 1})
    (tagged,) = run_node(Language, documents=document, config=FEW).tagged
    assert (tagged.content, tagged.source, tagged.metadata["page"]) == ("Das Wetter ist schön.", "a.txt", 1)
    assert tagged.metadata["language"] == "de"


@pytest.mark.parametrize("text", ["", " \n", "123 + 4", "!?"])
def test_error_a_text_without_words_has_no_language(text: str) -> None:
    assert run_node(Language, text=text, config=FEW).tags == [{}]


def test_error_languages_that_are_unknown() -> None:
    with pytest.raises(LanemeshError, match="unknown codes: xx") as raised:
        run_node(Language, text="a", config={"languages": ["en", "xx"]})
    assert raised.value.fault.reason == "bad-languages"
    wrong: list[Any] = [["english"], ["en"], ["en", "en"]]
    for codes in wrong:
        with pytest.raises(ValidationError):
            Language.Config.model_validate({"languages": codes})
