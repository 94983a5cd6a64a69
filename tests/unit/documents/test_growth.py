"""What grows with a document stays in proportion to it."""

from __future__ import annotations

import pytest
from lanemesh_services.documents.extraction import merged
from lanemesh_services.documents.reading.tables import as_text


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
