"""Pseudonyms: what stands for a name, kept in a memory so that it can be taken back.

A pseudonym such as <PERSON_K7QF3> is made of the name and a key, so a name has the same one in all texts of a run or session, on
every server, without a counter. The memory has the name for each pseudonym, encrypted if there is a key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

CODE = 5
"""Characters of a code; more if two names would have the same."""
MAX_CODE = 13
PATTERN = re.compile(r"<([A-Z][A-Z0-9_]{0,40})_([A-Z2-7]{5,13})>")
"""A pseudonym in a text."""
MAX_LENGTH = 60
"""Longest pseudonym, in characters."""


class WrongKey(Exception):
    """A name was stored with another key."""


class Pseudonyms:
    """The pseudonyms of one run or session."""

    def __init__(self, memory: Any, key: str) -> None:
        """`memory` is the memory of the run or session. `key` encrypts the names in it; empty: they are stored in clear."""
        self._memory = memory
        self._key = key.encode()
        self._cipher = _cipher(key) if key else None

    async def of(self, label: str, name: str) -> str:
        """The pseudonym of a name, which is stored."""
        digest = hmac.new(self._key, f"{label}\0{name}".encode(), hashlib.sha256).digest()
        code = base64.b32encode(digest).decode()
        for length in range(CODE, MAX_CODE + 1):
            pseudonym = f"{label}_{code[:length]}"
            entry = await self._memory.get(_place(pseudonym))
            if entry is None:
                await self._memory.put(_place(pseudonym), self._hidden(name))
                return f"<{pseudonym}>"
            if self._shown(entry.value) == name:
                return f"<{pseudonym}>"
        raise RuntimeError(f"two names have the same code of {MAX_CODE} characters")

    async def taken_back(self, text: str) -> tuple[str, int]:
        """The text with the names for its pseudonyms, and how many pseudonyms are unknown. Raises WrongKey."""
        pieces: list[str] = []
        end = unknown = 0
        for match in PATTERN.finditer(text):
            entry = await self._memory.get(_place(match.group()[1:-1]))
            unknown += entry is None
            pieces += [text[end : match.start()], match.group() if entry is None else self._shown(entry.value)]
            end = match.end()
        return "".join([*pieces, text[end:]]), unknown

    def _hidden(self, name: str) -> Any:
        if self._cipher is None:
            return {"name": name}
        return {"encrypted": self._cipher.encrypt(name.encode()).decode()}

    def _shown(self, stored: Any) -> str:
        from cryptography.fernet import InvalidToken

        if self._cipher is None:
            if "name" not in stored:
                raise WrongKey
            return str(stored["name"])
        try:
            return str(self._cipher.decrypt(stored["encrypted"].encode()).decode())
        except (InvalidToken, KeyError):
            raise WrongKey from None


def replaced(text: str, places: Sequence[tuple[int, int, str]]) -> str:
    """A text with others at some of its places, which are in order and do not overlap."""
    pieces: list[str] = []
    end = 0
    for start, stop, other in places:
        pieces += [text[end:start], other]
        end = stop
    return "".join([*pieces, text[end:]])


def open_end(text: str) -> int:
    """How many characters at the end of a text may be the begin of a pseudonym."""
    start = text.rfind("<", max(0, len(text) - MAX_LENGTH))
    if start < 0 or not re.fullmatch(r"<(?:[A-Z][A-Z0-9_]*)?", text[start:]):
        return 0
    return len(text) - start


def _place(pseudonym: str) -> str:
    return f"pseudonym/{pseudonym}"


@lru_cache(maxsize=8)
def _cipher(key: str) -> Any:
    from cryptography.fernet import Fernet

    derived = hashlib.scrypt(key.encode(), salt=b"lanemesh pseudonyms", n=2**14, r=8, p=1, dklen=32)
    return Fernet(base64.urlsafe_b64encode(derived))
