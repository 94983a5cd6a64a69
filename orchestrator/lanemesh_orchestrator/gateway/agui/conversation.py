"""The messages of an AG-UI request as a question."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ag_ui.core import (
    AssistantMessage,
    ContentPart,
    DataSource,
    DeveloperMessage,
    ImagePart,
    Message,
    RunAgentInput,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
)
from lanemesh import values

from lanemesh_orchestrator.gateway.invalid import invalid

PARAGRAPH = "\n\n"
"""Between two texts that become one."""


def question_of(given: RunAgentInput) -> values.Question:
    """The question of a request: the last message of the user, with what comes before it as its history.

    System and developer messages before the conversation, and the context, are its instructions. Reasoning and activities are left
    out, and so are calls of tools without a result, such as those of a run that failed.

    Raises:
        InvalidRequest: the last message is not of the user, a result matches no call, or a part is of a kind that questions do not
            have.
    """
    instructions, turns = _instructions(given), _turns(given.messages)
    spoken = [place for place, turn in enumerate(turns) if turn.role != "system"]
    if not spoken or turns[spoken[-1]].role != "user":
        raise invalid(
            "/messages", "the last message of the conversation is not of the user. Send one with the role user"
        )
    last = turns.pop(spoken[-1])
    history = tuple(_answered(turns))
    return values.Question(last.content, instructions=instructions, history=history, images=last.images)


def _instructions(given: RunAgentInput) -> str:
    texts = [message.content for message in given.messages[: _start(given.messages)] if _is_system(message)]
    texts += [f"{one.description}: {one.value}" for one in given.context or ()]
    return PARAGRAPH.join(texts)


def _start(messages: Sequence[Message]) -> int:
    """The place of the first message that is no instruction."""
    return next((place for place, one in enumerate(messages) if not _is_system(one)), len(messages))


def _is_system(message: Message) -> bool:
    return isinstance(message, (SystemMessage, DeveloperMessage))


def _turns(messages: Sequence[Message]) -> list[values.Message]:
    """The turns after the instructions. Adjacent turns of the assistant are one, because clients split them at each call."""
    turns: list[values.Message] = []
    open_calls: set[str] = set()
    for place in range(_start(messages), len(messages)):
        turn = _turn(messages[place], f"/messages/{place}")
        if turn is None:
            continue
        if turn.role == "user":
            open_calls.clear()
        if turn.role == "tool":
            if turn.tool_call_id not in open_calls:
                why = f'"{turn.tool_call_id[:80]}" is not the id of a tool call before it that has no result yet'
                raise invalid(f"/messages/{place}/toolCallId", why)
            open_calls.remove(turn.tool_call_id)
        for call in turn.tool_calls:
            if call.id in open_calls:
                raise invalid(f"/messages/{place}/toolCalls", f'the tool call id "{call.id[:80]}" is not unique')
            open_calls.add(call.id)
        if turns and turn.role == turns[-1].role == "assistant":
            before = turns.pop()
            text = PARAGRAPH.join(filter(None, (before.content, turn.content)))
            turn = replace(before, content=text, tool_calls=(*before.tool_calls, *turn.tool_calls))
        turns.append(turn)
    return turns


def _answered(turns: Sequence[values.Message]) -> Iterator[values.Message]:
    """The turns without calls that have no result."""
    results = {turn.tool_call_id for turn in turns if turn.role == "tool"}
    for turn in turns:
        calls = tuple(call for call in turn.tool_calls if call.id in results)
        if calls or turn.content or not turn.tool_calls:
            yield turn if len(calls) == len(turn.tool_calls) else replace(turn, tool_calls=calls)


def _turn(message: Message, pointer: str) -> values.Message | None:
    match message:
        case SystemMessage() | DeveloperMessage():
            return values.Message("system", message.content)
        case UserMessage():
            images = tuple(_images(message.content, f"{pointer}/content"))
            return values.Message("user", _text(message.content), images=images)
        case AssistantMessage():
            calls = [
                values.ToolCall(call.id, call.function.name, call.function.arguments)
                for call in message.tool_calls or ()
            ]
            return values.Message("assistant", message.content or "", tuple(calls))
        case ToolMessage():
            text = "\n".join(filter(None, (_text(message.content), message.error)))
            images = tuple(_images(message.content, f"{pointer}/content"))
            return values.Message("tool", text, tool_call_id=message.tool_call_id, images=images)
    return None


def _text(content: str | Sequence[ContentPart]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, TextPart))


def _images(content: str | Sequence[ContentPart], pointer: str) -> Iterator[values.Image]:
    for place, part in enumerate(() if isinstance(content, str) else content):
        where = f"{pointer}/{place}"
        if isinstance(part, TextPart):
            continue
        if not isinstance(part, ImagePart):
            raise invalid(f"{where}/type", "a question has text and images, and no other media")
        yield _image(part, f"{where}/source")


def _image(part: ImagePart, pointer: str) -> values.Image:
    source = part.source
    if not isinstance(source, DataSource):
        raise invalid(
            f"{pointer}/type", "send the bytes of an image as data: the gateway fetches no addresses of clients"
        )
    if not source.mime_type.startswith("image/") or len(source.mime_type) > 100:
        raise invalid(f"{pointer}/mimeType", 'the media type of an image begins with "image/"')
    try:
        content = base64.b64decode(source.value, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{pointer}/value", "the image is not base64") from None
    if not content:
        raise invalid(f"{pointer}/value", "the image is empty")
    return values.Image(source.mime_type, content)
