"""Values in short, for people."""

from __future__ import annotations

import json
from typing import Any

from lanemesh.values import Answer, Document, Media, Question, Table

SUMMARY_CHARACTERS = 200
"""How much of a value a summary has."""


def summary(value: Any) -> str:
    """The first 200 characters of a value; of bytes, what they are."""
    match value:
        case str():
            text = value
        case Question() | Answer() if value.text:
            text = value.text
        case Answer():
            text = json.dumps(value.data, ensure_ascii=False) if value.data is not None else ""
        case Document() if value.content or value.file is None:
            text = value.content
        case Document():
            text = f"{value.source or 'a file'}: {summary(value.file)}"
        case Table():
            text = f"{len(value.rows):,} rows of {', '.join(value.columns)}"
        case Media():
            text = f"{value.mime_type}, {value.uri or f'{len(value.content):,} bytes'}"
        case Question():
            text = ""
        case _:
            text = json.dumps(value, ensure_ascii=False)
    return text[:SUMMARY_CHARACTERS].encode("utf-8", "replace").decode()
