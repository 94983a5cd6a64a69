"""Text on a terminal, broken between words."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

from rich.cells import cell_len

from lanemesh_orchestrator.cli.output.printer import Page

_PART = re.compile(r"\n|[ \t]+|[^ \t\n]+")


class WordWrapper:
    """A page that breaks the lines of its text between words, at the terminal's width.

    Text may come in pieces of any size: a word is written when it is complete, at a space, a line break, `note` or `flush`. Bytes
    are written unchanged.
    """

    def __init__(
        self, page: Page, width: Callable[[], int] = lambda: shutil.get_terminal_size((100, 24)).columns
    ) -> None:
        self._page = page
        self._width = width
        self._column = 0
        """Width of what the present line has."""
        self._space = ""
        """White space before the word that is held; a break replaces it."""
        self._word = ""
        """The last word so far, which may go on."""

    def out(self, data: str | bytes) -> None:
        """Writes text, apart from a last word that may go on, or bytes."""
        if isinstance(data, bytes):
            self.flush()
            self._page.out(data)
            return
        written = [text for part in _PART.findall(data) for text in self._take(part)]
        if written:
            self._page.out("".join(written))

    def note(self, text: str, *, dim: bool = False) -> None:
        """Writes a note beside the text, on separate lines."""
        self.flush()
        self._column = 0
        self._page.note(text, dim=dim)

    def flush(self) -> None:
        """Writes the word that is held."""
        if text := self._end_word():
            self._page.out(text)

    def _take(self, part: str) -> list[str]:
        """Takes a line break, white space, or a piece of a word. Returns what can be written by now."""
        if part == "\n":
            text = self._end_word() + "\n"
            self._column, self._space = 0, ""
            return [text]
        if part[0] in " \t":
            text = self._end_word()
            self._space += part.expandtabs(4)
            return [text]
        self._word += part
        # A word wider than the terminal is not held: the terminal breaks it.
        return [self._end_word()] if len(self._word) > self._width() else []

    def _end_word(self) -> str:
        """The word that is held, after its white space or a line break; empty if there is none."""
        word, space = self._word, self._space
        if not word:
            return ""
        self._word = self._space = ""
        size = cell_len(word)
        if self._column and self._column + len(space) + size > self._width():
            self._column = size
            return f"\n{word}"
        self._column += len(space) + size
        return space + word
