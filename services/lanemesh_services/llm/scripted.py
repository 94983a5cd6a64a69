"""A model that replays a script, the same words every time: for examples, tests and demonstrations."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, ToolCall, Usage

from lanemesh_services.llm.engine import Sampling, check_request
from lanemesh_services.llm.errors import closed, failed, refused
from lanemesh_services.llm.text import StopScanner

_WORD = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+")


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call in a script."""

    name: str
    """Name of the tool."""
    arguments: dict[str, Any] | str
    """Its arguments; a text is sent as it is."""


@dataclass(frozen=True, slots=True)
class ScriptedTurn:
    """One turn of the model."""

    text: str = ""
    """Its text."""
    tool_calls: Sequence[ScriptedCall] = ()
    """Tool calls of the turn."""
    fail: str = ""
    """The message with which the turn fails after its text and calls; empty: it does not."""


class ScriptedEngine:
    """Replays the turn of its script for the position in the conversation: after n turns of the assistant, turn n.

    After the end of the script its last turn is repeated. With an empty script the last message of the user is echoed. It has no
    state between requests. A word counts as a token; the sampling settings `max_tokens` and `stop` apply, the others have no
    effect.
    """

    def __init__(self, script: Sequence[ScriptedTurn], delay: float = 0.0, *, tools: bool = True) -> None:
        """`delay`: seconds before each word, at least 0. `tools`: whether it takes requests with tools."""
        self._takes_tools = tools
        self._script = tuple(script)
        self._delay = delay
        self._active = 0
        self._closed = False

    @property
    def active(self) -> int:
        """How many generations are running."""
        return self._active

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn, word by word; see `Engine.chat`."""
        check_request(request)
        if request.tools and not self._takes_tools:
            raise refused("tools", "are not taken by this scripted model; set its config `tools` to true")
        sampling = Sampling.of(request)
        number = sum(message.role == "assistant" for message in request.messages)
        turn = self._turn(request, number)
        words = _WORD.findall(turn.text)
        stops, written = StopScanner(sampling.stop), 0
        self._active += 1
        try:
            for word in words[: sampling.max_tokens]:
                await asyncio.sleep(self._delay)  # even without a delay: other tasks run between two words
                if self._closed:
                    raise closed()
                written += 1
                if text := stops.push(word):
                    yield ChatText(text)
                if stops.stopped:
                    break
            if text := stops.finish():
                yield ChatText(text)
        finally:
            self._active -= 1
        reason = "stop" if stops.stopped or written == len(words) else "length"
        if turn.tool_calls and reason == "stop" and not stops.stopped:
            for place, call in enumerate(turn.tool_calls):
                given = call.arguments
                arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
                yield ToolCall(f"call_{number}_{place}", call.name, arguments)
            reason = "tool_calls"
        if turn.fail:
            raise failed(turn.fail)
        prompt = sum(len(message.content.split()) for message in request.messages)
        yield Usage(prompt, written)
        yield ChatFinish(reason)

    async def close(self) -> None:
        """Ends every generation."""
        self._closed = True

    def _turn(self, request: ChatRequest, number: int) -> ScriptedTurn:
        if self._script:
            return self._script[min(number, len(self._script) - 1)]
        texts = [message.content for message in request.messages if message.role == "user"]
        return ScriptedTurn(texts[-1] if texts else "")
