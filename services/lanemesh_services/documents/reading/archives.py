"""Files that are ZIP archives: bounded, and distinguished by their members."""

from __future__ import annotations

import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from lanemesh_services.documents.errors import broken, encrypted, too_large
from lanemesh_services.documents.reading.parts import Attached, File, Limits, Omitted, Part

MAX_MEMBERS = 10_000
"""Most files in an archive."""
MAX_XML = 64 * 1024 * 1024
"""Most bytes of XML of a document that is read as a whole: its elements take many times this memory."""
BROKEN = (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, zlib.error, lzma.LZMAError)
"""What `zipfile` raises for broken archives."""


@contextmanager
def opened(file: File, limits: Limits, kind: str) -> Iterator[zipfile.ZipFile]:
    """The archive of a file, whose expanded size counts against the limits before anything is expanded.

    Raises:
        FileUnreadable: it is broken, encrypted, or would expand to too much. No member can expand beyond its stated size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise too_large(file.name, f"has {len(members):,} files in it", f"{MAX_MEMBERS:,}")
            if any(member.flag_bits & 1 for member in members):
                raise encrypted(file.name, given=bool(limits.password))
            limits.expand(file.name, sum(member.file_size for member in members))
            yield archive
    except BROKEN as error:
        raise broken(file.name, kind, error) from None


def check_xml(archive: zipfile.ZipFile, source: str, prefix: str = "") -> None:
    """Raises FileUnreadable if the XML in an archive, below a folder, is too much to be held ("file-too-large")."""
    members = (member for member in archive.infolist() if member.filename.startswith(prefix))
    size = sum(member.file_size for member in members if member.filename.endswith((".xml", ".rels")))
    if size > MAX_XML:
        raise too_large(source, f"has {size:,} bytes of XML", f"{MAX_XML:,}")


def names_in(content: bytes) -> frozenset[str]:
    """The names of the files in an archive; none if it is broken."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return frozenset(archive.namelist()[:MAX_MEMBERS])
    except (*BROKEN, ValueError):
        return frozenset()


def read_zip(file: File, limits: Limits) -> Iterator[Part]:
    """The files in an archive, each read in its turn."""
    with opened(file, limits, "ZIP") as archive:
        for member in archive.infolist():
            if member.is_dir() or member.filename.startswith("__MACOSX/"):
                continue
            try:
                content = archive.read(member)
            except BROKEN as error:
                yield Omitted(f"{member.filename} in {file.name} cannot be expanded: {error}")
                continue
            yield Attached(File(f"{file.name}/{member.filename}", "", content))
