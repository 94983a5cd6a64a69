"""JSON text: reads it into values that lanes can carry, and writes values as JSON."""

from __future__ import annotations

import json
import re
from typing import Any, Never

from lanemesh.json_values import INT_MAX, INT_MIN, MAX_JSON_DEPTH, check_text, copy_json, plain_number

_MAX_DIGITS = len(str(INT_MIN))
"""Most characters of an integer of 64 bits."""
_OUTSIDE_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[^\[\]{}"]++', re.DOTALL)
"""Strings, also one that does not end, and what is neither string nor bracket. Possessive, so that it is linear in any text."""


def read_json(text: str) -> Any:
    """The value of a JSON text (RFC 8259), in plain lists and dicts.

    Raises:
        ValueError: the text is not JSON, or lanes cannot carry what it holds: an integer beyond 64 bits, NaN or infinity, a number
            beyond a double's range, half a surrogate pair, a key that is duplicated in an object, or more than 100 levels.
    """
    if json_depth(text) > MAX_JSON_DEPTH:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
    return copy_json(_DECODER.decode(text))


def dump_json(value: Any) -> str:
    """JSON as text, compact. Raises ValueError on NaN and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_json(value: Any) -> str:
    """A value as JSON text: what JSON has, and dataclasses, pydantic models, dates, sets, numbers of numpy and the like.

    Raises:
        TypeError: JSON cannot express it, or something in it.
        ValueError: a number is NaN or infinite, or a text is not valid Unicode.
        RecursionError: it is nested too deep, or contains itself.
    """
    from pydantic_core import to_jsonable_python

    text = json.dumps(to_jsonable_python(value, fallback=plain_number), ensure_ascii=False, allow_nan=False)
    check_text(text)
    return text


def json_depth(text: str) -> int:
    """Most brackets that are open at once, strings left out. The parser's own recursion must not meet more than it can take."""
    depth = deepest = 0
    for bracket in _OUTSIDE_BRACKETS.sub("", text):
        if bracket in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _integer_of_64_bits(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or not INT_MIN <= int(digits) <= INT_MAX:
        raise ValueError(f"the integer {digits[:40]} does not fit in 64 bits")
    return int(digits)


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} is duplicated in an object")
    return made


_DECODER = json.JSONDecoder(parse_int=_integer_of_64_bits, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
