"""How well entries match a query: by their words, or by the angle between embeddings. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from operator import mul

from lanemesh import MemoryEntry

MAX_WORDS = 32
"""Most different words of a query that are searched; further ones are left out."""
MAX_WORD_CHARACTERS = 64
"""Most characters of a word of a query; longer ones are cut."""
MAX_SEARCHED_BYTES = 256 * 1024
"""Most bytes of UTF-8 of an entry's text that searches match, from its beginning: 256 KiB."""

_WORD = re.compile(r"[^\W_]+")


def words_of(query: str) -> tuple[str, ...]:
    """The different words of a query, without case: letters and digits, all else separates them."""
    words = dict.fromkeys(word[:MAX_WORD_CHARACTERS] for word in split_words(query))
    return tuple(words)[:MAX_WORDS]


def split_words(text: str) -> list[str]:
    """The words of a text, without case."""
    return _WORD.findall(text.casefold())


def searched_text(entry: MemoryEntry) -> str:
    """The text of an entry that searches match: its own, or else its value."""
    text = entry.text or (entry.value if isinstance(entry.value, str) else json_of(entry))
    if len(text) * 4 > MAX_SEARCHED_BYTES:
        text = text.encode()[:MAX_SEARCHED_BYTES].decode("utf-8", "ignore")
    return text.replace("\0", " ")


def json_of(entry: MemoryEntry) -> str:
    """The value of an entry as JSON text."""
    return json.dumps(entry.value, ensure_ascii=False, separators=(",", ":"))


def word_score(folded: str, words: Sequence[str]) -> float:
    """The part of the words that begin a word of a text, which is given without case."""
    if not words:
        return 0.0
    return sum(_begins_a_word(folded, word) for word in words) / len(words)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two embeddings of one length, from 0 to 1; 0 for opposed ones and for zeros."""
    norms = math.hypot(*one) * math.hypot(*other)
    return min(1.0, max(0.0, sum(map(mul, one, other)) / norms)) if norms and math.isfinite(norms) else 0.0


def _begins_a_word(folded: str, word: str) -> bool:
    place = folded.find(word)
    while place > 0 and (folded[place - 1].isalnum()):
        place = folded.find(word, place + 1)
    return place >= 0
