"""The outputs of an agent, made of the values that a guest returns or yields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanemesh import Answer, Usage
from lanemesh.extend import read_json, rendered, to_json

from lanemesh_services.llm.schemas import answer_data

Pair = tuple[str, Any]


class Answering:
    """One answer on its way to the outputs `answers` and `text`."""

    def __init__(self, schema: Mapping[str, Any] | None) -> None:
        """`schema`: the JSON schema of the answer; None: any text."""
        self._schema = schema
        self._text: list[str] = []
        self._data: Any = None
        self._finish_reason = "stop"

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._text)

    def add(self, value: object) -> list[Pair]:
        """The outputs for one value.

        Args:
            value: a text, which is a piece of the answer; an `Answer`; a pydantic model, a dataclass or a JSON value, which is the
                answer's data and is its text as well, unless it has one already; None adds nothing.

        Raises:
            TypeError: the value is none of these.
        """
        match value:
            case None | "":
                return []
            case str():
                return self._piece(value)
            case Answer():
                self._data = value.data if value.data is not None else self._data
                self._finish_reason = value.finish_reason or self._finish_reason
                return self._piece(value.text) if value.text else []
        text = _json_text(value)
        self._data = read_json(text)
        return [] if self._text else self._piece(text)

    def last(self, usage: Usage | None) -> tuple[Answer, str]:
        """The last piece of the answer, and why it has no data although a schema was given; empty if it has."""
        problem = ""
        if self._data is None and self._schema is not None:
            self._data, problem = answer_data(self.text, self._schema)
        return Answer(data=self._data, finish_reason=self._finish_reason, usage=usage), problem

    def _piece(self, text: str) -> list[Pair]:
        self._text.append(text)
        return [("text", text), ("answers", Answer(text=text))]


def _json_text(value: object) -> str:
    try:
        return to_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"an agent answered with {rendered(value)}, which is not JSON: {error}") from None
