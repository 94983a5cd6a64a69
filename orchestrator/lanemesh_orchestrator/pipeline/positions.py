"""Where a JSON pointer points to in the text of a document, so that faults can be shown in their place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}]+")
_NESTING = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
"""Strings, also one that does not end, and brackets. Possessive, so that it is linear in any text."""

_Wanted = dict[str, "_Wanted"]
"""The next parts of pointers, each with the parts after it; empty at the end of a pointer."""


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
    start = _start(text)
    try:
        for part in _parts(pointer):
            found = _child(text, start, part)
            if found is None:
                break
            start = found
        end = _end(text, start)
    except (IndexError, ValueError):
        end = start + 1
    return start, end


def spans(text: str, pointers: Iterable[str]) -> list[tuple[int, int]]:
    """Where the values of JSON pointers begin and end in a valid JSON text, in the order of the text, which is read once. None of
    the values may contain another one. All values of a duplicate key count."""
    wanted: _Wanted = {}
    for pointer in pointers:
        rest = wanted
        for part in _parts(pointer):
            rest = rest.setdefault(part, {})
    found: list[tuple[int, int]] = []
    if wanted:
        _find(text, _start(text), wanted, found)
    return found


def _find(text: str, start: int, wanted: _Wanted, found: list[tuple[int, int]]) -> int:
    """Adds the wanted values in the value at `start`. Returns its end."""
    if not wanted or text[start] not in "{[":
        end = _end(text, start)
        if not wanted:
            found.append((start, end))
        return end
    is_object, index = text[start] == "{", 0
    position = _skip(text, start + 1)
    while text[position] not in "}]":
        name = str(index)
        if is_object:
            name, position = _key(text, position)
        rest = wanted.get(name)
        position = _end(text, position) if rest is None else _find(text, position, rest, found)
        index += 1
        position = _after(text, position)
    return position + 1


def _start(text: str) -> int:
    """Where the value begins."""
    return _skip(text, text.startswith("\ufeff"))


def _parts(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


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
            name, position = _key(text, position)
        if name == key:
            found = position
            if not is_object:
                return found
        index += 1
        position = _after(text, _end(text, position))
    return found


def _key(text: str, position: int) -> tuple[str, int]:
    """The key at a position of an object, and where its value begins."""
    end = _end(text, position)
    return json.loads(text[position:end]), _skip(text, _skip(text, end) + 1)


def _after(text: str, end: int) -> int:
    """Where the next member begins after the end of a value, or the end of the object or array."""
    position = _skip(text, end)
    return _skip(text, position + 1) if text[position] == "," else position


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
