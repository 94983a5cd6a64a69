"""Text broken between words, in pieces of any size."""

import pytest
from lanemesh_orchestrator.cli.output.wrapping import WordWrapper

from unit.cli.updates import Page

TEXT = "one two three\n  four fives sixteen\n"


@pytest.mark.parametrize("size", [1, 3, 100])
def test_lines_break_between_words_however_the_pieces_are_cut(size: int) -> None:
    written: list[str] = []
    page = Page()
    page.out = lambda data: written.append(str(data))  # type: ignore[method-assign]
    wrapper = WordWrapper(page, lambda: 10)
    for start in range(0, len(TEXT), size):
        wrapper.out(TEXT[start : start + size])
    wrapper.flush()
    assert "".join(written) == "one two\nthree\n  four\nfives\nsixteen\n"
