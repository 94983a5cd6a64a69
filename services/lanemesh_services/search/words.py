"""The words of texts, for searches of texts in stores without a tokenizer of their own, and for queries."""

from __future__ import annotations

import re

MAX_WORDS = 64
"""Most words of a query."""
_WORD = re.compile(r"\w+")

_STOP_WORDS = """
a an and are as at be been but by can did do does for from had has have how i if in into is it its me my no not of on or our so
such than that the their them then there these they this to up us was we were what when where which who whom whose why will with
would you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English words that occur in most texts, so that they say little of any."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def query_words(text: str) -> list[str]:
    """The different words of a query, without those that occur everywhere, unless it has no others; at most 64."""
    words = list(dict.fromkeys(words_of(text)))
    return ([word for word in words if word not in STOP_WORDS] or words)[:MAX_WORDS]
