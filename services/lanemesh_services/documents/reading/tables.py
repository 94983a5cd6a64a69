"""Tables in batches, and as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

TEXT_ROWS = 50
"""Rows of a table that make one text, each with the header."""
REPEATED_NAME = 100
"""Most characters of the name of a column where the header is repeated: a long one would be repeated for every 50 rows."""


BATCH_CHARACTERS = 2_000_000
"""Most characters of the texts in one batch, unless one row alone has more."""
BATCH_CELLS = 1_000_000
"""Most cells of one batch, those that short rows lack included."""
MAX_COLUMNS = 16_384
"""Most columns of a table, as of spreadsheets."""
MAX_CELLS = 5_000_000
"""Most cells of a table that is held as a whole, those that short rows lack included."""


def batches(rows: Iterable[tuple[Any, ...]], most: int) -> Iterator[tuple[tuple[Any, ...], ...]]:
    """Rows in batches of at most `most`, of at most 2,000,000 characters, and of at most 1,000,000 cells once all rows are as wide
    as the widest so far."""
    batch: list[tuple[Any, ...]] = []
    size = width = 0
    for row in rows:
        added = sum(len(cell) for cell in row if isinstance(cell, str))
        width = max(width, len(row))
        is_full = len(batch) == most or size + added > BATCH_CHARACTERS or (len(batch) + 1) * width > BATCH_CELLS
        if batch and is_full:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(row)
        size += added
    if batch:
        yield tuple(batch)


def as_text(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, first: int = 1) -> Iterator[tuple[str, str]]:
    """Rows as Markdown tables of at most 50 rows, and the numbers of their rows, such as "1-50".

    Each has the header; after the first rows of a table, its names have at most 100 characters.
    """
    short = [name if len(name) <= REPEATED_NAME else f"{name[: REPEATED_NAME - 1]}…" for name in columns]
    for start in range(0, len(rows), TEXT_ROWS):
        some = rows[start : start + TEXT_ROWS]
        lines = [_line(columns if first + start == 1 else short), _line(["---"] * len(columns)), *map(_line, some)]
        yield f"{first + start}-{first + start + len(some) - 1}", "\n".join(lines)


def header_of(rows: Sequence[Sequence[Any]]) -> tuple[tuple[str, ...], Sequence[Sequence[Any]]]:
    """The columns, and the rows below them: the first row is the header if its cells are distinct texts."""
    width = max((len(row) for row in rows), default=0)
    head = list(rows[0]) if rows else []
    texts = [cell for cell in head if isinstance(cell, str) and cell.strip()]
    if len(texts) == width and len(set(texts)) == width:
        return tuple(text.strip() for text in texts), rows[1:]
    return tuple(f"column {number}" for number in range(1, width + 1)), rows


def is_too_large(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether rows have more columns or cells than a table that is held may have, once all are as wide as the widest."""
    width = max((len(row) for row in rows), default=0)
    return width > MAX_COLUMNS or width * len(rows) > MAX_CELLS


def padded(row: Sequence[Any], width: int) -> tuple[Any, ...]:
    """A row with so many cells."""
    return (*row[:width], *[None] * (width - len(row)))


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|")
