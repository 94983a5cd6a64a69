"""The functions and operators of expressions, each of which counts what it makes, reads and compares before it does so."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import re2
from celpy import celtypes
from celpy.evaluation import CELEvalError, base_functions

from lanemesh_services.flow.work import VALUE_BYTES, Work, size

MAX_TIME = 100
"""Longest text of a time, a duration or a time zone in characters."""
MAX_PATTERN = 2_000
"""Longest regular expression in characters."""
MAX_REPLACED = 1_000_000
"""Most characters that `replace` puts in."""
_TIME_STEPS = 10
"""Steps that a function of times counts for: it reads time zones."""
_PATTERN_BYTES = 64
"""Bytes that an instruction of a regular expression counts for."""
_BAD_PATTERN_BYTES = 1_000_000
"""Bytes that a refused regular expression counts for: how large it became before is unknown."""
_INSTRUCTIONS = 16
"""Instructions of a regular expression for which a character of the text counts as one more byte."""
_REPR = 10
"""Most characters for one, in the text of a list or a map."""
_DURATION = re.compile(r"[-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|ms|s|m|h|d))+", re.ASCII)
_SCALARS = (int, float, datetime, timedelta)


def functions(work: Work) -> dict[str, Callable[..., Any]]:
    """The functions and operators, by their names in the library."""
    return {**_operators(work), **_conversions(work), **_times(work), **_searches(work), **_texts(work)}


def _operators(work: Work) -> dict[str, Callable[..., Any]]:
    def bounded(name: str, count: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        function = base_functions[name]

        def call(one: Any, other: Any) -> Any:
            if isinstance(one, CELEvalError):
                return one
            if isinstance(other, CELEvalError):
                return other
            count(one, other)
            return function(one, other)

        call.__name__ = name  # the library names functions in its log
        return call

    def added(one: Any, other: Any) -> None:
        if isinstance(one, list) and isinstance(other, list):
            work.take(VALUE_BYTES * (len(one) + len(other)))
        elif isinstance(one, str | bytes) and isinstance(other, str | bytes):
            wide = 1 if one.isascii() and other.isascii() else 4
            work.take(VALUE_BYTES + wide * (len(one) + len(other)))
        else:
            scalars(one, other)

    def scalars(one: Any, other: Any) -> None:
        for value in (one, other):
            if not isinstance(value, _SCALARS):
                raise TypeError(f"no such overload: {type(one).__name__} and {type(other).__name__}")

    return {
        "_+_": bounded("_+_", added),
        **{name: bounded(name, scalars) for name in ("_-_", "_*_", "_/_", "_%_")},
        **{name: bounded(name, work.compare) for name in ("_<_", "_<=_", "_>_", "_>=_", "_==_", "_!=_")},
        "_in_": bounded("_in_", lambda value, values: work.search(values, value)),
        "_||_": lambda one, other: _either(one, other, True),
        "_&&_": lambda one, other: _either(one, other, False),
    }


def _either(one: Any, other: Any, wanted: bool) -> Any:
    """One of two conditions that is `wanted`; else one without a value, and else the other. The error of one stands alone: the
    library would put both into a new one, twice as long."""
    conditions = [value for value in (one, other) if isinstance(value, celtypes.BoolType)]
    for value in conditions:
        if bool(value) is wanted:
            return value
    for value in (one, other):
        if isinstance(value, CELEvalError):
            return value
    if not conditions:
        raise TypeError(f"no such overload: {type(one).__name__} and {type(other).__name__}")
    return next((value for value in (one, other) if not isinstance(value, celtypes.BoolType)), other)


def _conversions(work: Work) -> dict[str, Callable[..., Any]]:
    def bounded(name: str) -> Callable[..., Any]:
        function = base_functions[name]

        def convert(value: Any, *more: Any) -> Any:
            # the text of a list has the texts of its elements with escapes, and so have errors
            work.walk(value, times=_REPR if isinstance(value, list | dict) else 1)
            if name == "list" and isinstance(value, str | bytes):
                work.take(VALUE_BYTES * len(value))
            return function(value, *more)

        return convert

    return {name: bounded(name) for name in ("bool", "bytes", "double", "int", "list", "map", "string", "uint")}


def _times(work: Work) -> dict[str, Callable[..., Any]]:
    def bounded(name: str) -> Callable[..., Any]:
        function = base_functions[name]

        def call(*values: Any) -> Any:
            work.step(_TIME_STEPS)
            for value in values:
                if isinstance(value, list | dict) or (isinstance(value, str | bytes) and len(value) > MAX_TIME):
                    raise ValueError(f"`{name}` takes a text of up to {MAX_TIME} characters")
            return function(*values)

        return call

    duration = bounded("duration")

    def strict_duration(value: Any) -> Any:
        if isinstance(value, str) and len(value) <= MAX_TIME and not _DURATION.fullmatch(value):
            raise ValueError(f"{value!r} is no duration, such as '1h30m'")
        return duration(value)

    names = [name for name in base_functions if name.startswith("get")]
    return {"duration": strict_duration, **{name: bounded(name) for name in ("timestamp", *names)}}


def _searches(work: Work) -> dict[str, Callable[..., Any]]:
    def contains(values: Any, value: Any) -> Any:
        if isinstance(values, list):
            work.search(values, value)
        else:
            work.take(size(values) + size(value))
        return base_functions["contains"](values, value)

    def bounded(name: str) -> Callable[[Any, Any], Any]:
        def call(value: Any, part: Any) -> Any:
            work.take(size(part))
            return base_functions[name](value, part)

        return call

    def matches(value: Any, pattern: Any) -> Any:
        if not isinstance(value, str) or not isinstance(pattern, str):
            raise TypeError("matches takes texts")
        if len(pattern) > MAX_PATTERN:
            raise ValueError(f"`matches` takes a pattern of up to {MAX_PATTERN:,} characters")
        try:
            compiled = re2.compile(pattern)
        except re2.error as error:
            work.take(_BAD_PATTERN_BYTES)
            return CELEvalError("match error", error.__class__, error.args)
        work.take(_PATTERN_BYTES * compiled.programsize + size(value) * (1 + compiled.programsize // _INSTRUCTIONS))
        return celtypes.BoolType(compiled.search(value) is not None)

    return {
        "contains": contains,
        "startsWith": bounded("startsWith"),
        "endsWith": bounded("endsWith"),
        "matches": matches,
    }


def _texts(work: Work) -> dict[str, Callable[..., Any]]:
    """The functions of texts that CEL itself lacks, under the names of its extensions."""

    def require(*values: Any) -> None:
        if not all(isinstance(value, str) for value in values):
            raise TypeError("it takes texts")

    def changed(change: Callable[[str], str]) -> Callable[[Any], Any]:
        def call(value: Any) -> Any:
            require(value)
            work.take(size(value) if value.isascii() else 3 * size(value))  # some letters become three
            return celtypes.StringType(change(value))

        return call

    def replace(value: Any, old: Any, new: Any) -> Any:
        require(value, old, new)
        work.take(size(value))
        added = value.count(old) * len(new)
        if added > MAX_REPLACED:
            raise ValueError(f"`replace` would make a text of more than {MAX_REPLACED:,} characters")
        work.take(4 * added)
        return celtypes.StringType(value.replace(old, new))

    def split(value: Any, by: Any) -> Any:
        require(value, by)
        work.take(size(value))
        work.take(VALUE_BYTES * (value.count(by) + 1))
        return celtypes.ListType([celtypes.StringType(part) for part in value.split(by)])

    def join(parts: Any, by: Any = "") -> Any:
        require(by)
        for part in parts:
            work.walk(part, times=4 if isinstance(part, str) else _REPR)
        work.take(4 * len(by) * len(parts))
        return celtypes.StringType(by.join(map(str, parts)))

    return {
        "lowerAscii": changed(str.lower),
        "upperAscii": changed(str.upper),
        "trim": changed(str.strip),
        "replace": replace,
        "split": split,
        "join": join,
    }
