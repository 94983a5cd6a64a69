"""EPUB books, chapter by chapter (https://www.w3.org/TR/epub-33/)."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from lanemesh import Image

from lanemesh_services.documents.errors import broken, too_large
from lanemesh_services.documents.reading.archives import BROKEN, MAX_XML, opened
from lanemesh_services.documents.reading.encodings import decoded
from lanemesh_services.documents.reading.html import parts_of_html
from lanemesh_services.documents.reading.parts import File, Limits, Medium, Omitted, Part, Text

_CONTAINER = "META-INF/container.xml"


def read_epub(file: File, limits: Limits) -> Iterator[Part]:
    """The chapters in the order of the book, then its pictures."""
    with opened(file, limits, "EPUB") as archive:
        title, chapters, pictures = _contents(archive, file)
        about = {"title": title} if title else {}
        for number, name in enumerate(chapters, start=1):
            try:
                found = decoded(archive.read(name))
            except (KeyError, *BROKEN) as error:
                yield Omitted(f"the chapter {name} of {file.name} cannot be read: {error}")
                continue
            where = {"chapter": number, "chapters": len(chapters)}
            text = found[0] if found else ""
            for part in parts_of_html(text, file.name, limits, {**where, **about}, done=number, total=len(chapters)):
                yield replace(part, metadata={**part.metadata, **about}) if isinstance(part, Text) else part
        for name, mime_type in pictures if limits.pictures else ():
            try:
                yield Medium(Image(mime_type, archive.read(name)))
            except (KeyError, *BROKEN) as error:
                yield Omitted(f"the picture {name} of {file.name} cannot be read: {error}")


def _contents(archive: zipfile.ZipFile, file: File) -> tuple[str, list[str], list[tuple[str, str]]]:
    """The title, the chapters in order, and the pictures with their media types."""
    from defusedxml import ElementTree
    from defusedxml.common import DefusedXmlException

    try:
        container = ElementTree.fromstring(_xml(archive, _CONTAINER, file))
        package_name = next(node.attrib["full-path"] for node in container.iter() if _tag(node) == "rootfile")
        package = ElementTree.fromstring(_xml(archive, package_name, file))
        folder = posixpath.dirname(package_name)
        items = {
            node.attrib["id"]: (_path(folder, node.attrib["href"]), node.attrib.get("media-type", ""))
            for node in package.iter()
            if _tag(node) == "item"
        }
        order = [items[node.attrib["idref"]][0] for node in package.iter() if _tag(node) == "itemref"]
        title = next((node.text or "" for node in package.iter() if _tag(node) == "title"), "")
    except (KeyError, StopIteration, ElementTree.ParseError, DefusedXmlException, *BROKEN) as error:
        raise broken(file.name, "EPUB", f"{type(error).__name__}: {error}") from None
    pictures = [item for item in items.values() if item[1].startswith("image/")]
    return (
        title.strip(),
        list(dict.fromkeys(order)),
        list(dict.fromkeys(pictures)),
    )  # each once, however often it is named


def _xml(archive: zipfile.ZipFile, name: str, file: File) -> bytes:
    """A file of XML. Raises FileUnreadable if it is too much to be held ("file-too-large")."""
    size = archive.getinfo(name).file_size
    if size > MAX_XML:
        raise too_large(file.name, f"has {size:,} bytes of XML", f"{MAX_XML:,}")
    return archive.read(name)


def _path(folder: str, address: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(address.split("#")[0])))


def _tag(node: Any) -> str:
    return str(node.tag).rpartition("}")[2]
