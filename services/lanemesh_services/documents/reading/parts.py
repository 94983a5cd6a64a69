"""What a file is read into, and the limits of its reading.

Names, texts and cells are made such that lanes carry them, whatever the file has, so that a value never ends the reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lanemesh import Audio, Image, Video

from lanemesh_services.documents.errors import too_large
from lanemesh_services.documents.reading.cells import cell_of, text_of

Reader = Callable[["File", "Limits"], Iterator["Part"]]
"""Reads a file. Raises FileUnreadable if it is broken, encrypted or too large."""


@dataclass(frozen=True, slots=True)
class File:
    """A file, whole in memory."""

    name: str
    """Its source: a path, a URI or a name."""
    mime_type: str
    """Its declared media type; empty if there is none."""
    content: bytes = field(repr=False)
    """Its bytes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", text_of(self.name))
        object.__setattr__(self, "mime_type", text_of(self.mime_type))


@dataclass(slots=True)
class Limits:
    """Bounds of the reading of one file and of all files in it."""

    expanded_bytes: int
    """Most bytes that archives in the file expand to, all together."""
    table_rows: int
    """Most rows of a table that leave at once."""
    text_characters: int
    """Most characters of a text that leave at once."""
    password: str = ""
    """For files that are encrypted."""
    pictures: bool = True
    """Pictures are read; if not, they are not even decoded."""
    expanded: int = 0
    """Bytes that were expanded so far."""

    def expand(self, source: str, size: int) -> None:
        """Counts bytes that are expanded next. Raises FileUnreadable if they are too many ("file-too-large")."""
        self.expanded += size
        if self.expanded > self.expanded_bytes:
            what = f"expands to more than {self.expanded_bytes:,} bytes"
            raise too_large(source, what, "config.max_expanded. Raise it only for files that you trust")


@dataclass(frozen=True, slots=True)
class Text:
    """A text, such as that of a page."""

    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Where it stands: `page`, `slide`, `sheet`, `chapter` or `part`, and what else is known."""
    expected: bool = False
    """There should be text here, such as on a page: without any it is counted and logged."""
    continued: bool = False
    """It goes on where the text before it ended."""
    done: int = 0
    """Pages, slides or chapters that are read so far."""
    total: int = 0
    """How many there are; 0 if it is unknown."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", text_of(self.text))
        object.__setattr__(self, "metadata", cell_of(self.metadata))


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(map(text_of, self.columns)))
        object.__setattr__(self, "rows", tuple(tuple(map(cell_of, row)) for row in self.rows))


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture, or a piece of audio or video."""

    value: Image | Audio | Video


@dataclass(frozen=True, slots=True)
class Attached:
    """A file in the file, which is read in its turn."""

    file: File


@dataclass(frozen=True, slots=True)
class Omitted:
    """A part that cannot be read, while the rest can."""

    what: str


Part = Text | Rows | Medium | Attached | Omitted
