"""The messages of an AG-UI request as a conversation with a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

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
    Tool,
    ToolMessage,
    UserMessage,
)
from lanemesh import values
from lanemesh.values import ToolSpec

from lanemesh_orchestrator.gateway.model_api.conversation import Conversation, Turn, image_from, tool_spec
from lanemesh_orchestrator.gateway.model_api.refusals import invalid, unsupported

PARAGRAPH = "\n\n"
"""Between two texts that become one."""


def conversation_of(given: RunAgentInput, *, only_last: bool = False, instructed: bool = True) -> Conversation:
    """The conversation of a request.

    System and developer messages before the first other one, and the context, are its instructions. Reasoning and activities are
    left out, and so are calls of tools without a result, such as those of a run that failed.

    Args:
        given: the request.
        only_last: without the turns before the last one of the user.
        instructed: with the instructions, which every client of a kind sends, whether or not a pipeline takes them.

    Raises:
        LanemeshError: a part of a message is of a kind that questions do not have ("unsupported-parameter"), or invalid.
    """
    start = next((place for place, one in enumerate(given.messages) if not _is_system(one)), len(given.messages))
    instructions = [_text(one.content) for one in given.messages[:start] if _is_system(one)]
    instructions += [f"{one.description}: {one.value}" for one in given.context or ()]
    turns = list(_answered(_turns(given.messages, start)))
    if only_last and turns and turns[-1].message.role == "user":
        turns = turns[-1:]
    return Conversation(
        instructions=PARAGRAPH.join(instructions) if instructed else "",
        turns=turns,
        tools=[_tool(tool, f"/tools/{place}") for place, tool in enumerate(given.tools or ())],
    )


def _is_system(message: Message) -> bool:
    return isinstance(message, (SystemMessage, DeveloperMessage))


def _turns(messages: Sequence[Message], start: int) -> list[Turn]:
    """The turns from a place on. Adjacent ones of the assistant are one, because clients split them at each call."""
    taken = ((place, _turn(messages[place], f"/messages/{place}")) for place in range(start, len(messages)))
    present = ((place, message) for place, message in taken if message is not None)
    turns: list[Turn] = []
    for role, group in groupby(present, key=lambda one: one[1].role):
        found = [Turn(f"/messages/{place}", message) for place, message in group]
        turns += [_joined(found)] if role == "assistant" and len(found) > 1 else found
    return turns


def _joined(turns: Sequence[Turn]) -> Turn:
    """Turns of the assistant as one."""
    text = PARAGRAPH.join(turn.message.content for turn in turns if turn.message.content)
    calls = tuple(call for turn in turns for call in turn.message.tool_calls)
    return Turn(turns[0].param, replace(turns[0].message, content=text, tool_calls=calls))


def _answered(turns: Sequence[Turn]) -> Iterator[Turn]:
    """The turns without calls that have no result among the turns of tools that follow directly."""
    for place, turn in enumerate(turns):
        calls = turn.message.tool_calls
        if calls:
            results = _results_after(turns, place)
            calls = tuple(call for call in calls if call.id in results)
            if not calls and not turn.message.content:
                continue
        yield Turn(turn.param, replace(turn.message, tool_calls=calls))


def _results_after(turns: Sequence[Turn], place: int) -> set[str]:
    found: set[str] = set()
    for turn in turns[place + 1 :]:
        if turn.message.role != "tool":
            break
        found.add(turn.message.tool_call_id)
    return found


def _turn(message: Message, pointer: str) -> values.Message | None:
    match message:
        case SystemMessage() | DeveloperMessage():
            return values.Message("system", message.content)
        case UserMessage():
            images = tuple(_images(message.content, f"{pointer}/content"))
            return values.Message("user", _text(message.content), images=images)
        case AssistantMessage():
            given = message.tool_calls or ()
            calls = tuple(values.ToolCall(call.id, call.function.name, call.function.arguments) for call in given)
            return values.Message("assistant", message.content or "", calls)
        case ToolMessage():
            text = "\n".join(filter(None, (_text(message.content), message.error)))
            images = tuple(_images(message.content, f"{pointer}/content"))
            return values.Message("tool", text, tool_call_id=message.tool_call_id, images=images)
    return None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content if isinstance(part, TextPart))


def _images(content: str | Sequence[ContentPart], pointer: str) -> Iterator[values.Image]:
    for place, part in enumerate(() if isinstance(content, str) else content):
        where = f"{pointer}/{place}"
        if isinstance(part, TextPart):
            continue
        if not isinstance(part, ImagePart):
            raise unsupported(where, f"{where}: a question has text and images, and no other media. Remove the part")
        source = part.source
        if not isinstance(source, DataSource):
            why = "send the bytes of an image: the server does not fetch addresses of its clients"
            raise unsupported(f"{where}/source", f"{where}/source: {why}")
        yield image_from(source.mime_type, source.value, f"{where}/source")


def _tool(tool: Tool, pointer: str) -> ToolSpec:
    if tool.parameters is not None and not isinstance(tool.parameters, Mapping):
        raise invalid(f"{pointer}/parameters", "the parameters of a tool are a JSON schema, which is an object")
    return tool_spec(pointer, tool.name, tool.description, tool.parameters)
