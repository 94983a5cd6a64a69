"""Control connections whose requests and answers are reported, at the trace levels above none."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict

from lanemesh.control.ends import AnswerTrace, HelperLink, ends_of
from lanemesh.faults import Fault, LanemeshError
from lanemesh.helper_kinds import HelperKind

if TYPE_CHECKING:
    from lanemesh.control.connection import Connection

OnMessage = Callable[[str], None]
"""Takes a request or an answer: a JSON object as text."""


class TracedLink:
    """A link whose requests and answers are reported, where the kind traces the method."""

    def __init__(self, kind: HelperKind, link: HelperLink, report: OnMessage) -> None:
        self._answers = ends_of(kind).answers
        self._link = link
        self._report = report

    @property
    def connection(self) -> Connection:
        """The connection to the helper."""
        return self._link.connection

    def stream(self, method: str, request: Any, timeout: float | None = None) -> AsyncGenerator[Any, None]:
        """Calls a method that streams."""
        pieces = self._link.stream(method, request, timeout)
        make = self._trace_of(method)
        return pieces if make is None else self._traced(request, pieces, make())

    async def call(self, method: str, request: Any, timeout: float | None = None) -> Any:
        """Calls a method that returns one response."""
        make = self._trace_of(method)
        if make is None:
            return await self._link.call(method, request, timeout)
        self._report(_text({"request": flat(request)}))
        try:
            response = await self._link.call(method, request, timeout)
        except Exception as error:
            self._report(_error(error))
            raise
        trace = make()
        answer = trace.add(response)
        self._report_answer(trace.rest() if answer is None else answer)
        return response

    async def reach(self) -> None:
        """Checks that the helper can be called."""
        await self._link.reach()

    def _trace_of(self, method: str) -> Callable[[], AnswerTrace] | None:
        answer = self._answers.get(method)
        return answer.trace if answer is not None else None

    async def _traced(
        self, request: Any, pieces: AsyncGenerator[Any, None], trace: AnswerTrace
    ) -> AsyncGenerator[Any, None]:
        self._report(_text({"request": flat(request)}))
        whole = False
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    answer = trace.add(piece)
                    if answer is not None:  # its caller may not read further
                        whole = True
                        self._report_answer(answer)
                    yield piece
        except Exception as error:
            self._report(_error(error))
            raise
        if not whole:
            self._report_answer(trace.rest())

    def _report_answer(self, answer: Mapping[str, Any] | None) -> None:
        if answer is not None:
            self._report(_text({"response": answer}))


def flat(message: Any) -> dict[str, Any]:
    """A message of the protocol as JSON."""
    fields: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return fields


def _text(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)


def _error(error: Exception) -> str:
    fault = error.fault if isinstance(error, LanemeshError) else Fault.from_exception(error)
    return _text({"error": {"reason": fault.reason, "message": fault.message}})
