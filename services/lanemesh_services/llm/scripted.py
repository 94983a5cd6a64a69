"""A model that says what a script tells it to: the same words every time, for examples, tests and demonstrations."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh.v1 import control_pb2, lane_pb2

from lanemesh_services.llm.engine import Sampling, call_piece, check_messages, done_piece, text_piece
from lanemesh_services.llm.errors import closed
from lanemesh_services.llm.text import StopScanner

_WORD = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+")


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A call of a tool, as a script has it."""

    name: str
    """Name of the tool."""
    arguments: dict[str, Any]
    """Its arguments."""


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """One turn of the model."""

    text: str = ""
    """What it says."""
    tool_calls: Sequence[ScriptedCall] = ()
    """What it wants called."""


class ScriptedEngine:
    """Says the turn of its script that the conversation has come to: with n turns of the assistant in it, turn n.

    Once the script is over, its last turn is said again. With an empty script the last message of the user is echoed. It
    keeps nothing from one request to the next. A word counts as a token; the sampling settings `max_tokens` and `stop` are
    followed, the others change nothing.
    """

    def __init__(self, script: Sequence[ScriptedTurn], delay: float = 0.0) -> None:
        """`delay`: seconds before each word, at least 0."""
        self._script = tuple(script)
        self._delay = delay
        self._active = 0
        self._closed = False

    @property
    def active(self) -> int:
        """How many generations are running."""
        return self._active

    async def generate(
        self, request: control_pb2.GenerateRequest
    ) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """Says one turn, word by word; see `Engine.generate`."""
        check_messages(request)
        sampling = Sampling.of(request)
        number = sum(message.role == "assistant" for message in request.messages)
        turn = self._turn(request, number)
        words = _WORD.findall(turn.text)
        stops, written = StopScanner(sampling.stop), 0
        self._active += 1
        try:
            for word in words[: sampling.max_tokens]:
                await asyncio.sleep(self._delay)  # even without a delay: others get their turn between two words
                if self._closed:
                    raise closed()
                written += 1
                if text := stops.push(word):
                    yield text_piece(text)
                if stops.stopped:
                    break
            if text := stops.finish():
                yield text_piece(text)
        finally:
            self._active -= 1
        reason = "stop" if stops.stopped or written == len(words) else "length"
        if turn.tool_calls and reason == "stop" and not stops.stopped:
            for place, call in enumerate(turn.tool_calls):
                arguments = json.dumps(call.arguments, ensure_ascii=False)
                yield call_piece(
                    lane_pb2.ToolCall(id=f"call_{number}_{place}", name=call.name, arguments_json=arguments)
                )
            reason = "tool_calls"
        prompt = sum(len(message.content.split()) for message in request.messages)
        yield done_piece(reason, prompt, written)

    async def close(self) -> None:
        """Ends what is being said."""
        self._closed = True

    def _turn(self, request: control_pb2.GenerateRequest, number: int) -> ScriptedTurn:
        if self._script:
            return self._script[min(number, len(self._script) - 1)]
        said = [message.content for message in request.messages if message.role == "user"]
        return ScriptedTurn(said[-1] if said else "")
