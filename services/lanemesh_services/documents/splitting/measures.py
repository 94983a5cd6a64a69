"""How long a chunk is: in characters, in words and signs, or in the tokens of a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

MAX_TOKEN_CHARACTERS = 16
"""So many characters a token has on average at most; a longer text is cut before it is counted."""
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
    r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
"""Letters of scripts that have no spaces between words."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{1,{MAX_TOKEN_CHARACTERS}}}|[^\w\s]")
"""A unit: a word or 16 characters of a longer one, a letter of a script without spaces, or a sign."""


class Measure(Protocol):
    """Finds the places in a text that are a number of units away."""

    is_slow: bool
    """Even of a short text it takes so long that it belongs into a worker thread."""

    def limit(self, text: str, size: int, *, final: bool) -> int | None:
        """The end of the first `size` units of a text; None if it is not longer, or, unless it is final, may prove not to be."""

    def back(self, text: str, end: int, size: int) -> int:
        """The begin of the last `size` units before `end`."""


class Characters:
    """Counts characters."""

    is_slow = False

    def limit(self, text: str, size: int, *, final: bool) -> int | None:
        """The end of the first `size` characters."""
        return size if len(text) > size else None

    def back(self, text: str, end: int, size: int) -> int:
        """The begin of the last `size` characters before `end`."""
        return max(0, end - size)


class Words:
    """Counts words and signs, about as many as a model has tokens; needs no tokenizer.

    Of a long word each 16 characters count, and of a script without spaces between words each letter.
    """

    is_slow = False

    def limit(self, text: str, size: int, *, final: bool) -> int | None:
        """The end of the first `size` words and signs."""
        end = 0
        for count, match in enumerate(_WORD.finditer(text)):
            if count == size:
                return end
            end = match.end()
        return None

    def back(self, text: str, end: int, size: int) -> int:
        """The begin of the last `size` words and signs before `end`."""
        starts = [match.start() for match in _WORD.finditer(text, 0, end)]
        return starts[-size] if 0 < size <= len(starts) else (end if not size else 0)


class ModelTokens:
    """Counts the tokens of a model, by its tokenizer."""

    is_slow = True

    def __init__(self, file: Path) -> None:
        """`file` is a tokenizer.json. Raises ValueError or OSError if it is none."""
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises plain `Exception`s
            raise ValueError(f"{error!s:.300}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def limit(self, text: str, size: int, *, final: bool) -> int | None:
        """The end of the first `size` tokens. The last tokens of a text change when it goes on, so two more are wanted."""
        offsets = self._offsets(text[: (size + 3) * MAX_TOKEN_CHARACTERS])
        if len(offsets) > (size if final else size + 2):
            return max(1, offsets[size - 1][1])
        longer = len(text) > (size + 3) * MAX_TOKEN_CHARACTERS
        return offsets[min(size, len(offsets)) - 1][1] if longer and offsets else None

    def back(self, text: str, end: int, size: int) -> int:
        """The begin of the last `size` tokens before `end`."""
        start = max(0, end - size * MAX_TOKEN_CHARACTERS)
        offsets = self._offsets(text[start:end])
        return start + offsets[-size][0] if 0 < size <= len(offsets) else (end if not size else start)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        # `encode` stops all threads meanwhile; `encode_batch` does not.
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        return [(begin, end) for begin, end in encoding.offsets if end > begin]
