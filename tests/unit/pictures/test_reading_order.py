"""The order of the lines of a page."""

from __future__ import annotations

from lanemesh_services.pictures.ocr_engine import Line, in_rows


def line(text: str, left: int, top: int, height: int = 20) -> Line:
    box = [[left, top], [left + 50, top], [left + 50, top + height], [left, top + height]]
    return Line(text, 1.0, box)


def test_rows_from_the_top_and_each_from_the_left() -> None:
    lines = [line("d", 10, 62), line("b", 200, 4), line("a", 10, 8), line("c", 300, 10), line("e", 90, 60)]
    assert ["".join(one.text for one in row) for row in in_rows(lines)] == ["abc", "de"]
