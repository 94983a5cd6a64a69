"""Texts, Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from lanemesh.extend import MAX_JSON_DEPTH

from lanemesh_services.documents.errors import broken, too_large, unknown_type
from lanemesh_services.documents.reading.cells import is_deeper
from lanemesh_services.documents.reading.encodings import encoding_of
from lanemesh_services.documents.reading.parts import File, Limits, Omitted, Part, Rows, Text
from lanemesh_services.documents.reading.tables import MAX_CELLS, MAX_COLUMNS, as_text, batches

MAX_FIELD = 10_000_000
"""Longest cell of a CSV file, in characters."""
SAMPLE_CHARACTERS, SAMPLE_ROWS = 64 * 1024, 50
"""The begin of a CSV file from which its delimiter is found."""
EMPTY_SHARE = 10
"""A table of JSON with more than 5,000,000 cells has at least one value in so many cells."""
MAX_JSON = 64 * 1024 * 1024
"""Most bytes of JSON that is read as a table, for which all of it is held."""
MAX_DIGITS = 20
"""Most characters of an integer that is read as a number; no integer of 64 bits has more."""
_LINE_END = re.compile(r"[\r\n]+")
"""Between the values of JSON Lines. The other ends of lines that Unicode knows may stand in the strings of JSON."""


def read_text(file: File, limits: Limits) -> Iterator[Part]:
    """A text, in parts of whole lines where it is long. Only one part of it is decoded at a time."""
    encoding = _encoding(file)
    size = max(1, limits.text_characters)
    total = -(-len(file.content) // size)
    rest, number = "", 0
    stream = io.TextIOWrapper(io.BytesIO(file.content), encoding=encoding, errors="replace", newline="")
    while piece := stream.read(size):
        *parts, rest = parts_of(rest + piece, size)
        for part in parts:
            number += 1
            about = {"part": number, "encoding": encoding}
            yield Text(part, about, expected=True, continued=number > 1, done=number, total=total)
    where = {"part": number + 1} if number else {}
    if rest or not number:
        about = {**where, "encoding": encoding}
        yield Text(rest, about, expected=not number, continued=number > 0, done=number + 1, total=number + 1)


def read_json(file: File, limits: Limits) -> Iterator[Part]:
    """JSON as its text; a list of objects, also one a line, is a table as well."""
    yield from read_text(file, limits)
    if len(file.content) > MAX_JSON:
        yield Omitted(f"JSON of more than {MAX_JSON:,} bytes is read as text alone, not as a table")
        return
    text = file.content.decode(_encoding(file), "replace")
    try:
        value = _value_of(text)
    except ValueError as error:
        value = _json_lines(text)
        if value is None:
            raise broken(file.name, "JSON", error) from None
    except RecursionError:
        raise broken(file.name, "JSON", "it is nested too deeply") from None
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        columns = tuple(dict.fromkeys(str(key) for row in value for key in row))
        if len(columns) > MAX_COLUMNS:
            yield Omitted(f"JSON with more than {MAX_COLUMNS:,} different names is read as text alone, not as a table")
            return
        if is_deeper(value, MAX_JSON_DEPTH):
            yield Omitted(f"JSON of more than {MAX_JSON_DEPTH} levels is read as text alone, not as a table")
            return
        cells = len(columns) * len(value)
        if cells > MAX_CELLS and cells > EMPTY_SHARE * sum(map(len, value)):
            yield Omitted(
                f"JSON whose table would have {cells:,} cells, nearly all of them empty, is read as text alone"
            )
            return
        rows = (tuple(row.get(column) for column in columns) for row in value)
        for batch in batches(rows, limits.table_rows):
            yield Rows(columns, batch)


def read_csv(file: File, limits: Limits) -> Iterator[Part]:
    """CSV or TSV: a table in batches of rows, and each batch as a text."""
    encoding = _encoding(file)
    stream = io.TextIOWrapper(io.BytesIO(file.content), encoding=encoding, errors="replace", newline="")
    sample = stream.read(SAMPLE_CHARACTERS)
    stream.seek(0)
    csv.field_size_limit(MAX_FIELD)
    try:
        yield from _csv_rows(file, csv.reader(stream, _dialect(sample, file)), limits, encoding)
    except csv.Error as error:
        raise broken(file.name, "CSV", error) from None


def _csv_rows(file: File, lines: Iterator[list[str]], limits: Limits, encoding: str) -> Iterator[Part]:
    columns = _columns(next(lines, []))
    if len(columns) > MAX_COLUMNS:
        raise too_large(file.name, f"has {len(columns):,} columns", f"{MAX_COLUMNS:,}")
    number = 1
    for batch in batches((_fitting(line, columns, file) for line in lines if line), limits.table_rows):
        yield Rows(columns, batch)
        for place, text in as_text(columns, batch, first=number):
            yield Text(text, {"rows": place, "encoding": encoding}, expected=True, done=number + len(batch) - 1)
        number += len(batch)
    if number == 1:  # a header alone
        yield Rows(columns, ())
        yield Text(", ".join(columns), {"encoding": encoding}, expected=True)


def _columns(header: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip() or f"column {number}" for number, name in enumerate(header, start=1))


def _fitting(line: list[str], columns: tuple[str, ...], file: File) -> tuple[str | None, ...]:
    """A row with a cell for each column; missing ones are null."""
    if len(line) > len(columns):
        if any(line[len(columns) :]):
            raise broken(file.name, "CSV", f"a row has {len(line)} cells, and the header {len(columns)}: {line!r:.100}")
        line = line[: len(columns)]
    return (*line, *[None] * (len(columns) - len(line)))


def _dialect(sample: str, file: File) -> type[csv.Dialect]:
    """The delimiter that divides most of the first rows into as many cells as the header, and the header into the most; and whether
    a space follows each. `csv.Sniffer` takes minutes for some texts of this size."""
    if file.name.lower().endswith((".tsv", ".tab")) or "tab-separated" in file.mime_type:
        return csv.excel_tab
    best, chosen = (0.0, 1), csv.excel
    for separator in ",;\t|":
        rows = _first_rows(sample, separator)
        width = len(rows[0]) if rows else 1
        fit = (sum(len(row) == width for row in rows) / max(1, len(rows)), width)
        if width > 1 and fit > best:
            spaced = all(cell.startswith(" ") for row in rows for cell in row[1:])

            class Found(csv.excel):
                delimiter = separator
                skipinitialspace = spaced

            best, chosen = fit, Found
    return chosen


def _first_rows(sample: str, delimiter: str) -> list[list[str]]:
    """The first rows that are complete in the begin of a file."""
    try:
        lines = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        rows = [row for row in islice(lines, SAMPLE_ROWS) if row]
    except csv.Error:
        return []
    return rows[:-1] if len(sample) >= SAMPLE_CHARACTERS and 1 < len(rows) < SAMPLE_ROWS else rows


def _json_lines(text: str) -> list[Any] | None:
    try:
        return [_value_of(line) for line in _LINE_END.split(text) if line.strip()] or None
    except (ValueError, RecursionError):
        return None


def _value_of(text: str) -> Any:
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _encoding(file: File) -> str:
    encoding = encoding_of(file.content)
    if encoding is None:
        raise unknown_type(file.name, file.mime_type)
    return encoding


def parts_of(text: str, most: int) -> Iterator[str]:
    """A text in parts of at most `most` characters, which end with a line where one ends in the second half."""
    start = 0
    while len(text) - start > most:
        end = text.rfind("\n", start + most // 2, start + most) + 1 or start + most
        yield text[start:end]
        start = end
    yield text[start:]
