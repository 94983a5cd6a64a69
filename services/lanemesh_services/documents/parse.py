"""`parse`: reads files of any kind."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from lanemesh import (
    Audio,
    Context,
    Document,
    Image,
    In,
    Json,
    LanemeshError,
    Node,
    Out,
    Pieces,
    Table,
    Tags,
    Video,
    Whole,
)
from pydantic import BaseModel, Field, SecretStr

from lanemesh_services.documents.errors import FileUnreadable, broken, misdeclared, too_deep, too_large
from lanemesh_services.documents.inputs import given_one
from lanemesh_services.documents.reading.parts import Attached, File, Limits, Medium, Omitted, Part, Rows, Text
from lanemesh_services.documents.reading.plain import parts_of

MEBIBYTE = 1024 * 1024
SEPARATOR = "\n\n"
"""Between the pieces of a file's text."""


class Parse(Node):
    """Reads files of any kind: PDF, DOCX, PPTX, XLSX, HTML, Markdown, e-mails, CSV, JSON, EPUB, ZIP, and texts of any encoding.

    Texts, tables and pictures leave page by page, as they are read; audio and video are passed on. Files in files, such as
    attachments, are read as well.
    """

    class Config(BaseModel):
        """Settings of the reading."""

        pictures: bool = Field(True, description="Read the pictures, if the output image is connected.")
        table_rows: int = Field(
            1_000, ge=1, le=10_000, description="Most rows of one table; a longer table is several."
        )
        text_characters: int = Field(
            1_000_000, ge=1_000, le=4_000_000, description="Most characters of one text; a longer text is several."
        )
        max_file: int = Field(256 * MEBIBYTE, ge=1, le=256 * MEBIBYTE, description="Most bytes of a file.")
        max_expanded: int = Field(
            512 * MEBIBYTE,
            ge=1,
            le=4096 * MEBIBYTE,
            description="Most bytes that the archives and attachments in a file expand to.",
        )
        depth: int = Field(3, ge=0, le=20, description="How deep files in files are read; 0: not at all.")
        password: SecretStr = Field(SecretStr(""), description="For encrypted PDF files.")

    restartable = True
    pip_extra = "documents"
    python_packages = (
        *("pypdf", "mammoth", "pptx", "openpyxl", "olefile", "defusedxml"),
        *("bs4", "markdownify", "charset_normalizer"),
    )

    documents: Annotated[
        In[Whole[Document | None]], "Documents with a file, or with text that is read by its name."
    ] = None
    data: Annotated[In[Json], 'Files as {"name", "mime_type", "content_base64"}.'] = None
    tags: Annotated[In[Tags | None], "Files, as RocketRide's documents send them."] = None

    text: Annotated[Out[Pieces[str]], "The text of a file, in pieces: its pages."]
    pages: Annotated[Out[Document], "The pages, with `page`, `slide`, `sheet` or `chapter` in their metadata."]
    table: Annotated[Out[Table], "The tables, in batches of rows."]
    image: Annotated[Out[Image], "The pictures."]
    audio: Annotated[Out[Audio], "Audio files."]
    video: Annotated[Out[Video], "Video files."]

    def gen_process(self, context: Context) -> Iterator[tuple[str, Any]]:
        """Reads one file."""
        given = given_one(context.component, documents=self.documents, data=self.data, tags=self.tags)
        document = given if isinstance(given, Document) else _document_of(given)
        yield from _Reading(self.config, context, document).outputs()


class _Reading:
    """The reading of one file, and of the files in it."""

    def __init__(self, config: Any, context: Context, document: Document) -> None:
        self._config = config
        self._context = context
        self._document = document
        self._connected = context.connected_outputs
        self._limits = Limits(
            config.max_expanded,
            config.table_rows,
            config.text_characters,
            config.password.get_secret_value(),
            config.pictures and (not self._connected or "image" in self._connected),
        )
        self._numbers = itertools.count()
        self._started = False

    def outputs(self) -> Iterator[tuple[str, Any]]:
        """The values of the outputs. Raises FileUnreadable."""
        yield from self._read(_file_of(self._document), 0)

    def _read(self, file: File, depth: int) -> Iterator[tuple[str, Any]]:
        if depth > self._config.depth:
            raise too_deep(file.name, self._config.depth)
        if len(file.content) > self._config.max_file:
            raise too_large(
                file.name, f"has {len(file.content):,} bytes", f"config.max_file, {self._config.max_file:,}"
            )
        counts: Counter[str] = Counter()
        for part in _parts(file, self._limits):
            if self._context.cancelled:
                return
            yield from self._emitted(part, file, depth, counts)
        if counts["without text"]:
            self._context.log.warning(
                "%s: %d of %d pages or parts have no text. If they are scanned, connect the output image to an ocr",
                *(file.name, counts["without text"], counts["texts"]),
            )

    def _emitted(self, part: Part, file: File, depth: int, counts: Counter[str]) -> Iterator[tuple[str, Any]]:
        match part:
            case Text():
                yield from self._text(part, file, counts)
            case Rows():
                yield "table", Table(part.columns, part.rows)
            case Medium():
                yield type(part.value).__name__.lower(), part.value
            case Attached():
                yield from self._attached(part.file, depth + 1)
            case Omitted():
                self._context.log.warning("%s: %s", file.name, part.what)

    def _attached(self, file: File, depth: int) -> Iterator[tuple[str, Any]]:
        """A file in a file. If it cannot be read, a warning has the cause, and the rest is read; limits hold for all together."""
        try:
            yield from self._read(file, depth)
        except FileUnreadable as error:
            if error.fault.reason == "file-too-large":
                raise
            self._context.log.warning("a file in %s is left out: %s", self._document.source, error.fault.message)

    def _text(self, part: Text, file: File, counts: Counter[str]) -> Iterator[tuple[str, Any]]:
        counts["texts"] += 1
        if part.total > 1:
            self._context.progress(part.done, part.total, f"reading {file.name}")
        if not part.text.strip():
            counts["without text"] += part.expected
            return
        metadata = {**self._document.metadata, **part.metadata}
        if file.mime_type:
            metadata.setdefault("mime_type", file.mime_type)
        continued = part.continued or not self._started
        for text in parts_of(part.text, self._limits.text_characters):
            yield "text", text if continued else SEPARATOR + text
            continued = self._started = True
            number = next(self._numbers)
            own_id = f"{self._document.id}#{number}" if self._document.id else ""
            yield "pages", Document(text, own_id, source=file.name, chunk_index=number, metadata=metadata)


def _parts(file: File, limits: Limits) -> Iterator[Part]:
    """The parts of a file. Raises FileUnreadable, also for a broken file of which a library raises an error of its own."""
    from lanemesh_services.documents.reading.kinds import reader_of

    try:
        yield from reader_of(file)(file, limits)
    except (LanemeshError, ImportError, MemoryError):
        raise
    except Exception as error:
        kind = file.mime_type or file.name.rpartition(".")[2].upper() or "a file"
        raise broken(file.name, kind, f"{type(error).__name__}: {error}") from error


def _file_of(document: Document) -> File:
    """The file of a document; its text, if it has no file, is a file of the type that its name has."""
    if document.file is None:
        return File(document.source, str(document.metadata.get("mime_type", "")), document.content.encode())
    if document.file.uri:
        raise misdeclared(document.source, f'it is at "{document.file.uri:.200}", and files are not fetched here')
    return File(document.source, document.file.mime_type, document.file.content)


def _document_of(value: Any) -> Document:
    """The document that an object describes. Raises FileUnreadable if it does not."""
    from lanemesh import Media

    if not isinstance(value, Mapping):
        raise misdeclared("", f"it is {type(value).__name__}")
    name = value.get("name", "")
    mime_type, content = value.get("mime_type", ""), value.get("content_base64")
    if not isinstance(name, str) or not isinstance(mime_type, str) or not isinstance(content, str):
        raise misdeclared(str(name)[:200], '"name", "mime_type" and "content_base64" must be texts')
    try:
        decoded = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise misdeclared(name, '"content_base64" is not base64') from None
    return Document("", source=name, file=Media(mime_type, decoded))
