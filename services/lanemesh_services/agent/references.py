"""References to stored results, such as {{memory.wave-2.r1:markdown_table}}, in arguments and in the answer.

Only what the model itself wrote is resolved, once: a result that contains a reference is inserted as it is.
"""

from __future__ import annotations

import re
from typing import Any

from lanemesh_services.agent.formats import render
from lanemesh_services.agent.result_store import ResultStore

_REFERENCE = re.compile(r"\{\{\s*memory\.([A-Za-z0-9_.-]+)\s*((?:/[^:{}]*|\$[^:{}]*)?)(?::([a-z_]+)\s*)?\}\}")
MAX_REFERENCE = 300
"""Longest reference in a streamed answer, in characters; longer ones are text."""
MAX_INSERTED = 4 * 1024 * 1024
"""Most characters that the references of one text may insert."""


def resolved_arguments(value: Any, store: ResultStore) -> Any:
    """Arguments with the values of their references. A text that is one reference without a format becomes the value itself.

    Raises:
        ValueError: a reference names no result, or the results are too large.
    """
    if isinstance(value, dict):
        return {key: resolved_arguments(one, store) for key, one in value.items()}
    if isinstance(value, list):
        return [resolved_arguments(one, store) for one in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    whole = _REFERENCE.fullmatch(value.strip())
    if whole and not whole[3]:
        return store.value(whole[1], whole[2].strip())
    return _resolved(value, store)


def resolved_text(text: str, store: ResultStore) -> str:
    """A text of the answer with the results of its references. A reference that names no result stays as it is."""
    return _resolved(text, store, strict=False)


def _resolved(text: str, store: ResultStore, *, strict: bool = True) -> str:
    inserted = 0

    def written(match: re.Match[str]) -> str:
        nonlocal inserted
        try:
            found = render(store.value(match[1], match[2].strip()), match[3] or "text")
            if inserted + len(found) > MAX_INSERTED:
                raise ValueError(f"the references of one text insert more than {MAX_INSERTED:,} characters")
        except ValueError:
            if strict:
                raise
            return match[0]
        inserted += len(found)
        return found

    return _REFERENCE.sub(written, text)


class ReferenceStream:
    """Resolves the references of a text that arrives in pieces. Holds back what may be the beginning of one."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._held = ""

    def push(self, piece: str) -> str:
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
        return resolved_text(text[:done], self._store)

    def finish(self) -> str:
        """The rest at the end of the text."""
        rest, self._held = self._held, ""
        return resolved_text(rest, self._store)
