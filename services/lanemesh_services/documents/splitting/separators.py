"""Where a text is cut: places from the strongest to the weakest, for prose, sentences, Markdown and code."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SENTENCE = (
    r"(?<![.\s]\w)(?<!\b[A-Z])(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bMrs)(?<!\bProf)(?<!\bNo)(?<!\bvs)(?<!\bca)(?<!\bNr)"
    r"(?<![.!?…])[.!?…]+[\"'”’)\]]*\s+|[。！？]+[」』”]?"
)
"""The end of a sentence, after which it is cut: not after an initial or a common abbreviation. A long row of its marks is looked at
once, from its begin."""
_LINES = (r"\n\s*\n+", r"\n+")
WEAK: Sequence[str] = (r"[;:,]\s+", r"\s+")
"""Places within a sentence: clauses and words."""
PROSE: Sequence[str] = (*_LINES, _SENTENCE, *WEAK)
"""Paragraphs, lines, sentences, clauses, words."""
SENTENCES: Sequence[str] = (rf"{_SENTENCE}|\n\s*\n+", r"\s+")
"""Sentences and paragraphs alike, then words."""


def of_language(language: str) -> Sequence[str]:
    """The places to cut a text of a language at, such as "python" or "markdown", as langchain-text-splitters knows them; then
    those of prose.

    Raises:
        ValueError: langchain-text-splitters does not know the language.
    """
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    known = RecursiveCharacterTextSplitter.get_separators_for_language(Language(language))
    return (*(separator for separator in known if separator.strip(" \n")), *PROSE)


def languages() -> list[str]:
    """The languages of code that langchain-text-splitters knows."""
    from langchain_text_splitters import Language, RecursiveCharacterTextSplitter

    found = []
    for language in Language:
        try:
            RecursiveCharacterTextSplitter.get_separators_for_language(language)
        except ValueError:
            continue
        found.append(language.value)
    return found


def compiled(separators: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """The separators as patterns."""
    return tuple(re.compile(separator) for separator in separators)


def cut_after(match: re.Match[str]) -> int:
    """Where a match cuts: after it, or where the line of a heading or a definition begins."""
    text = match.group()
    return match.start() + 1 if text[0] == "\n" and text.strip() else match.end()
