"""Texts of any encoding."""

from __future__ import annotations

import codecs

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 256 * 1024
"""How much of a text is looked at to find its encoding."""

FEW = 16
"""With fewer characters beyond ASCII a text is taken for a western European one,"""
WESTERN_SHARE = 0.6
"""if they are less than this share of it."""
_EBCDIC = ("cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140")
"""Encodings of mainframes, in which ASCII means other characters."""


def encoding_of(content: bytes) -> str | None:
    """The encoding of a text: that of its byte order mark, UTF-8 if it is valid, or the likeliest one; None if it is no text."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return encoding
    if b"\0" not in content[:SAMPLE_BYTES] and _is_utf8(content):
        return "utf-8"
    return _without_mark(content) or _likeliest(content[:SAMPLE_BYTES])


def decoded(content: bytes) -> tuple[str, str] | None:
    """The text and its encoding; characters that are broken become U+FFFD. None if it is no text."""
    encoding = encoding_of(content)
    return None if encoding is None else (content.decode(encoding, "replace"), encoding)


def _is_utf8(content: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(content), SAMPLE_BYTES):
            decoder.decode(content[start : start + SAMPLE_BYTES], final=start + SAMPLE_BYTES >= len(content))
    except UnicodeDecodeError:
        return False
    return True


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _without_mark(content: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of its ASCII characters is zero."""
    sample = content[: 4096 - len(content[:4096]) % 2]
    if not sample:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) // 2
    if odd > half * 0.4 and even < half * 0.1:
        return "utf-16-le"
    if even > half * 0.4 and odd < half * 0.1:
        return "utf-16-be"
    return None


def _likeliest(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    if b"\0" in sample:
        return None
    others = sum(byte >= 0x80 for byte in sample)
    if others < FEW and others < len(sample) * WESTERN_SHARE:  # too little to tell encodings apart
        return "cp1252" if _decodes(sample, "cp1252") else "latin_1"
    best = from_bytes(sample, cp_exclusion=list(_EBCDIC)).best()
    if best is None:
        return None
    alike = {best.encoding, *best.could_be_from_charset}
    for western in ("cp1252", "latin_1"):
        if western in alike:
            return western
    return str(best.encoding)
