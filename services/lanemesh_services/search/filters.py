"""Filters over documents: one form for all stores, and what it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lanemesh import Document

Scalar: TypeAlias = str | int | float | bool

FIELDS = ("source", "id", "chunk_index")
"""Names that mean a field of the document. Others are keys of its metadata."""
OPERATORS = ("eq", "ne", "in", "gt", "gte", "lt", "lte", "exists")
"""What a condition may require."""
MAX_CONDITIONS = 32
"""Most conditions of a filter."""
MAX_VALUES = 1_000
"""Most values of a list."""
_KEY = re.compile(r"[^\x00-\x1f\"'\\]{1,200}")


@dataclass(frozen=True, slots=True)
class Condition:
    """One requirement of a document."""

    key: str
    """A field, or a key of the metadata. If the value there is a list, one of its elements has to meet the requirement."""
    operator: str
    """One of `OPERATORS`."""
    value: Any
    """A scalar; with "in" a tuple of scalars, with "exists" a truth value."""

    @property
    def of_metadata(self) -> bool:
        """The key is one of the metadata."""
        return self.key not in FIELDS


Filter: TypeAlias = tuple[Condition, ...]
"""Conditions, all of which a document has to meet."""
NO_FILTER: Filter = ()


def parsed(raw: Mapping[str, Any]) -> Filter:
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
        rules = rule if isinstance(rule, Mapping) else {"in" if isinstance(rule, list | tuple) else "eq": rule}
        if not rules:
            raise ValueError(f"the condition of {key!r} is empty")
        conditions += [_condition(key, operator, value) for operator, value in rules.items()]
    if len(conditions) > MAX_CONDITIONS:
        raise ValueError(f"it has {len(conditions)} conditions; the limit is {MAX_CONDITIONS}")
    return tuple(conditions)


def _condition(key: str, operator: str, value: Any) -> Condition:
    where = f"the condition {operator!r:.40} of {key!r}"
    if operator not in OPERATORS:
        raise ValueError(f"{where} is not one of {', '.join(OPERATORS)}")
    if operator == "in":
        if not isinstance(value, list | tuple) or not value or not all(map(_is_scalar, value)):
            raise ValueError(f"{where} needs a list of texts, numbers or truth values, with at least one")
        if len(value) > MAX_VALUES:
            raise ValueError(f"{where} has {len(value)} values; the limit is {MAX_VALUES:,}")
        return Condition(key, operator, tuple(value))
    if operator == "exists":
        if not isinstance(value, bool):
            raise ValueError(f"{where} needs true or false")
    elif operator in ("gt", "gte", "lt", "lte"):
        if not _is_number(value):
            raise ValueError(f"{where} needs a number")
    elif not _is_scalar(value):
        raise ValueError(f"{where} needs a text, a number or a truth value")
    return Condition(key, operator, value)


def matches(conditions: Sequence[Condition], document: Document) -> bool:
    """Whether a document meets all conditions."""
    return all(_meets(condition, document) for condition in conditions)


def _meets(condition: Condition, document: Document) -> bool:
    found: Any = document.metadata.get(condition.key) if condition.of_metadata else getattr(document, condition.key)
    values = found if isinstance(found, list | tuple) else () if found is None else (found,)
    if condition.operator == "exists":
        return bool(values) is condition.value
    if condition.operator == "ne":
        return not any(_equal(value, condition.value) for value in values)
    if condition.operator == "in":
        return any(_equal(value, wanted) for value in values for wanted in condition.value)
    if condition.operator == "eq":
        return any(_equal(value, condition.value) for value in values)
    return any(_COMPARED[condition.operator](value, condition.value) for value in values if _is_number(value))


_COMPARED: dict[str, Callable[[float, float], bool]] = {
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
    return isinstance(value, str | int | float | bool)
