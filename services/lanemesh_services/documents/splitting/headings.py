"""The headings under which a chunk of Markdown stands."""

from __future__ import annotations

import re

_LINE = re.compile(r"^(?:(#{1,6})[ \t]+(.+)|(```|~~~).*)$", re.MULTILINE)


class Headings:
    """Follows the headings of one text, chunk by chunk."""

    def __init__(self) -> None:
        self._path: dict[int, str] = {}
        self._in_code = False

    def of(self, chunk: str) -> list[str]:
        """The headings of the next chunk, from the title down: those at its begin, else those before it."""
        path: list[str] | None = None
        end = 0
        for match in _LINE.finditer(chunk):
            if path is None and chunk[end : match.start()].strip():
                path = list(self._path.values())
            end = match.end()
            if match[3]:
                self._in_code = not self._in_code
            elif not self._in_code:
                level = len(match[1])
                self._path = {
                    **{above: text for above, text in self._path.items() if above < level},
                    level: _name(match[2]),
                }
        return list(self._path.values()) if path is None else path


def _name(text: str) -> str:
    """The text of a heading, without the marks that may close it."""
    return text.rstrip("#").rstrip(" \t") or text[0]
