"""The results of one question, by their keys: "wave-2.r1" is the first result of the second wave."""

from __future__ import annotations

import json
from typing import Any

from lanemesh.extend import read_json

from lanemesh_services.agent.paths import value_at

MAX_CHARACTERS = 32 * 1024 * 1024
"""Most characters of all results of one question; the oldest are dropped."""
MAX_PEEK = 8_000
"""Most characters of one peek."""
HEAD = 1_000
"""Characters of a result that its summary shows, in a full context."""


class ResultStore:
    """The results of one question. A key that was never stored, or was dropped, raises ValueError with the known keys."""

    def __init__(self) -> None:
        self._contents: dict[str, str] = {}
        self._latest: tuple[str, Any] = "", None
        """A content and its value: several references to one result parse it once."""
        self.characters = 0
        """Characters of all results."""
        self._dropped = 0

    def add(self, key: str, content: str) -> None:
        """Stores a result: JSON text."""
        self._contents[key] = content
        self.characters += len(content)
        while self.characters > MAX_CHARACTERS and len(self._contents) > 1:
            oldest = next(iter(self._contents))
            self.characters -= len(self._contents.pop(oldest))
            self._dropped += 1

    def value(self, key: str, path: str = "") -> Any:
        """A result, or the part of it at a path."""
        content = self._content(key)
        known, value = self._latest  # at once: other threads may replace it
        if known is not content:
            try:
                value = read_json(content)
            except ValueError:
                value = content
            self._latest = content, value
        return value_at(value, path)

    def peek(self, key: str, path: str = "", start: int = 0, length: int = MAX_PEEK) -> dict[str, Any]:
        """A part of a result: items of a list, or characters of a text or of the JSON of an object."""
        value = self.value(key, path)
        start, length = max(0, start), max(1, min(length, MAX_PEEK))
        if isinstance(value, list):
            return _items(value, start, length)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return {"characters": len(text), "start": start, "part": text[start : start + length]}

    def summary(self, key: str, head: int = HEAD) -> str:
        """A result in short, as JSON text: its shape, its beginning, and how to read it."""
        content = self._content(key)
        try:
            shape = _shape(read_json(content))
        except ValueError:
            shape = "text"
        note = f"first {min(head, len(content))} of {len(content)} characters"
        return json.dumps(
            {"truncated": content[:head], "note": note, "type": shape, "key": key, "hint": HINT}, ensure_ascii=False
        )

    def keyed(self, key: str) -> str:
        """A result with its key, as JSON text."""
        return f'{{"key": {json.dumps(key)}, "hint": {json.dumps(HINT)}, "result": {self._content(key)}}}'

    def _content(self, key: str) -> str:
        if key in self._contents:
            return self._contents[key]
        known = ", ".join(list(self._contents)[-20:]) or "none"
        lost = f"; {self._dropped} older ones were dropped" if self._dropped else ""
        raise ValueError(f'there is no result "{key:.100}"; the keys: {known}{lost}')


HINT = (
    "{{memory.KEY}} in an argument or in the answer inserts the result; {{memory.KEY/rows/0:markdown_table}} a part of it in a "
    "format: json, text, markdown_table, csv, list or count. peek reads a part."
)
"""How a model uses a stored result."""


def _items(value: list[Any], start: int, length: int) -> dict[str, Any]:
    part: list[Any] = []
    characters = 0
    for item in value[start : start + length]:
        characters += len(json.dumps(item, ensure_ascii=False))
        if characters > MAX_PEEK and part:
            break
        part.append(item)
    if characters > MAX_PEEK and len(part) == 1:
        text = json.dumps(part[0], ensure_ascii=False)
        return {"items": len(value), "start": start, "part": text[:MAX_PEEK], "note": "one item, cut: give its path"}
    return {"items": len(value), "start": start, "part": part}


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(list(value)[:20])}"
    if isinstance(value, list):
        inner = f", the first one {_shape(value[0])}" if value and isinstance(value[0], dict) else ""
        return f"a list of {len(value)}{inner}"
    return {str: "a text", bool: "a boolean", int: "a number", float: "a number"}.get(type(value), "null")
