"""Files of word processors, presentations and spreadsheets (Office Open XML)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from lanemesh import Image

from lanemesh_services.documents.errors import broken
from lanemesh_services.documents.reading.archives import check_xml, opened
from lanemesh_services.documents.reading.cells import cell_of
from lanemesh_services.documents.reading.html import parts_of_html
from lanemesh_services.documents.reading.media import image_type
from lanemesh_services.documents.reading.parts import File, Limits, Medium, Omitted, Part, Rows, Text
from lanemesh_services.documents.reading.tables import (
    MAX_CELLS,
    MAX_COLUMNS,
    as_text,
    batches,
    header_of,
    is_too_large,
    padded,
)

MAX_SHAPES = 10_000
"""Most shapes of one slide, those in groups included."""
_XML_ERRORS = (KeyError, ValueError, AttributeError, TypeError, IndexError, SyntaxError, RecursionError, OSError)


def read_docx(file: File, limits: Limits) -> Iterator[Part]:
    """The text as Markdown, then the tables and the pictures. It has no pages: they are made where it is shown."""
    import mammoth

    pictures: list[Part] = []

    def keep(picture: Any) -> dict[str, str]:
        with picture.open() as opened_picture:
            pictures.append(Medium(Image(picture.content_type or "image/png", opened_picture.read())))
        return {"src": ""}

    with opened(file, limits, "DOCX") as archive:
        check_xml(archive, file.name)
        try:
            html = mammoth.convert_to_html(
                io.BytesIO(file.content),
                convert_image=mammoth.images.img_element(keep if limits.pictures else _no_picture),
            ).value
        except (*_XML_ERRORS, zipfile.BadZipFile) as error:
            raise broken(file.name, "DOCX", error) from None
        except Exception as error:  # of the parser of XML, which has errors of its own
            raise broken(file.name, "DOCX", error) from None
    yield from parts_of_html(html, file.name, limits, {})
    yield from pictures


def read_pptx(file: File, limits: Limits) -> Iterator[Part]:
    """The texts, tables and pictures of each slide."""
    from pptx import Presentation

    with opened(file, limits, "PPTX") as archive:
        check_xml(archive, file.name)
        try:
            slides = list(Presentation(io.BytesIO(file.content)).slides)
        except Exception as error:  # python-pptx raises errors of many kinds for broken files
            raise broken(file.name, "PPTX", error) from None
        for number, slide in enumerate(slides, start=1):
            try:
                texts, parts = _slide(slide, limits)
            except Exception as error:
                yield Omitted(f"slide {number} of {len(slides)} cannot be read: {error!s:.200}")
                texts, parts = [], []
            text = "\n\n".join(text for text in texts if text)
            about = {"slide": number, "slides": len(slides)}
            yield Text(text, about, expected=True, done=number, total=len(slides))
            yield from parts


def read_xlsx(file: File, limits: Limits) -> Iterator[Part]:
    """The rows of each sheet as a table in batches, each batch as a text too; then the pictures."""
    from openpyxl import load_workbook

    with opened(file, limits, "XLSX") as archive:
        check_xml(archive, file.name, "xl/s")  # sharedStrings and styles are held; the sheets are read row by row
        try:
            book = load_workbook(io.BytesIO(file.content), read_only=True, data_only=True)
        except Exception as error:  # openpyxl raises errors of many kinds for broken files
            raise broken(file.name, "XLSX", error) from None
        try:
            for sheet in book.worksheets:
                yield from _sheet(sheet, file, limits)
        finally:
            book.close()
        if limits.pictures:
            for name in archive.namelist():
                if name.startswith("xl/media/") and (mime_type := image_type(name)):
                    yield Medium(Image(mime_type, archive.read(name)))


def _no_picture(picture: Any) -> dict[str, str]:
    return {"src": ""}


def _slide(slide: Any, limits: Limits) -> tuple[list[str], list[Part]]:
    texts: list[str] = []
    parts: list[Part] = []
    for shape in _shapes(slide.shapes):
        if getattr(shape, "has_text_frame", False):
            texts.append(shape.text_frame.text.strip())
        if getattr(shape, "has_table", False):
            rows = [[cell.text.strip() for cell in row.cells] for row in shape.table.rows]
            if is_too_large(rows):
                raise ValueError(f"a table has more than {MAX_COLUMNS:,} columns or {MAX_CELLS:,} cells")
            columns, below = header_of(rows)
            texts += [text for _, text in as_text(columns, [padded(row, len(columns)) for row in below])]
            parts += [
                Rows(columns, batch)
                for batch in batches((padded(row, len(columns)) for row in below), limits.table_rows)
            ]
        picture = getattr(shape, "image", None) if limits.pictures and shape.shape_type == 13 else None
        if picture is not None:
            width, height = picture.size
            parts.append(Medium(Image(picture.content_type, picture.blob, width=width, height=height)))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        texts.append(slide.notes_slide.notes_text_frame.text.strip())
    return texts, parts


def _shapes(shapes: Iterable[Any]) -> list[Any]:
    """The shapes, those in groups included."""
    found: list[Any] = []
    waiting = list(shapes)[::-1]
    while waiting and len(found) < MAX_SHAPES:
        shape = waiting.pop()
        inner = getattr(shape, "shapes", None)
        if inner is not None:
            waiting += list(inner)[::-1]
        else:
            found.append(shape)
    return found


def _sheet(sheet: Any, file: File, limits: Limits) -> Iterator[Part]:
    columns: tuple[str, ...] | None = None
    number = 1
    sheet.reset_dimensions()  # a stated size that is wrong would fill each row with empty cells
    try:
        for batch in batches(_rows(sheet), limits.table_rows):
            some = batch
            if columns is None:
                columns, below = header_of(batch)
                some = tuple(tuple(row) for row in below)
            filled = tuple(padded(row, len(columns)) for row in some)
            yield Rows(columns, filled)
            for place, text in as_text(columns, filled, first=number):
                about = {"sheet": sheet.title, "rows": place}
                yield Text(text, about, expected=True, done=number + len(filled) - 1)
            number += len(filled)
    except Exception as error:  # of a broken sheet: openpyxl reads it row by row
        raise broken(file.name, f"XLSX (sheet {sheet.title})", error) from None


def _rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """The rows that have a value, without empty cells at their ends."""
    for row in sheet.iter_rows(values_only=True):
        cells = [cell_of(value) for value in row[:MAX_COLUMNS]]
        while cells and cells[-1] is None:
            cells.pop()
        if cells:
            yield tuple(cells)
