"""An incremental recogniser of JSON objects (RFC 8259) in pieces of text. Pure."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any, Never

from lanemesh.extend import INT_MAX, INT_MIN, MAX_JSON_DEPTH, copy_json

_WHITE = " \t\r\n"
_SCALAR = frozenset("+-.0123456789abcdefghijklmnopqrstuvwxyzE")
_IN_STRING = re.compile(r'[^"\\\x00-\x1f]+')


class TooLong(Exception):
    """An object is longer than the limit."""

    def __init__(self, begin: str) -> None:
        super().__init__(begin)
        self.begin = begin
        """Its beginning."""


class _Next(Enum):
    """The next valid element of an object."""

    KEY_OR_END = "a key or }"
    KEY = "a key"
    COLON = "a colon"
    VALUE = "a value"
    VALUE_OR_END = "a value or ]"
    COMMA_OR_END = "a comma or the end"


class JsonScanner:
    """Returns each outermost object of a text when its last brace has arrived.

    A brace that begins no object is text, and the search continues directly after it. Keeps at most `size` characters besides the
    current piece. Each character is read a bounded number of times, because objects nest at most 100 deep.
    """

    def __init__(self, size: int) -> None:
        """`size`: maximum length of an object in characters."""
        self._size = size
        self.left_out: list[str] = []
        """Why JSON objects were dropped that no lane can carry; the user of the scanner clears it."""
        self._held: list[str] = []
        """The text of the current object in earlier pieces."""
        self._held_length = 0
        self._closers: list[str] = []
        """The expected elements of the open brackets; empty: no object has begun."""
        self._next = _Next.VALUE
        self._in_string = self._in_key = self._escaped = False

    def push(self, piece: str) -> list[dict[str, Any]]:
        """Adds a piece; returns the completed objects.

        Raises:
            TooLong: an object is longer than the limit.
        """
        found: list[dict[str, Any]] = []
        text, begin, at = piece, 0, 0
        while True:
            if not self._closers:
                begin = text.find("{", at)
                if begin < 0:
                    return found
                at = begin + 1
                self._closers, self._next = ["}"], _Next.KEY_OR_END
                self._in_string = self._in_key = self._escaped = False
            at, fits = self._advance(text, begin, at)
            if fits and self._closers:  # the text ends within the object
                self._held.append(text[begin:])
                self._held_length += len(text) - begin
                return found
            value = self._parsed("".join(self._held) + text[begin:at]) if fits else None
            if value is not None:
                found.append(value)
            elif self._held:  # the brace was text: the search continues after it
                text, at = "".join(self._held) + text, 1
            else:
                at = begin + 1
            self._forget()

    def finish(self) -> str:
        """Ends the text; returns the beginning of a truncated object, or nothing."""
        rest = "".join(self._held)
        self._forget()
        return rest

    def _parsed(self, text: str) -> dict[str, Any] | None:
        """The object; None if it is not an object, or if no lane can carry it."""
        try:
            value = json.loads(text, parse_int=_integer, parse_constant=_no_constant)
        except ValueError:
            return None
        try:
            copied = copy_json(value)
        except ValueError as error:
            self.left_out.append(str(error))
            return None
        return copied if isinstance(copied, dict) else None

    def _forget(self) -> None:
        self._held, self._held_length, self._closers = [], 0, []

    def _advance(self, text: str, begin: int, at: int) -> tuple[int, bool]:
        """Reads until the object ends, is invalid, or the text ends. Returns the position, and whether the text is valid so far."""
        end = len(text)
        limit = begin + self._size - self._held_length
        while at < end:
            if at >= limit:
                raise TooLong(("".join(self._held) + text[begin:at])[:40])
            plain = _IN_STRING.match(text, at, min(end, limit)) if self._in_string and not self._escaped else None
            if plain is not None:
                at = plain.end()
                continue
            if not self._take(text[at]):
                return at, False
            at += 1
            if not self._closers:
                break
        return at, True

    def _take(self, character: str) -> bool:
        """Adds a character; returns whether it is valid."""
        if self._in_string:
            return self._take_in_string(character)
        if character in _WHITE:
            return True
        match self._next, character:
            case ((_Next.KEY_OR_END | _Next.KEY), '"'):
                self._in_string = self._in_key = True
            case ((_Next.VALUE | _Next.VALUE_OR_END), '"'):
                self._in_string, self._in_key = True, False
            case _Next.COLON, ":":
                self._next = _Next.VALUE
            case ((_Next.VALUE | _Next.VALUE_OR_END), ("{" | "[")):
                if len(self._closers) >= MAX_JSON_DEPTH:
                    return False
                self._closers.append("}" if character == "{" else "]")
                self._next = _Next.KEY_OR_END if character == "{" else _Next.VALUE_OR_END
            case _Next.COMMA_OR_END, ",":
                self._next = _Next.KEY if self._closers[-1] == "}" else _Next.VALUE
            case ((_Next.KEY_OR_END | _Next.VALUE_OR_END | _Next.COMMA_OR_END), ("}" | "]")):
                if self._closers.pop() != character:
                    return False
                self._next = _Next.COMMA_OR_END
            case ((_Next.VALUE | _Next.VALUE_OR_END | _Next.COMMA_OR_END), _):
                # A number, true, false or null: its spelling is checked when the object is complete.
                self._next = _Next.COMMA_OR_END
                return character in _SCALAR
            case _:
                return False
        return True

    def _take_in_string(self, character: str) -> bool:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._in_string = False
            self._next = _Next.COLON if self._in_key else _Next.COMMA_OR_END
        return character >= " "


def _integer(digits: str) -> int | float:
    """An integer beyond 64 bits is read as a float, as most JSON parsers do: a lane could not carry it."""
    if len(digits) > 20 or not INT_MIN <= int(digits) <= INT_MAX:
        return float(digits)
    return int(digits)


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON number")
