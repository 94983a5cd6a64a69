"""The patterns of JSON schemas, as pydantic's default engine understands them, which takes linear time."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator


def may_match(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern anywhere. True for a pattern that the engine refuses, such as one with a look-ahead."""
    check = _check_of(pattern)
    return check is None or check.isinstance_python(text)


def matches(pattern: str, text: str) -> bool:
    """Whether a text certainly matches a pattern anywhere. False for a pattern that the engine refuses."""
    check = _check_of(pattern)
    return check is not None and check.isinstance_python(text)


def without_refused_patterns(schema: Any) -> Any:
    """A JSON schema without the patterns of keys that the engine refuses, and without the rule for other keys beside them: the
    node checks these keys."""
    if isinstance(schema, list):
        return [without_refused_patterns(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: without_refused_patterns(part) for key, part in schema.items()}
    patterns = kept.get("patternProperties")
    if isinstance(patterns, dict) and (refused := [one for one in patterns if _check_of(one) is None]):
        for one in refused:
            del patterns[one]
        kept.pop("additionalProperties", None)
    return kept


@functools.lru_cache(maxsize=256)
def _check_of(pattern: str) -> SchemaValidator | None:
    """Matches a pattern; None if the engine refuses it."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, strict=True))
    except SchemaError:
        return None
