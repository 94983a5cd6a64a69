"""Where a JSON pointer points to in the text of a document, so that faults can be shown in their place."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}]+")
_NESTING = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Strings, also one that does not end, and brackets. Possessive, so that it is linear in any text."""


class Location(NamedTuple):
    """A stretch of one line of a text."""

    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    length: int
    """Length in characters on its first line, at least 1."""


def locate(text: str, pointer: str) -> Location:
    """The position of the value of a JSON pointer in a JSON text; for a string, of the content of its quotes.

    A pointer to a missing value returns the nearest value around it. The empty pointer returns the position of the syntax error if
    the text is not JSON, otherwise the beginning. The last value of a duplicate key counts.
    """
    if not pointer:
        return _whole(text)
    start, end = span(text, pointer)
    if text[start : start + 1] == '"' and end - start > 2:
        start, end = start + 1, end - 1
    return _location(text, start, end)


def span(text: str, pointer: str) -> tuple[int, int]:
    """Where in a JSON text the value that a pointer points to begins and ends, or the nearest value around it. Of a value that does
    not end, only the first character counts."""
    start = _SPACE.match(text, text.startswith("\ufeff")).end()  # type: ignore[union-attr]
    try:
        for part in pointer.split("/")[1:]:
            found = _child(text, start, part.replace("~1", "/").replace("~0", "~"))
            if found is None:
                break
            start = found
        end = _end(text, start)
    except (IndexError, ValueError):
        end = start + 1
    return start, end


def _whole(text: str) -> Location:
    try:
        json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        return _location(text, error.pos, error.pos + 1)
    except (ValueError, RecursionError):
        pass
    return _location(text, 0, len(text))


def _location(text: str, start: int, end: int) -> Location:
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    length = len(text[start : min(end, line_end)].rstrip())
    return Location(text.count("\n", 0, start) + 1, start - line_start + 1, max(1, length))


def _child(text: str, start: int, key: str) -> int | None:
    """Start of a member of the object, or of an element of the array, at `start`; None if there is none."""
    if text[start] not in "{[":
        return None
    is_object, index, found = text[start] == "{", 0, None
    position = _skip(text, start + 1)
    while text[position] not in "}]":
        name = str(index)
        if is_object:
            after = _end(text, position)
            name = json.loads(text[position:after])
            position = _skip(text, _skip(text, after) + 1)
        if name == key:
            found = position
            if not is_object:
                return found
        index += 1
        position = _skip(text, _end(text, position))
        if text[position] == ",":
            position = _skip(text, position + 1)
    return found


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _end(text: str, start: int) -> int:
    """End of the value at `start`. Raises ValueError if it has none."""
    if text[start] not in "{[":
        pattern = _STRING if text[start] == '"' else _SCALAR
        match = pattern.match(text, start)
        if match is None:
            raise ValueError("no JSON value")
        return match.end()
    depth = 0
    for match in _NESTING.finditer(text, start):
        token = match.group()
        depth += (token in "{[") - (token in "}]")
        if depth == 0:
            return match.end()
    raise ValueError("an unterminated value")
