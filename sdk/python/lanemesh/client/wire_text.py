"""Validation of a caller's text for a message: protobuf accepts only valid Unicode."""

from __future__ import annotations

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.rendering import valid_unicode

_SHOWN = 80
"""Most characters that an error shows of a text."""


def wire_text(text: str, what: str) -> str:
    """Returns the text itself.

    Args:
        text: the caller's text.
        what: a description of the text, such as "the id of a run".

    Raises:
        LanemeshError: it is not valid Unicode ("not-text").
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = valid_unicode(text[:_SHOWN])
        message = (
            f'{what} is not valid Unicode: half of a surrogate pair is at character {error.start:,} of "{shown}". '
            "Write the whole character, or leave it out"
        )
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="not-text", message=message)) from None
    return text
