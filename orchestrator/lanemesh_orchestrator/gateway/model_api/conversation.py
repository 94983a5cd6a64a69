"""The messages of a request as a question: checked, with the last turn of the user as its text."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanemesh.values import Image, Message, Question, ToolCall, ToolSpec

from lanemesh_orchestrator.gateway.model_api.refusals import invalid, unsupported

if TYPE_CHECKING:
    from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel

MAX_TOOLS = 128
"""Most tools of one request."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a request."""

    param: str
    """Its place in the request, such as "messages[3]"."""
    message: Message
    """The message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What a request asks of a model."""

    instructions: str = ""
    """The system prompt."""
    turns: Sequence[Turn]
    """The conversation, oldest first."""
    tools: Sequence[ToolSpec] = ()
    """Tools that the client calls."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema of the answer; None: any text."""
    called: Sequence[ToolCall] = ()
    """The calls of tools in the turn before the first one, which the orchestrator has."""

    def input_of(self, model: DeployedModel) -> Question | str:
        """The input of a run of a model: a question, or only a text if it takes no more.

        Raises:
            LanemeshError: the conversation is invalid ("bad-request"), or has something that the model does not take
                ("unsupported-parameter").
        """
        question = self._question()
        if self.tools and not model.takes_tools:
            raise unsupported(
                "tools", f'the pipeline "{model.name}" has no language model that takes tools. Remove them'
            )
        if model.takes == "questions":
            return question
        if question != Question(question.text):
            message = f'the pipeline "{model.name}" takes only text: send one message of the user, and nothing else'
            raise unsupported(self.turns[0].param, message)
        return question.text

    def _question(self) -> Question:
        if not self.turns:
            raise invalid("messages", "there are no messages. Send at least one of the user")
        _check_calls(self.turns, self.called)
        if len({tool.name for tool in self.tools}) < len(self.tools) or len(self.tools) > MAX_TOOLS:
            raise invalid("tools", f"the names of tools are unique, and there are at most {MAX_TOOLS}")
        history = [turn.message for turn in self.turns]
        spoken = [place for place, message in enumerate(history) if message.role != "system"]
        text = ""
        images: tuple[Image, ...] = ()
        last = history[spoken[-1]] if spoken else None
        if last is not None and last.role == "user":
            history.pop(spoken[-1])
            text, images = last.content, last.images
        elif last is None or last.role != "tool":
            raise invalid(self.turns[-1].param, "the last message is of the user, or the result of a tool")
        else:
            history.sort(key=lambda message: message.role != "system")  # the question ends with the result
        return Question(
            text,
            instructions=self.instructions,
            history=tuple(history),
            schema=self.schema,
            images=images,
            tools=tuple(self.tools),
        )


def _check_calls(turns: Sequence[Turn], called: Sequence[ToolCall]) -> None:
    """Raises LanemeshError unless each call of a tool is followed by its result, and each result follows its call."""
    unanswered = dict.fromkeys((call.id for call in called), turns[0].param)
    for turn in turns:
        message = turn.message
        if message.role == "tool":
            if message.tool_call_id not in unanswered:
                why = f'the id "{message.tool_call_id[:80]}" is not that of a tool call in the turn of the assistant before it'
                raise invalid(turn.param, why, reason="unknown-tool-call")
            del unanswered[message.tool_call_id]
        elif message.role != "system":
            _check_answered(unanswered)
            for call in message.tool_calls:
                if call.id in unanswered:
                    raise invalid(turn.param, f'the tool call id "{call.id[:80]}" is not unique')
                unanswered[call.id] = turn.param
    _check_answered(unanswered)


def _check_answered(unanswered: Mapping[str, str]) -> None:
    for call_id, param in unanswered.items():
        why = f'the tool call "{call_id[:80]}" has no result. Send one after the turn of the assistant'
        raise invalid(param, why, reason="unknown-tool-call")


def image_of(url: str, param: str) -> Image:
    """The image of a data URL. Raises LanemeshError for another URL ("unsupported-parameter"), or if it is not base64."""
    scheme, _, rest = url.partition(":")
    if scheme != "data":
        message = "images are data URLs (data:image/png;base64,...): the server does not fetch addresses of its clients"
        raise unsupported(param, message)
    kind, comma, text = rest.partition(";base64,")
    if not comma:
        raise invalid(param, "a data URL of an image has the form data:image/png;base64,...")
    return image_from(kind, text, param)


def image_from(mime_type: str, text: str, param: str) -> Image:
    """The image of a base64 text. Raises LanemeshError if it is none ("bad-request")."""
    if not mime_type.startswith("image/") or len(mime_type) > 100:
        raise invalid(param, f'the media type of an image begins with "image/", unlike "{mime_type[:80]}"')
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(param, "the image is not base64") from None
    if not content:
        raise invalid(param, "the image is empty")
    return Image(mime_type, content)


def tool_spec(param: str, name: str, description: str | None, parameters: Mapping[str, Any] | None) -> ToolSpec:
    """The description of a tool. Raises LanemeshError if a lane cannot carry it."""
    try:
        return ToolSpec(name, description or "", parameters or {})
    except (TypeError, ValueError) as error:
        raise invalid(param, str(error)) from None
