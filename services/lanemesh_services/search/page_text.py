"""The readable text of a page of the web, as Markdown."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass

from lanemesh_services.search.errors import page_unreadable

HTML = frozenset({"text/html", "application/xhtml+xml"})
"""Media types of pages."""
TEXTS = frozenset({"application/json", "application/xml", "application/rss+xml", "application/atom+xml"})
"""Media types of texts besides text/*."""
_IGNORED = ("script", "style", "noscript", "template", "svg", "nav", "footer", "aside", "form", "iframe", "button")
_ENCODINGS = frozenset(
    {
        "utf-8",
        "ascii",
        "iso8859-1",
        "iso8859-2",
        "iso8859-15",
        "cp1250",
        "cp1251",
        "cp1252",
        "koi8-r",
        "utf-16",
        "utf-16-le",
    }
    | {"utf-16-be", "shift_jis", "euc_jp", "gb18030", "gbk", "gb2312", "big5", "euc_kr", "iso2022_jp"}
)
"""The encodings of texts. Some others of Python take quadratic time."""
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n+")


@dataclass(frozen=True, slots=True)
class PageText:
    """What a page says."""

    text: str
    """Its text: Markdown, or what it is."""
    title: str = ""
    """Its title; empty if it has none."""
    language: str = ""
    """Its language as it names it, such as "en"; empty if it does not."""


def is_text(mime_type: str) -> bool:
    """Whether the text of a file of this type can be read here."""
    return mime_type in HTML or mime_type in TEXTS or mime_type.startswith("text/")


def text_of(url: str, content: bytes, mime_type: str, charset: str | None) -> PageText:
    """The text of a page. Blocks for up to seconds. Raises PageUnreadable if it has none."""
    try:
        page = _of_html(content, charset) if mime_type in HTML else PageText(_decoded(content, charset))
    except (ValueError, RecursionError, AttributeError, TypeError) as error:  # of parsers, for pages that are broken
        hint = "Leave it out, or let the run go on without it by on_error: skip"
        raise page_unreadable(url, f"{type(error).__name__}: {error}", hint) from None
    if not page.text.strip():
        raise page_unreadable(url, "it has no text", "It may need a browser that runs its scripts; use another page")
    return page


def _of_html(content: bytes, charset: str | None) -> PageText:
    from bs4 import BeautifulSoup
    from markitdown import MarkItDown, StreamInfo

    soup = BeautifulSoup(content, "html.parser", from_encoding=_known(charset))
    title = soup.title.get_text(" ", strip=True)[:1000] if soup.title else ""
    language = str(soup.html.get("lang") or "")[:20] if soup.html else ""
    for tag in soup.find_all(_IGNORED):
        tag.decompose()
    main = soup.find("main") or soup.find("article") or soup.body or soup
    converter = MarkItDown(enable_plugins=False)
    info = StreamInfo(mimetype="text/html", charset="utf-8")
    converted = converter.convert_stream(io.BytesIO(f"<html><body>{main}</body></html>".encode()), stream_info=info)
    return PageText(_BLANK_LINES.sub("\n\n", converted.text_content).strip(), title, language)


def _decoded(content: bytes, charset: str | None) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.decode(_known(charset) or "utf-8-sig", "replace")


def _known(charset: str | None) -> str | None:
    """The encoding with a name, if it is one of texts."""
    try:
        found = codecs.lookup(charset or "").name
    except (LookupError, ValueError):
        return None
    return found if found in _ENCODINGS else None
