"""Conversion of bytes and text: input is UTF-8, and output to a pipe or a file is UTF-8."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.output.streams import encoding_of

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors write at the beginning of UTF-8 text. It is removed."""
_MAX_SHOWN = 60


def set_up_streams() -> None:
    """Makes Python's standard output and error write UTF-8 to a pipe or a file, and never fail on a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding_of(stream), errors="backslashreplace")


def recoded(value: str) -> str:
    """An argument as UTF-8: Python decodes arguments by the locale, which knows ASCII alone where it is C without UTF-8 mode."""
    try:
        return os.fsencode(value).decode()
    except UnicodeError:  # text of another locale, or bytes that are no text in any
        return value


def require_text(name: str, value: str) -> str:
    """Returns `value`. Raises `CommandError`, which names the input, if it is not valid UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CommandError(
            f"{name}: character {error.start + 1:,} of {printable(value)} is not valid UTF-8 text. "
            "Convert it to UTF-8; a terminal needs a UTF-8 locale, such as LANG=C.UTF-8."
        ) from None
    return value


def require_json_text(name: str, value: Any) -> Any:
    """Returns a JSON value. Raises `CommandError` if a string or a key in it is not valid UTF-8."""
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, str):
            require_text(name, current)
        elif isinstance(current, Mapping):
            pending += [*current.keys(), *current.values()]
        elif isinstance(current, list):
            pending += current
    return value


def printable(value: str) -> str:
    """The beginning of a text, with escapes for unprintable characters."""
    short = value if len(value) <= _MAX_SHOWN else f"{value[:_MAX_SHOWN]}…"
    raw = short.encode("utf-8", "surrogateescape" if _is_bytes(short) else "backslashreplace")
    return raw.decode("utf-8", "backslashreplace").replace("\n", "\\n")


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON for standard output: characters as they are where its encoding holds them all, else escapes."""
    encoding = encoding_of(sys.stdout).lower().replace("_", "-")
    return json.dumps(value, ensure_ascii=encoding not in ("utf-8", "utf8"), indent=indent)


def _is_bytes(value: str) -> bool:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
