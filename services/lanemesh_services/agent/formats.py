"""How a stored result is written where a reference names it: as JSON, text, a Markdown table, CSV and the like. Pure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any


def render(value: Any, form: str) -> str:
    """A JSON value in a format; the name of an unknown format raises ValueError, which lists the formats."""
    writer = FORMATS.get(form)
    if writer is None:
        raise ValueError(f'there is no format "{form:.50}"; the formats: {", ".join(FORMATS)}')
    return writer(value)


def as_json(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False)


def as_text(value: Any) -> str:
    """A text as it is; lines of a list; "key: value" lines of an object; other values as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_cell(one) for one in value)
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_cell(one)}" for key, one in value.items())
    return as_json(value)


def as_list(value: Any) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in as_text(value).splitlines())


def as_markdown_table(value: Any) -> str:
    """A Markdown table: of a list of objects or lists, of an object, or of one value."""
    columns, rows = _table(value)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_markdown_cell, line)) + " |" for line in lines)


def as_csv(value: Any) -> str:
    """CSV (RFC 4180) with a header line, for the same values."""
    columns, rows = _table(value)
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([columns, *rows])
    return written.getvalue().rstrip("\n")


def as_count(value: Any) -> str:
    """Number of items of a list or object, or of characters of a text."""
    return str(len(value)) if isinstance(value, list | dict | str) else "1"


MAX_CELLS = 1_000_000
"""Most cells of a table."""

FORMATS: Mapping[str, Callable[[Any], str]] = {
    "json": as_json,
    "text": as_text,
    "markdown_table": as_markdown_table,
    "csv": as_csv,
    "list": as_list,
    "count": as_count,
}
"""The formats by name."""


def _table(value: Any) -> tuple[list[str], list[list[str]]]:
    if isinstance(value, dict) and isinstance(value.get("columns"), list) and isinstance(value.get("rows"), list):
        return [_cell(column) for column in value["columns"]], [_row(row) for row in value["rows"]]
    if isinstance(value, dict):
        return ["key", "value"], [[key, _cell(one)] for key, one in value.items()]
    rows = value if isinstance(value, list) else [value]
    if rows and all(isinstance(row, dict) for row in rows):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        _check_cells(len(rows), len(columns))
        return columns, [[_cell(row[key]) if key in row else "" for key in columns] for row in rows]
    width = max((len(row) for row in rows if isinstance(row, list)), default=1)
    _check_cells(len(rows), width)
    names = ["value"] if width == 1 else [str(number) for number in range(1, width + 1)]
    return names, [_row(row) + [""] * (len(names) - len(_row(row))) for row in rows]


def _check_cells(rows: int, columns: int) -> None:
    if rows * columns > MAX_CELLS:
        raise ValueError(f"the table would have more than {MAX_CELLS:,} cells; give a path to a part of the result")


def _row(row: Any) -> list[str]:
    return [_cell(one) for one in row] if isinstance(row, list) else [_cell(row)]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else as_json(value)


def _markdown_cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")
