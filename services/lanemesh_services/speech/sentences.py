"""Splits text that still streams in into sentences, and removes what is not spoken. Pure."""

from __future__ import annotations

import re

MAX_SENTENCE = 300
"""Longest sentence in characters; longer ones are split between words."""
FIRST_CLAUSE = 8
"""Least length of the first clause of a text that is spoken by itself, so that the first sound comes early, in characters."""
SLICE = 4_000
"""Characters of a text that are taken at a time."""

_END = re.compile(r"[.!?…]+[\"'”’)\]*_]*(?=\s)|[。！？]+|\n+")
_CLAUSE = re.compile(r"[,;:–—]\s")
_SHORT = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|approx|No|Nr|ca|bzw|z\.B|d\.h|usw|Vol|Fig|p|pp)\.$"
)
_NUMBERED = re.compile(r"(?:^|\n)\s*\d{1,3}\.$")
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
_ADDRESS = re.compile(r"https?://(?:www\.)?([^/\s)]+)\S*")
_MARKUP = re.compile(r"[*_`#|~<>]+|^\s*[-+]\s+", re.MULTILINE)


class SentenceSplitter:
    """Splits one text. It keeps less than a sentence."""

    def __init__(self, *, first_clause: bool = True) -> None:
        """`first_clause`: the first clause of the text is a sentence of its own."""
        self._held = ""
        self._first = first_clause

    def push(self, text: str) -> list[str]:
        """Adds text; returns the sentences that are complete."""
        spoken = []
        for start in range(0, len(text), SLICE):  # what is left of a long text is copied with each sentence
            self._held += text[start : start + SLICE]
            while (end := self._end()) is not None:
                spoken += self._spoken([self._held[:end]])
                self._held = self._held[end:]
        return spoken

    def finish(self) -> list[str]:
        """Ends the text; returns what is left of it."""
        rest, self._held = self._held, ""
        return self._spoken([rest])

    def _spoken(self, sentences: list[str]) -> list[str]:
        spoken = [text for sentence in sentences if (text := speakable(sentence))]
        self._first = self._first and not spoken
        return spoken

    def _end(self) -> int | None:
        end = self._sentence_end()
        if self._first:
            clause = _CLAUSE.search(self._held, FIRST_CLAUSE, min(end or MAX_SENTENCE, MAX_SENTENCE))
            if clause is not None:
                self._first = False
                return clause.end()
        return end

    def _sentence_end(self) -> int | None:
        for found in _END.finditer(self._held, 0, MAX_SENTENCE + 2):
            before = self._held[: found.end()]
            if found[0] == "." and (_SHORT.search(before) or _NUMBERED.search(before)):
                continue
            if found.end() > MAX_SENTENCE:
                break
            return found.end()
        if len(self._held) <= MAX_SENTENCE:
            return None
        clauses = [clause.end() for clause in _CLAUSE.finditer(self._held, MAX_SENTENCE // 3, MAX_SENTENCE)]
        blank = self._held.rfind(" ", 1, MAX_SENTENCE)
        return clauses[-1] if clauses else blank if blank > 0 else MAX_SENTENCE


def speakable(text: str) -> str:
    """A text without the marks of Markdown and without the paths of addresses; empty if there is no letter and no digit in it."""
    text = _ADDRESS.sub(r"\1", _LINK.sub(r"\1", text))
    text = " ".join(_MARKUP.sub(" ", text).split())
    return text if any(character.isalnum() for character in text) else ""
