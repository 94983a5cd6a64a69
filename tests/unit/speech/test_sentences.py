"""Text that streams in is split into what is spoken at once."""

from __future__ import annotations

import pytest
from lanemesh_services.speech.sentences import MAX_SENTENCE, SentenceSplitter, speakable


def split(*pieces: str, first_clause: bool = False) -> list[str]:
    splitter = SentenceSplitter(first_clause=first_clause)
    return [sentence for piece in pieces for sentence in splitter.push(piece)] + splitter.finish()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It rains. It pours!", ["It rains.", "It pours!"]),
        ("Dr. Smith pays 3.50 euros, e.g. by card. Good.", ["Dr. Smith pays 3.50 euros, e.g. by card.", "Good."]),
        ('He said "Stop." Then he left', ['He said "Stop."', "Then he left"]),
        ("A heading\n\nA line\n", ["A heading", "A line"]),
        ("1. Flour\n2. Milk", ["1. Flour", "2. Milk"]),
        ("今日は晴れ。明日は雨。", ["今日は晴れ。", "明日は雨。"]),
        ("...", []),
        ("🙂 \n", []),
        ("", []),
    ],
)
def test_it_ends_where_a_sentence_ends(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences
    assert split(*text) == sentences, "the pieces make no difference"


def test_a_sentence_is_there_as_soon_as_the_next_one_begins() -> None:
    splitter = SentenceSplitter()
    assert splitter.push("It rains.") == []
    assert splitter.push(" It") == ["It rains."]


def test_the_first_clause_is_spoken_before_its_sentence_is_complete() -> None:
    splitter = SentenceSplitter()
    assert splitter.push("Yes, as far as I know,") == []
    assert splitter.push(" the sun ") == ["Yes, as far as I know,"]
    assert splitter.push("shines all day, every day, and") == []
    assert splitter.push(" so on. ") == ["the sun shines all day, every day, and so on."]


def test_a_sentence_without_an_end_is_split_between_words() -> None:
    text = "word " * 500
    sentences = split(*text)
    assert " ".join(sentences) == text.strip()
    assert max(map(len, sentences)) <= MAX_SENTENCE
    assert all(sentence.startswith("word") and sentence.endswith("word") for sentence in sentences)
    assert "".join(split("x" * 1_000)) == "x" * 1_000


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("## **Bold** and `code`", "Bold and code"),
        ("see [the page](https://example.com/a?b=c)", "see the page"),
        ("at https://www.example.com/a/b?c=d now", "at example.com now"),
        ("- first\n- second", "first second"),
        ("snake_case", "snake case"),
        ("---", ""),
    ],
)
def test_marks_are_not_spoken(text: str, spoken: str) -> None:
    assert speakable(text) == spoken
