"""Values and errors of user code as text: bounded in length, valid Unicode, and never a failure of the one who asks for it."""

from __future__ import annotations

import reprlib
from typing import Any

MAX_TEXT = 1 << 20
"""Longest text of a value or an error, in characters, that is processed further; a longer one is cut."""


class _Bounded(reprlib.Repr):
    """`repr` with bounds, whatever an object's own `__repr__` does."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = limit + 8
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxarray = limit
        self.maxdict = limit
        self.maxlevel = 8

    def repr1(self, x: Any, level: int) -> str:
        """One value. The methods of the base class expect that builtin containers behave; subclasses of them may not."""
        if type(x).__repr__ not in _TRUSTED:
            return self.repr_instance(x, level)
        try:
            return super().repr1(x, level)
        except BaseException as error:
            return _unrenderable(x, error)

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Bytes: no more of them than are shown."""
        return self.repr_str(x, level)  # type: ignore[arg-type]

    repr_bytearray = repr_bytes

    def repr_instance(self, x: Any, level: int) -> str:
        """Any other object."""
        try:
            text = repr(x)
        except BaseException as error:
            return _unrenderable(x, error)
        return text if len(text) <= self.maxother else text[: self.maxother - 3] + "..."


_TRUSTED = {
    kind.__repr__ for kind in (str, bytes, bytearray, int, float, bool, list, tuple, dict, set, frozenset, type(None))
}


def rendered(value: Any, limit: int = 80) -> str:
    """The `repr` of a value in at most `limit` characters; its type and the reason if it cannot be made."""
    text = valid_unicode(_Bounded(limit).repr1(value, 8))
    return text if len(text) <= limit else text[: max(0, limit - 3)] + "..."


def shortened(text: str, limit: int, omitted: int = 0) -> str:
    """The first `limit` characters of a text, with a mark that has the number of the others and of those that were `omitted`
    before."""
    omitted += max(0, len(text) - limit)
    return f"{text[:limit]}... ({omitted:,} more characters)" if omitted else text


def text_of(value: Any) -> str:
    """The `str` of a value or an error; the reason in angle brackets if it cannot be made. At most 1,048,576 characters."""
    try:
        text = str(value)
        if type(text) is not str:
            text = str.__str__(text)
    except BaseException as failure:
        return f"<cannot be formatted: {_raised(failure)}>"
    return valid_unicode(text[:MAX_TEXT])


def valid_unicode(text: str) -> str:
    """The text with the surrogates, which no UTF-8 holds, as escapes."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode()


def _unrenderable(value: Any, failure: BaseException) -> str:
    return f"<{type(value).__name__} that cannot be formatted: {_raised(failure)}>"


def _raised(failure: BaseException) -> str:
    """The type of what `__repr__` or `__str__` raised. Its own text may be no better. Ctrl-C goes on."""
    from lanemesh._aio.user_errors import is_interrupt

    if is_interrupt(failure):
        raise failure
    return f"{type(failure).__name__} was raised"
