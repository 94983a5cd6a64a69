"""References to stored results, such as {{memory.wave-2.r1:markdown_table}}, in arguments and in the answer.

Only what the model itself wrote is resolved, once: a result that contains a reference is inserted as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from lanemesh.extend import in_thread

from lanemesh_services.agent.formats import render
from lanemesh_services.agent.result_store import ResultStore

_REFERENCE = re.compile(r"\{\{\s*memory\.([A-Za-z0-9_.-]+)\s*((?:/[^:{}]*|\$[^:{}]*)?)(?::([a-z_]+)\s*)?\}\}")
MAX_REFERENCE = 300
"""Longest reference in a streamed answer, in characters; longer ones are text."""
MAX_INSERTED = 4 * 1024 * 1024
"""Most characters that the references of one call, or of one answer, insert together."""
MAX_REFERENCES = 1_000
"""Most references of one call, or of one answer."""
LARGE = 64 * 1024
"""Characters of all results above which references are resolved in a worker thread: tables of them take seconds."""

T = TypeVar("T")


class TooMuchInserted(ValueError):
    """The references of a call or an answer insert too much."""


class Insertions:
    """What the references of one call, or of one answer, insert together."""

    def __init__(self, store: ResultStore, of: str) -> None:
        """`of`: "call" or "answer", for errors."""
        self._store = store
        self._of = of
        self._characters = self._references = self._refused_characters = 0
        self._texts: dict[tuple[str, ...], str] = {}
        """What was inserted, by key, path and format."""
        self._refused: set[tuple[str, ...]] = set()

    def value(self, match: re.Match[str]) -> Any:
        """The value of a reference. Raises ValueError if it names no result; `TooMuchInserted` if all are too large together."""
        self._count()
        value = self._store.value(match[1], match[2].strip())
        self._add(len(value) if isinstance(value, str) else len(json.dumps(value, ensure_ascii=False)))
        return value

    def text(self, match: re.Match[str]) -> str:
        """The text of a reference. Raises as `value` does."""
        part = match[1], match[2].strip(), match[3] or "text"
        self._count()
        text = self._texts.get(part)
        if text is not None:
            self._add(len(text))
            return text
        if part in self._refused or self._refused_characters > MAX_INSERTED:  # not written again only to be refused
            raise self._too_much()
        text = render(self._store.value(*part[:2]), part[2])
        try:
            self._add(len(text))
        except TooMuchInserted:
            self._refused.add(part)
            self._refused_characters += len(text)
            raise
        self._texts[part] = text
        return text

    def _count(self) -> None:
        self._references += 1
        if self._references > MAX_REFERENCES:
            raise TooMuchInserted(f"one {self._of} may have at most {MAX_REFERENCES:,} references")

    def _add(self, characters: int) -> None:
        if self._characters + characters > MAX_INSERTED:
            raise self._too_much()
        self._characters += characters

    def _too_much(self) -> TooMuchInserted:
        what = f"the references of one {self._of} may insert at most {MAX_INSERTED:,} characters together"
        return TooMuchInserted(f"{what}. Refer to parts, such as {{{{memory.KEY/rows/0}}}}")


async def resolved_arguments(value: Any, store: ResultStore) -> Any:
    """The arguments of one call with the values of their references. A text that is one reference without a format becomes the
    value itself.

    Raises:
        ValueError: a reference names no result, or the results are too large together.
    """
    return await _resolved(store, _resolved_value, value, Insertions(store, "call"))


def _resolved_value(value: Any, insertions: Insertions) -> Any:
    if isinstance(value, dict):
        return {key: _resolved_value(one, insertions) for key, one in value.items()}
    if isinstance(value, list):
        return [_resolved_value(one, insertions) for one in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    whole = _REFERENCE.fullmatch(value.strip())
    if whole and not whole[3]:
        return insertions.value(whole)
    return _REFERENCE.sub(insertions.text, value)


def resolved_text(text: str, insertions: Insertions) -> str:
    """A text of the answer with the results of its references. A reference that names no result stays as it is; in the place of one
    that would insert too much is a note."""

    def written(match: re.Match[str]) -> str:
        try:
            return insertions.text(match)
        except TooMuchInserted as error:
            return f"[{match[1]} is left out: {error}]"
        except ValueError:
            return match[0]

    return _REFERENCE.sub(written, text)


async def _resolved(store: ResultStore, resolve: Callable[..., T], *arguments: Any) -> T:
    """What a function returns, which resolves references to results of the store."""
    if store.characters > LARGE:
        return await in_thread(resolve, *arguments)
    return resolve(*arguments)


class ReferenceStream:
    """Resolves the references of an answer that arrives in pieces. Holds back what may be the beginning of one."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._insertions = Insertions(store, "answer")
        self._held = ""

    async def push(self, piece: str) -> str:
        """Adds a piece; returns the text that is complete."""
        if not self._held and "{" not in piece:
            return piece
        text = self._held + piece
        opening = text.rfind("{{")
        if opening >= 0 and "}}" not in text[opening:] and len(text) - opening <= MAX_REFERENCE:
            done = opening
        else:
            done = len(text) - 1 if text.endswith("{") else len(text)
        self._held = text[done:]
        return await self._resolved(text[:done])

    async def finish(self) -> str:
        """The rest at the end of the text."""
        rest, self._held = self._held, ""
        return await self._resolved(rest)

    async def _resolved(self, text: str) -> str:
        if "{{" not in text:
            return text
        return await _resolved(self._store, resolved_text, text, self._insertions)
