"""JSON values as lanes carry them: checked, copied, and immutable where they are frozen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Never, TypeAlias
from uuid import UUID

from lanemesh.rendering import rendered

Json: TypeAlias = bool | int | float | str | list[Any] | dict[str, Any] | None
"""A JSON value. Integers lie in -2^63 to 2^63-1; NaN and infinity do not occur; objects have text keys."""

INT_MIN = -(2**63)
"""Least integer of a JSON value that a lane carries."""
INT_MAX = 2**63 - 1
"""Greatest integer of a JSON value that a lane carries."""
MAX_JSON_DEPTH = 100
"""Deepest nesting of lists and objects in a JSON value."""


class FrozenDict(dict[str, Any]):
    """A JSON object that cannot change. Equal to a dict with the same items."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> Never:
        raise TypeError("values on lanes are immutable; change a copy, made by dict(...)")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted((key, repr(value)) for key, value in self.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return (FrozenDict, (dict(self),))


def freeze_json(value: Any, depth: int = 0) -> Any:
    """Copies a JSON value into immutable form: objects become :class:`FrozenDict`, lists become tuples.

    Raises:
        TypeError: something in it is not a JSON value, or an object has a key that is no text.
        ValueError: a number is NaN, infinite or beyond 64 bits, a text is not valid Unicode, or the nesting is deeper than 100.
    """
    return _copy(value, depth, frozen=True)


def copy_json(value: Any) -> Any:
    """Copies a JSON value into plain lists and dicts that no other code holds, and checks that a lane can carry it.

    Raises:
        TypeError: something in it is not a JSON value, or an object has a key that is no text.
        ValueError: a number is NaN, infinite or beyond 64 bits, a text is not valid Unicode, or the nesting is deeper than 100.
    """
    return _copy(value, 0, frozen=False)


def _copy(value: Any, depth: int, *, frozen: bool) -> Any:
    kind = type(value)
    if kind is str:
        check_text(value)
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise ValueError(f"an integer of {value.bit_length()} bits does not fit in 64 bits")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        return value
    if depth >= MAX_JSON_DEPTH:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {rendered(key)} of an object is not a string; write str(key)")
            check_text(key)
        copied = {str.__str__(key): _copy(item, depth + 1, frozen=frozen) for key, item in value.items()}
        return FrozenDict(copied) if frozen else copied
    if isinstance(value, (list, tuple)):
        items = [_copy(item, depth + 1, frozen=frozen) for item in value]
        return tuple(items) if frozen else items
    if isinstance(value, str):  # subclasses, such as enums, whose `str()` is their name
        return _copy(str.__str__(value), depth, frozen=frozen)
    for base in (int, float):  # such as numpy's float64
        if isinstance(value, base):
            return _copy(base(value), depth, frozen=frozen)
    if is_scalar(value):
        return _copy(plain_number(value), depth, frozen=frozen)
    raise TypeError(f"{kind.__name__} is not a JSON value; write {_instead(value)}")


def is_scalar(value: Any) -> bool:
    """It is a scalar of numpy or the like, or an array of one number and no dimension."""
    return hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "ndim", None) == 0


def plain_number(value: Any) -> Any:
    """A scalar of numpy or the like as Python's own number, truth value or text, an array as lists of them.

    Raises:
        TypeError: it is neither, or holds something that JSON cannot express.
    """
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        plain = value.tolist() if not is_scalar(value) else value.item()
        if is_scalar(plain):  # numpy's longdouble has no counterpart
            plain = float(plain)
        if isinstance(plain, bool | int | float | str | list):
            return plain
    raise TypeError(f"{type(value).__name__} is not a JSON value; write {_instead(value)}")


def _instead(value: Any) -> str:
    """What to write for a value that JSON cannot express."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "dataclasses.asdict(x)"
    for attribute, written in _BY_ATTRIBUTE.items():
        if hasattr(type(value), attribute):
            return written
    for kinds, written in _BY_TYPE.items():
        if isinstance(value, kinds):
            return written
    if hasattr(type(value), "__iter__"):
        return "list(x)"
    return "str(x), or a number, text, list or dict that represents it"


_BY_ATTRIBUTE = {
    "model_dump": 'x.model_dump(mode="json")',
    "tolist": "x.tolist()",
    "isoformat": "x.isoformat()",
    "total_seconds": "x.total_seconds()",
}
_BY_TYPE: dict[type | tuple[type, ...], str] = {
    Enum: "x.value",
    Decimal: "float(x), or str(x) to keep every digit",
    UUID: "str(x)",
    PurePath: "str(x)",
    complex: "[x.real, x.imag]",
    (bytes, bytearray, memoryview): "x.decode() if it is text, else base64.b64encode(x).decode()",
    (set, frozenset): "sorted(x) or list(x)",
    Awaitable: "await x",
    type: "an instance of it, or its name",
}


def check_text(text: str) -> int:
    """Returns the size of a text in bytes of UTF-8. Raises ValueError if it cannot be encoded (a lone surrogate)."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"the text is not valid Unicode: {error.reason} at {error.start}") from None
