"""Models of pydantic that cost no more than their value, however much of that is wrong.

pydantic collects an error for each wrong entry of a list, and describes all of them when it is asked for any. For a list of a
megabyte that takes seconds, in which the event loop stands still, and hundreds of megabytes.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails

MAX_DESCRIBED = 1_000
"""Most errors of one value that are described."""

_COLLECTIONS = ("list", "dict", "set", "frozenset", "tuple")
"""The kinds of schemas that can end with their first error."""
_UNCHANGED = ("metadata", "serialization", "default", "expected")
"""Parts of schemas that hold no schema of what is validated."""


def _end_early(schema: Any) -> None:
    if isinstance(schema, list | tuple):
        for part in schema:
            _end_early(part)
    elif isinstance(schema, dict):
        for key, part in schema.items():
            if key not in _UNCHANGED:
                _end_early(part)
        if schema.get("type") in _COLLECTIONS:
            schema["fail_fast"] = True


class FirstErrors(BaseModel):
    """A model of which each list, and each other collection, has at most one error: that of its first wrong entry."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Its schema, as pydantic asks for it."""
        schema = handler(source)
        _end_early(handler.resolve_ref_schema(schema))
        return schema


def described(error: ValidationError) -> list[ErrorDetails]:
    """The errors of a value; a single one without a place if they are too many, as those of unknown fields may be."""
    if error.error_count() <= MAX_DESCRIBED:
        return error.errors(include_url=False)
    message = f"it has {error.error_count():,} errors"
    return [ErrorDetails(type="too_many_errors", loc=(), msg=message, input=None)]
