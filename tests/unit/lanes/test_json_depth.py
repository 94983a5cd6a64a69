"""The depth of JSON texts."""

from __future__ import annotations

import pytest
from lanemesh.extend import json_depth


@pytest.mark.parametrize(
    ("text", "depth"),
    [("1", 0), ("[{}]", 2), ('["[[[", {"a]": []}]', 3), ('["\\"[[", []]', 2), ('[[]"never ends [[[[', 2), ('"\\', 0)],
)
def test_brackets_in_strings_do_not_count(text: str, depth: int) -> None:
    assert json_depth(text) == depth


def test_a_string_that_does_not_end_is_read_once() -> None:
    assert json_depth('["' + '\\"' * 1_000_000) == 1  # quadratic, this would take hours
