"""Filters over documents: one form for all stores, and what it means."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lanemesh import Document

Scalar: TypeAlias = str | int | float | bool
"""What metadata is compared with."""

FIELDS = ("source", "id", "chunk_index")
"""Names that mean a field of the document. Others are keys of its metadata."""
OPERATORS = ("eq", "ne", "in", "gt", "gte", "lt", "lte", "exists")
"""What a condition may require."""
MAX_CONDITIONS = 32
"""Most conditions of a filter."""
MAX_VALUES = 1_000
"""Most values of a list."""
MAX_INTEGER = 2**63
"""Integers are less than this, and at least minus this: stores keep them in 64 bits."""
# Stores put keys between quotes, in SQL and in JSON paths.
_KEY = re.compile(r"[^\x00-\x1f\"'\\]{1,200}")


@dataclass(frozen=True, slots=True)
class Condition:
    """One requirement of a document."""

    key: str
    """A field, or a key of the metadata. If the value there is a list, each of its elements counts as a value. Null counts as
    none."""
    operator: str
    """One of `OPERATORS`. With "ne", no value may be equal, so that a document without the key meets it. With the others, at least
    one value has to meet the requirement. An object, and a list or null within a list, are values that exist and equal nothing."""
    value: Scalar | tuple[Scalar, ...]
    """A scalar; with "in" a tuple of scalars, with "exists" a truth value."""

    @property
    def values(self) -> tuple[Scalar, ...]:
        """The scalars: one, unless the operator is "in"."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def is_of_metadata(self) -> bool:
        """The key is one of the metadata."""
        return self.key not in FIELDS


Filter: TypeAlias = tuple[Condition, ...]
"""Conditions, all of which a document has to meet."""
NO_FILTER: Filter = ()


def parse_filter(raw: Mapping[str, Any]) -> Filter:
    """The filter of a config: `{"language": "en", "page": {"gte": 2}, "tag": ["a", "b"]}`.

    Raises:
        ValueError: it has another form.
    """
    conditions: list[Condition] = []
    for key, rule in raw.items():
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"the key {key!r:.100} is empty, too long, or has a quotation mark, a backslash or a control character"
            )
        if isinstance(rule, Mapping):
            rules: Mapping[str, Any] = rule
        else:
            rules = {"in" if isinstance(rule, list | tuple) else "eq": rule}
        if not rules:
            raise ValueError(f"the condition of {key!r} is empty")
        conditions += [_condition(key, operator, value) for operator, value in rules.items()]
    if len(conditions) > MAX_CONDITIONS:
        raise ValueError(f"it has {len(conditions)} conditions; the limit is {MAX_CONDITIONS}")
    return tuple(conditions)


def _condition(key: str, operator: str, value: Any) -> Condition:
    where = f"the operator {operator!r:.40} of {key!r}"
    if operator not in OPERATORS:
        raise ValueError(f"{where} is not one of {', '.join(OPERATORS)}")
    if operator == "in":
        if not isinstance(value, list | tuple) or not value or not all(map(_is_scalar, value)):
            raise ValueError(f"{where} needs a list, not empty, of texts, truth values or numbers of at most 64 bits")
        if len(value) > MAX_VALUES:
            raise ValueError(f"{where} has {len(value)} values; the limit is {MAX_VALUES:,}")
        return Condition(key, operator, tuple(value))
    if operator == "exists":
        if not isinstance(value, bool):
            raise ValueError(f"{where} needs true or false")
    elif operator in ("gt", "gte", "lt", "lte"):
        if not _is_number(value) or not _is_scalar(value):
            raise ValueError(f"{where} needs a number of at most 64 bits")
    elif not _is_scalar(value):
        raise ValueError(f"{where} needs a text, a truth value or a number of at most 64 bits")
    return Condition(key, operator, value)


def matches(conditions: Filter, document: Document) -> bool:
    """Whether a document meets all conditions."""
    return all(_meets(condition, document) for condition in conditions)


def _meets(condition: Condition, document: Document) -> bool:
    values = _values(condition, document)
    wanted = condition.values
    match condition.operator:
        case "exists":
            return bool(values) is condition.value
        case "ne":
            return not any(_equal(value, wanted[0]) for value in values)
        case "eq" | "in":
            return any(_equal(value, one) for value in values for one in wanted)
    compare = _COMPARISONS[condition.operator]
    return any(compare(value, condition.value) for value in values if _is_number(value))


def _values(condition: Condition, document: Document) -> Sequence[Any]:
    found = document.metadata.get(condition.key) if condition.is_of_metadata else getattr(document, condition.key)
    if isinstance(found, list | tuple):
        return found
    return () if found is None else (found,)


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON values: 1 is 1.0, and neither is true."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, int):
        return -MAX_INTEGER <= value < MAX_INTEGER
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))
