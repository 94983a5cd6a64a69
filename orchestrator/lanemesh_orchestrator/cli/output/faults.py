"""The faults of a pipeline, each in its place: pointer, reason, the document's line with carets, the fault, and a hint."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lanemesh.pipeline_faults import PipelineFault, Severity

from lanemesh_orchestrator.cli.output.visible import visible

_POINTER_WIDTH = 32
_OF_SETTINGS = frozenset({"bad-setting", "unknown-setting"})
_EXTRA = re.compile(r"^Run: pip install 'lanemesh\[([\w-]+)\]'")
_RED, _YELLOW, _DIM, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


def is_warning(fault: PipelineFault) -> bool:
    """The fault does not stand in the way of a run."""
    return fault.severity is Severity.WARNING


def count(faults: Sequence[PipelineFault]) -> str:
    """How many there are, in words: "3 faults, 1 warning"."""
    warnings = sum(map(is_warning, faults))
    parts = [_plural(len(faults) - warnings, "fault")] if len(faults) > warnings or not warnings else []
    if warnings:
        parts.append(_plural(warnings, "warning"))
    return ", ".join(parts)


def render_faults(
    name: str, text: str, faults: Sequence[PipelineFault], *, width: int = 100, styled: bool = False
) -> str:
    """All faults of a document as text; lines of the document are cut to `width` columns around the place. If several extras are
    missing here, one command that installs all of them comes last."""
    paint = _Paint(styled)
    blocks = [f"{paint(_BOLD, visible(name))}: {count(faults)}"]
    blocks += [_block(text, fault, max(width, 40), paint) for fault in faults]
    hints = (fault.hint for fault in faults if fault.reason == "missing-extra")
    extras = dict.fromkeys(extra for hint in hints for extra in _EXTRA.findall(hint))
    if len(extras) > 1:
        blocks.append(f"All missing packages at once: pip install 'lanemesh[{','.join(extras)}]'")
    return "\n\n".join(blocks)


class _Paint:
    """Adds colours to text, or returns it unchanged."""

    def __init__(self, styled: bool) -> None:
        self._styled = styled

    def __call__(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._styled and text else text


def _block(text: str, fault: PipelineFault, width: int, paint: _Paint) -> str:
    colour = _YELLOW if is_warning(fault) else _RED
    reason = f"{fault.reason} (warning)" if is_warning(fault) else fault.reason
    pointer = visible(fault.pointer) or ("--set" if fault.reason in _OF_SETTINGS else "(the document)")
    lines = [f"  {paint(_BOLD, pointer)}{' ' * max(1, _POINTER_WIDTH - len(pointer) + 1)}{paint(colour, reason)}"]
    if fault.pointer or fault.reason == "not-json":
        lines += _excerpt(text, fault.pointer, width, colour, paint)
    lines.append(visible(f"    {fault.message} {fault.hint}".rstrip()))
    return "\n".join(lines)


def _excerpt(text: str, pointer: str, width: int, colour: str, paint: _Paint) -> list[str]:
    """The document's line, and carets below the place."""
    from lanemesh_orchestrator.pipeline.positions import locate

    place = locate(text, pointer)
    source = text.split("\n")
    if place.line > len(source):
        return []
    line = visible(source[place.line - 1].rstrip().replace("\t", " "))
    number = f"{place.line:>5}"
    line, column, length = _cut(line, place.column - 1, place.length, width - len(number) - 3)
    before, marked = _cells(line[:column]), max(1, _cells(line[column : column + length]))
    return [
        f"{paint(_DIM, number + ' │')} {line}",
        f"{paint(_DIM, ' ' * len(number) + ' │')} {' ' * before}{paint(colour, '^' * marked)}",
    ]


def _cut(line: str, column: int, length: int, width: int) -> tuple[str, int, int]:
    """The part of a line around a place, and where the place is in it."""
    if _cells(line) <= width:
        return line, column, length
    start = max(0, min(column - width // 3, len(line) - width + 1))
    end = start + width - 2
    head, tail = "…" if start else "", "…" if end < len(line) else ""
    column = column - start + len(head)
    return f"{head}{line[start:end]}{tail}", column, min(length, end - start - (column - len(head)))


def _cells(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
