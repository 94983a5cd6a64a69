"""PDF files, page by page."""

from __future__ import annotations

import io
import itertools
import logging
from collections.abc import Iterator
from typing import Any

from lanemesh import Image

from lanemesh_services.documents.errors import broken, encrypted
from lanemesh_services.documents.reading.parts import File, Limits, Medium, Omitted, Part, Text

logging.getLogger("pypdf").setLevel(logging.ERROR)  # it logs each repair of a file; what is lost is logged here
MAX_PIXELS = 50_000_000
"""Largest picture that is decoded; a larger one is left out with a warning."""
MAX_PICTURES = 1_000
"""Most pictures of one page."""
MAX_CONTENT = 8_000_000
"""Most bytes of the content of a page, without its pictures; a larger page is left out with a warning."""
MAX_OPERATIONS = 300_000
"""Most operations of a page, those of its forms included; a page with more is left out with a warning."""


def read_pdf(file: File, limits: Limits) -> Iterator[Part]:
    """The text and the pictures of each page."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = PdfReader(io.BytesIO(file.content))
        if reader.is_encrypted and not reader.decrypt(limits.password):
            raise encrypted(file.name, given=bool(limits.password))
        total = len(reader.pages)
        about = _about(reader, total)
    except (PyPdfError, DependencyError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(file.name, "PDF", error) from None
    if not total:
        raise broken(file.name, "PDF", "it has no pages")
    for number in range(1, total + 1):
        try:
            page = reader.pages[number - 1]
            text = _text(page)
        except Exception as error:  # of a page alone; pypdf raises errors of many kinds for broken ones
            yield Omitted(f"page {number} of {total} cannot be read: {error!s:.200}")
            text, page = "", None
        yield Text(_clean(text), {"page": number, **about}, expected=True, done=number, total=total)
        if limits.pictures and page is not None:
            yield from _pictures(page, number)


class _TooMuch(Exception):
    """A page has more drawing operations than are read."""


def _text(page: Any) -> str:
    """The text of a page. Raises _TooMuch if it is so large that its text would take minutes."""
    contents = page.get_contents()
    if contents is not None and (size := len(contents.get_data())) > MAX_CONTENT:
        raise _TooMuch(f"its content expands to {size:,} bytes; at most {MAX_CONTENT:,} are read")
    operations = itertools.count(1)

    def counted(*_: Any) -> None:
        if next(operations) > MAX_OPERATIONS:
            raise _TooMuch(f"it has more than {MAX_OPERATIONS:,} operations")

    return str(page.extract_text(visitor_operand_before=counted))


def _about(reader: Any, total: int) -> dict[str, Any]:
    title = reader.metadata.title if reader.metadata else None
    return {"pages": total, **({"title": str(title)} if title else {})}


def _clean(text: str) -> str:
    """The text without spaces at the ends of its lines."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


def _pictures(page: Any, number: int) -> Iterator[Part]:
    try:
        places = _places(page)
    except Exception as error:
        yield Omitted(f"the pictures of page {number} cannot be read: {error!s:.200}")
        return
    if len(places) > MAX_PICTURES:
        yield Omitted(f"page {number} has {len(places):,} pictures, of which {MAX_PICTURES:,} are read")
    for name, width, height in places[:MAX_PICTURES]:
        if width * height > MAX_PIXELS:
            yield Omitted(f"a picture of page {number} has {width} x {height} pixels; at most {MAX_PIXELS:,} are read")
            continue
        try:
            found = page.images[name]
            mime_type = f"image/{(found.image.format or 'png').lower()}"
            yield Medium(Image(mime_type, found.data, width=found.image.width, height=found.image.height))
        except Exception as error:  # broken, or of a kind that Pillow does not know
            yield Omitted(f"a picture of page {number} cannot be read: {error!s:.200}")


def _places(page: Any) -> list[tuple[str, int, int]]:
    """The pictures of a page: the name, width and height of each."""
    resources = page.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources is not None else None
    if objects is None:
        return []
    found = []
    for name, reference in objects.get_object().items():
        picture = reference.get_object()
        if picture.get("/Subtype") == "/Image":
            found.append((name, int(picture.get("/Width", 0)), int(picture.get("/Height", 0))))
    return found
