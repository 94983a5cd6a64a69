"""Nodes that take a text or a document, whichever of their inputs is connected."""

from __future__ import annotations

from typing import Any

from lanemesh import Document

from lanemesh_services.documents.errors import several_inputs
from lanemesh_services.shared.unread import text_of


def given_one(component: str, **inputs: Any) -> Any:
    """The value of the connected input. Raises LanemeshError if several are connected: their values do not belong together."""
    given = {name: value for name, value in inputs.items() if value is not None}
    if len(given) > 1:
        raise several_inputs(component, tuple(inputs))
    return next(iter(given.values()), None)


def as_document(value: Any) -> Document:
    """A text or a document as a document. Raises FileNotRead if it has a file instead of text."""
    document = value if isinstance(value, Document) else Document(value or "")
    text_of(document)
    return document
