"""Bounds of the JSON that clients send: how deep and how long its paths are, and that all of its text is valid Unicode."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from lanemesh.rendering import valid_unicode

from lanemesh_orchestrator.pipeline.faults import MAX_FAULTS, PipelineFault, escape, quoted

MAX_DEPTH = 64
"""Deepest nesting of objects and arrays in a document, and in the value of a setting."""
MAX_POINTER = 2_048
"""Maximum length of a JSON pointer to a value of a document, in characters: the keys on the path, and a slash for each."""

_SURROGATE = re.compile("[\ud800-\udfff]|\\\\u[dD][89a-fA-F]")
"""A surrogate, or the escape of one; a pair of escapes is one valid character."""

_Link = tuple["_Link | None", str]
"""The parts of a pointer, the last one first: pointers are made only for values with faults."""


def read_json(text: str) -> Any:
    """The value of a JSON text, without NaN, infinity and numbers that are beyond a double.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply for the parser.
    """
    return json.loads(text, parse_constant=no_constant, parse_float=finite)


def no_constant(name: str) -> NoReturn:
    """Raises ValueError for NaN and infinity."""
    raise ValueError(f"{name} is not a JSON number")


def finite(text: str) -> float:
    """The number of a text. Raises ValueError if it is beyond a double."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def limit_faults(tree: Any, text: str) -> list[PipelineFault]:
    """The parts of a parsed value that exceed the limits or are not valid Unicode; at most 1,001 faults.

    The time is linear in the size of the text.
    """
    checks_text = _SURROGATE.search(text) is not None
    faults: list[PipelineFault] = []
    rest: list[tuple[Any, _Link | None, int, int]] = [(tree, None, 0, 1)]
    if checks_text and isinstance(tree, str):
        faults.extend(_text_fault(tree, None))
    while rest and len(faults) <= MAX_FAULTS:
        value, link, length, depth = rest.pop()
        if depth > MAX_DEPTH:
            message = f"The document is nested too deeply; at most {MAX_DEPTH} levels are allowed (MAX_DEPTH)."
            return [PipelineFault("", "too-deep", message, "Nest its objects and arrays less deeply.")]
        for key, inner in _members(value):
            longer = length + len(escape(key)) + 1
            if longer > MAX_POINTER:
                faults.append(_too_long(key, longer, link))
                continue
            if checks_text and (fault := _key_fault(key, link)):
                faults.append(fault)
                continue
            if isinstance(inner, (dict, list)):
                rest.append((inner, (link, key), longer, depth + 1))
            elif checks_text and isinstance(inner, str):
                faults.extend(_text_fault(inner, (link, key)))
            if len(faults) > MAX_FAULTS:
                break
    return faults


def pointer_of(link: _Link | None) -> str:
    """The JSON pointer of linked parts."""
    parts: list[str] = []
    while link is not None:
        link, part = link
        parts.append(f"/{escape(part)}")
    return "".join(reversed(parts))


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, (dict, list, str)):
                yield str(index), inner


def _too_long(key: str, length: int, link: _Link | None) -> PipelineFault:
    message = (
        f"The key {valid_unicode(quoted(key))} has a path of {length:,} characters; "
        f"at most {MAX_POINTER:,} are allowed (MAX_POINTER)."
    )
    return PipelineFault(pointer_of(link), "too-long", message, "Use a shorter key.")


def _key_fault(key: str, link: _Link | None) -> PipelineFault | None:
    if _is_text(key):
        return None
    message = f"The key {valid_unicode(quoted(key))} is not valid Unicode: it holds half of a surrogate pair."
    return PipelineFault(pointer_of(link), "not-text", message, "Write the whole character, or remove it.")


def _text_fault(text: str, link: _Link | None) -> Iterator[PipelineFault]:
    if not _is_text(text):
        message = "This text is not valid Unicode: it holds half of a surrogate pair."
        yield PipelineFault(pointer_of(link), "not-text", message, "Write the whole character, or remove it.")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
