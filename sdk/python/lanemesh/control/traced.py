"""Control connections whose requests and answers are reported, at the trace levels above none."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.json_format import MessageToDict

from lanemesh.control.connection import Connection
from lanemesh.control.llm import LlmClient
from lanemesh.control.tools import ToolHelper
from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import control_pb2

OnMessage = Callable[[str], None]
"""Takes a request or an answer: a JSON object as text."""

MAX_ANSWER_CHARACTERS = 1024 * 1024
"""Most characters of a model's answer that are put together to be reported: 1 Mi."""


class TracedLlm(LlmClient):
    """A model whose prompts and answers are reported."""

    def __init__(self, model: LlmClient, report: OnMessage) -> None:
        self._model = model
        self._report = report

    async def generate(
        self, request: control_pb2.GenerateRequest
    ) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """One turn of the conversation, as it is written."""
        self._report(_text({"request": _flat(request)}))
        answer, ended = _Answer(), False
        try:
            async with aclosing(self._model.generate(request)) as pieces:
                async for piece in pieces:
                    answer.add(piece)
                    if piece.HasField("done"):  # its caller may read no further
                        ended = True
                        self._report(_text({"response": answer.flat()}))
                    yield piece
        except Exception as error:
            self._report(_error(error))
            raise
        if not ended:
            self._report(_text({"response": answer.flat()}))

    async def reach(self) -> None:
        """Makes sure that the model can be called."""
        await self._model.reach()


class TracedTools:
    """The tools of one helper, whose calls and results are reported."""

    def __init__(self, tools: ToolHelper, report: OnMessage) -> None:
        self._tools = tools
        self._report = report

    @property
    def connection(self) -> Connection:
        """The connection to the helper."""
        return self._tools.connection

    async def list(self) -> list[control_pb2.ToolSpec]:
        """Its tools."""
        return await self._tools.list()

    async def call(self, request: control_pb2.CallToolRequest) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls one of them."""
        self._report(_text({"request": _flat(request)}))
        try:
            async with aclosing(self._tools.call(request)) as pieces:
                async for piece in pieces:
                    if piece.HasField("result"):
                        self._report(_text({"response": _flat(piece.result)}))
                    yield piece
        except Exception as error:
            self._report(_error(error))
            raise

    async def reach(self) -> None:
        """Makes sure that the helper can be called."""
        await self._tools.reach()


class _Answer:
    """A model's answer, put together from its pieces."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._characters = 0
        self._calls: list[Any] = []
        self._end: dict[str, Any] = {}

    def add(self, piece: control_pb2.GenerateResponse) -> None:
        """Takes in a piece; text beyond 1 Mi characters is left out."""
        match piece.WhichOneof("event"):
            case "text":
                text = piece.text[: MAX_ANSWER_CHARACTERS - self._characters]
                self._texts.append(text)
                self._characters += len(text)
            case "tool_call":
                self._calls.append(_flat(piece.tool_call))
            case "done":
                self._end = {"finish_reason": piece.done.finish_reason}
                if piece.done.HasField("usage"):
                    usage = piece.done.usage
                    tokens = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
                    self._end["usage"] = tokens

    def flat(self) -> dict[str, Any]:
        """The answer as JSON."""
        calls = {"tool_calls": self._calls} if self._calls else {}
        return {"text": "".join(self._texts), **calls, **self._end}


def _flat(message: Any) -> dict[str, Any]:
    flat: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return flat


def _text(flat: dict[str, Any]) -> str:
    return json.dumps(flat, ensure_ascii=False)


def _error(error: Exception) -> str:
    fault = error.fault if isinstance(error, LanemeshError) else Fault.from_exception(error)
    return _text({"error": {"reason": fault.reason, "message": fault.message}})
