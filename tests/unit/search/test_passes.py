"""How texts are divided into passes through an embedding model."""

from __future__ import annotations

import random

import pytest
from lanemesh_services.search.transformer_model import passes


def test_happy_texts_of_similar_length_share_a_pass() -> None:
    assert list(passes([3, 50, 4, 49, 5], 100)) == [[1, 3], [4, 2, 0]]


def test_happy_without_a_bound_all_texts_are_one_pass() -> None:
    assert list(passes([3, 5, 4], None)) == [[1, 2, 0]]
    assert list(passes([], None)) == []


def test_error_a_text_above_the_bound_has_a_pass_of_its_own() -> None:
    assert list(passes([1, 900, 0, 901], 100)) == [[3], [1], [0, 2]]


@pytest.mark.parametrize("seed", range(5))
def test_happy_each_text_is_in_one_pass_and_passes_are_bounded_with_their_padding(seed: int) -> None:
    dice = random.Random(seed)
    lengths = [dice.randrange(1, 400) for _ in range(200)]
    found = list(passes(lengths, 1_000))
    assert sorted(index for part in found for index in part) == list(range(200))
    assert all(len(part) * max(lengths[index] for index in part) <= 1_000 for part in found)
