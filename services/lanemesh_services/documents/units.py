"""The units of a text that are translated: paragraphs, headings, entries of lists and rows of tables, and what is between them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lanemesh_services.documents.parts_of_text import parts_of

_MARK = re.compile(r"[ \t]*(?:#{1,6}[ \t]+|(?:[-*+•]|\d{1,9}[.)])[ \t]+(?:\[[ xX]\][ \t]+)?|(?:>[ \t]?)+)")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_WORD = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Unit:
    """A part of a text. The texts of all units, with what is before and after each, are the text."""

    text: str
    before: str = ""
    """The mark of a heading or an entry, and blanks."""
    after: str = ""
    """The line break and blanks after it."""
    translatable: bool = False
    bars: bool = False
    """It is a row of a table, which keeps its bars."""


def units_of(text: str, most: int) -> list[Unit]:
    """The units of a text, of which those to translate have at most `most` characters.

    Lines that follow one another without a mark are one paragraph, because a sentence goes on in the next line.
    """
    units: list[Unit] = []
    paragraph: list[str] = []
    in_code = False
    for line in text.splitlines(keepends=True):
        fence = _FENCE.match(line) is not None
        mark = _MARK.match(line)
        is_plain = not (in_code or fence or mark or line.lstrip().startswith("|") or not _WORD.search(line))
        if is_plain:
            paragraph.append(line)
            continue
        units += _paragraph(paragraph, most)
        paragraph = []
        if in_code or fence or not _WORD.search(line):
            units.append(Unit(line))
        else:
            units += _marked(line, mark.group() if mark else "", most)
        in_code ^= fence
    return units + _paragraph(paragraph, most)


def _paragraph(lines: list[str], most: int) -> list[Unit]:
    return _cut(_trimmed("".join(lines)), most) if lines else []


def _marked(line: str, mark: str, most: int) -> list[Unit]:
    unit = _trimmed(line[len(mark) :])
    unit = replace(unit, before=mark + unit.before, bars=not mark)
    return [unit] if unit.bars else _cut(unit, most)


def _trimmed(text: str) -> Unit:
    inner = text.strip()
    start = text.index(inner)
    return Unit(inner, text[:start], text[start + len(inner) :], translatable=True)


def _cut(unit: Unit, most: int) -> list[Unit]:
    """A unit in several if it is too long; the blanks between them are as they were."""
    if len(unit.text) <= most:
        return [unit]
    units: list[Unit] = []
    end, before = 0, unit.before
    for part in parts_of(unit.text, most):
        start = unit.text.index(part, end)
        units.append(Unit(part, before + unit.text[end:start], translatable=True))
        end, before = start + len(part), ""
    units[-1] = replace(units[-1], after=unit.text[end:] + unit.after)
    return units
