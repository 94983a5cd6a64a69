"""What grows with a document stays in proportion to it."""

from __future__ import annotations

import pytest
from lanemesh_services.documents.extraction import merged
from lanemesh_services.documents.parts_of_text import parts_of
from lanemesh_services.documents.reading.tables import as_text
from lanemesh_services.documents.splitting import separators
from lanemesh_services.documents.splitting.chunker import Chunker, Rules
from lanemesh_services.documents.splitting.headings import Headings
from lanemesh_services.documents.splitting.measures import Characters
from lanemesh_services.documents.units import units_of
from lanemesh_services.speech.sentences import MAX_SENTENCE, SentenceSplitter


def test_a_long_name_of_a_column_is_not_repeated_with_every_text() -> None:
    name = "n" * 100_000
    texts = [text for _, text in as_text([name, "b"], [[1, 2]] * 1_000)]

    assert len(texts) == 20
    assert name in texts[0]
    assert texts[1].startswith("| " + "n" * 99 + "… | b |")
    assert sum(map(len, texts)) < 2 * len(name)


class Compared:
    """Counts how often it is compared."""

    times = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return isinstance(other, Compared) and self.value == other.value


def test_lists_of_many_parts_are_joined_in_linear_time() -> None:
    values = [[Compared(number % 500)] for number in range(1_000)]

    assert [one.value for one in merged(values)] == list(range(500))
    assert Compared.times < 5_000


@pytest.fixture
def parts() -> list[dict[str, object]]:
    """Results of parts."""
    return [
        {"a": [1, {"x": [1]}, True], "b": None, "c": ""},
        {"a": [1.0, {"x": [1]}, 2], "b": "first"},
        {"b": "second"},
    ]


def test_parts_are_merged_without_repetitions_and_in_their_order(parts: list[dict[str, object]]) -> None:
    assert merged(parts) == {"a": [1, {"x": [1]}, True, 2], "b": "first", "c": None}


def test_of_a_long_text_little_is_copied_with_each_part() -> None:
    text = "word " * 100_000
    chunker = Chunker(Rules(400, 0, Characters(), separators.compiled(separators.PROSE)))
    most = max(chunker.waiting for _ in chunker.push(text))
    assert most < 100_000 < len(text)
    splitter = SentenceSplitter()
    splitter.push("word " * 100_000)
    assert len(splitter.finish()[0]) <= MAX_SENTENCE


def test_the_units_of_a_long_paragraph_are_the_text() -> None:
    text = "  word " * 10_000
    units = units_of(text, 200)
    assert "".join(unit.before + unit.text + unit.after for unit in units) == text


@pytest.mark.parametrize(
    "text",
    [
        "|" + " " * 100_000 + "a",
        "." * 100_000 + "a",
        "# a" + " " * 100_000 + "b",
        "Dr. A. " * 20_000,
        "[" * 100_000,
        '!"' * 100_000,
        "\n \n" * 30_000,
    ],
    ids=["row", "dots", "heading", "abbreviations", "brackets", "quotes", "lines"],
)
def test_a_text_that_is_made_to_be_slow_is_not(text: str) -> None:
    units = units_of(text, 4_000)
    assert "".join(unit.before + unit.text + unit.after for unit in units) == text
    parts_of(text, 200_000)
    Headings().of(text)
    splitter = SentenceSplitter()
    sentences = [*splitter.push(text), *splitter.finish()]
    assert max(map(len, sentences), default=0) <= MAX_SENTENCE + 2


def test_the_marks_that_close_a_heading_are_no_part_of_it() -> None:
    for line, name in (
        ("# a b ##", "a b"),
        ("## a#", "a"),
        ("# a #  ", "a #"),
        ("# ###", "#"),
        ("#  a  ##  #", "a  ##"),
    ):
        assert Headings().of(f"{line}\ntext") == [name]
