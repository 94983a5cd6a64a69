"""HTML: its text as Markdown, its tables, and the pictures that it holds itself."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from lanemesh import Image

from lanemesh_services.documents.errors import broken, too_large, unknown_type
from lanemesh_services.documents.reading.encodings import decoded
from lanemesh_services.documents.reading.parts import File, Limits, Medium, Omitted, Part, Rows, Text
from lanemesh_services.documents.reading.plain import parts_of
from lanemesh_services.documents.reading.tables import MAX_CELLS, MAX_COLUMNS, batches, header_of, is_too_large, padded

MAX_CHARACTERS = 20_000_000
"""Longest page; its elements take many times the memory of its text."""


def read_html(file: File, limits: Limits) -> Iterator[Part]:
    """The page as one text, then its tables and pictures."""
    found = decoded(file.content)
    if found is None:
        raise unknown_type(file.name, file.mime_type)
    yield from parts_of_html(found[0], file.name, limits, {"encoding": found[1]})


def parts_of_html(
    html: str, source: str, limits: Limits, metadata: Mapping[str, Any], *, done: int = 0, total: int = 0
) -> Iterator[Part]:
    """The parts of a page.

    Args:
        html: the page.
        source: the name of its file, for errors.
        limits: the limits of the file.
        metadata: that of its text.
        done: chapters that are read so far, this one included.
        total: all chapters.
    """
    from bs4 import BeautifulSoup

    if len(html) > MAX_CHARACTERS:
        raise too_large(source, f"has a page of HTML with {len(html):,} characters", f"{MAX_CHARACTERS:,}")
    try:
        page = BeautifulSoup(html, "html.parser")
        title = page.title.get_text(strip=True) if page.title else ""
        for unread in page(["script", "style", "noscript", "template", "head"]):
            unread.decompose()
        pictures = [tag for tag in page.find_all("img") if str(tag.get("src", "")).startswith("data:")]
        addresses = [str(tag["src"]) for tag in pictures]
        for tag in pictures:
            tag["src"] = ""
        text = _markdown(page)
    except RecursionError:
        raise broken(source, "HTML", "its elements are nested too deeply") from None
    about = {**metadata, **({"title": title} if title else {})}
    yield from _texts(text, about, limits, done, total)
    for table in page.find_all("table"):
        yield from _table(table, source, limits)
    if limits.pictures:
        for address in addresses:
            yield _picture(address, source)


def _markdown(page: Any) -> str:
    from markdownify import MarkdownConverter

    text = MarkdownConverter(heading_style="ATX", bullets="-", table_infer_header=True).convert_soup(page)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(line for line, before in zip(lines, ["x", *lines], strict=False) if line or before)


def _texts(text: str, about: Mapping[str, Any], limits: Limits, done: int, total: int) -> Iterator[Part]:
    parts = list(parts_of(text, limits.text_characters))
    for number, part in enumerate(parts, start=1):
        where = {"part": number} if len(parts) > 1 else {}
        metadata = {**about, **where}
        yield Text(part, metadata, True, continued=number > 1, done=done or number, total=total or len(parts))


def _table(table: Any, source: str, limits: Limits) -> Iterator[Part]:
    if table.find("table") is not None:  # of the layout; the tables in it follow
        return
    lines = table.find_all("tr")
    rows = [[cell.get_text(" ", strip=True) for cell in line.find_all(["td", "th"])] for line in lines]
    rows = [row for row in rows if row]
    if is_too_large(rows):
        yield Omitted(f"a table of {source} has more than {MAX_COLUMNS:,} columns or {MAX_CELLS:,} cells")
        return
    if not rows:
        return
    columns, below = header_of(rows)
    filled = (padded(row, len(columns)) for row in below)
    empty = True
    for batch in batches(filled, limits.table_rows):
        yield Rows(columns, batch)
        empty = False
    if empty:
        yield Rows(columns, ())


def _picture(address: str, source: str) -> Part:
    head, _, data = address.removeprefix("data:").partition(",")
    mime_type = head.split(";")[0] or "text/plain"
    if not mime_type.startswith("image/"):
        return Omitted(f"a picture of {source} is of the type {mime_type:.50}")
    try:
        content = base64.b64decode(data, validate=False) if head.endswith(";base64") else unquote_to_bytes(data)
    except (binascii.Error, ValueError):
        return Omitted(f"a picture of {source} is not base64")
    return Medium(Image(mime_type, content))
