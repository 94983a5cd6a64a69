"""The body of `POST /v1/messages`, and the conversation in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from lanemesh.values import Image, Message, ToolCall, ToolSpec
from pydantic import BeforeValidator, Field, JsonValue

from lanemesh_orchestrator.gateway.model_api.conversation import Conversation, Turn, image_from, tool_spec
from lanemesh_orchestrator.gateway.model_api.refusals import unsupported
from lanemesh_orchestrator.gateway.model_api.validation import Echoed, Strict, only

Object = dict[str, JsonValue]
Cache = Object | None
"""A hint for a cache, which pipelines do not have."""


def _as_blocks(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class TextBlock(Echoed):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImageSource(Strict):
    """Where an image is."""

    type: Literal["base64", "url", "file"]
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""


class ImageBlock(Strict):
    """An image."""

    type: Literal["image"]
    source: ImageSource
    cache_control: Cache = None


class ToolUseBlock(Echoed):
    """A call of a tool."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str
    input: Object


ResultContent = Annotated[
    list[Annotated[TextBlock | ImageBlock, Field(discriminator="type")]], BeforeValidator(_as_blocks)
]


class ToolResultBlock(Strict):
    """The result of a tool."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: ResultContent | None = None
    is_error: bool | None = None
    cache_control: Cache = None


class ThinkingBlock(Echoed):
    """The thinking of an earlier message, which pipelines do not read."""

    type: Literal["thinking", "redacted_thinking"]


Block = Annotated[TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock, Field(discriminator="type")]


class MessageEntry(Strict):
    """A turn."""

    role: Literal["user", "assistant"]
    content: Annotated[list[Block], BeforeValidator(_as_blocks)]


class Tool(Strict):
    """A tool that the client calls."""

    type: Literal["custom"] | None = None
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    input_schema: Object
    cache_control: Cache = None
    strict: bool | None = None


class ToolChoice(Strict):
    """Which tools the model may call."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Format(Strict):
    """The form of the answer."""

    type: Literal["json_schema"]
    schema_: Object = Field(alias="schema")


class OutputConfig(Strict):
    """How the answer is written."""

    format: Format | None = None
    effort: str | None = None


class MessageRequest(Strict):
    """The body of a request."""

    model: str
    max_tokens: int = Field(ge=1)
    messages: list[MessageEntry] = Field(min_length=1)
    system: Annotated[list[TextBlock], BeforeValidator(_as_blocks)] | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    stop_sequences: list[str] | None = Field(None, max_length=16)
    thinking: Object | None = None
    container: Any = None
    metadata: Object | None = None
    service_tier: str | None = None
    cache_control: Cache = None

    def sampling(self) -> dict[str, Any]:
        """The sampling settings but for `max_tokens`; None: not given."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "stop": self.stop_sequences or None,
        }

    def conversation(self) -> Conversation:
        """What is asked. Raises LanemeshError for what is not supported, or invalid."""
        self._check_unsupported()
        form = self.output_config.format if self.output_config is not None else None
        offers = self.tool_choice is None or self.tool_choice.type != "none"
        return Conversation(
            instructions="\n\n".join(block.text for block in self.system or ()),
            turns=[turn for place, entry in enumerate(self.messages) for turn in _turns(f"messages[{place}]", entry)],
            tools=[_tool(place, tool) for place, tool in enumerate(self.tools or ())] if offers else [],
            schema=form.schema_ if form is not None else None,
        )

    def _check_unsupported(self) -> None:
        only("container", self.container, [], "is not supported")
        only("thinking", self.thinking, [{"type": "disabled"}], "is a setting of the pipeline")
        if self.tool_choice is not None:
            only("tool_choice.type", self.tool_choice.type, ["auto", "none"], "cannot be enforced")
            only(
                "tool_choice.disable_parallel_tool_use", self.tool_choice.disable_parallel_tool_use, [False], "is fixed"
            )
        if self.output_config is not None:
            only("output_config.effort", self.output_config.effort, [], "is a setting of the pipeline")


def _turns(param: str, entry: MessageEntry) -> Iterator[Turn]:
    for position, block in enumerate(entry.content):
        allowed = (ToolUseBlock, ThinkingBlock) if entry.role == "assistant" else (ImageBlock, ToolResultBlock)
        if not isinstance(block, (TextBlock, *allowed)):
            message = f"a message of the {entry.role} has no {block.type}"
            raise unsupported(f"{param}.content[{position}]", message)
        if isinstance(block, ToolResultBlock):
            content = block.content or ()
            text = _text(content) or ("error" if block.is_error else "")
            images = tuple(_images(f"{param}.content[{position}].content", content))
            yield Turn(param, Message("tool", text, tool_call_id=block.tool_use_id, images=images))
    calls = tuple(
        ToolCall(block.id, block.name, json.dumps(block.input, ensure_ascii=False))
        for block in entry.content
        if isinstance(block, ToolUseBlock)
    )
    text, images = _text(entry.content), tuple(_images(f"{param}.content", entry.content))
    if text or images or calls or not any(isinstance(block, ToolResultBlock) for block in entry.content):
        yield Turn(param, Message(entry.role, text, calls, images=images))


def _text(blocks: Sequence[Any]) -> str:
    return "\n".join(block.text for block in blocks if isinstance(block, TextBlock))


def _images(param: str, blocks: Sequence[Any]) -> Iterator[Image]:
    for position, block in enumerate(blocks):
        if isinstance(block, ImageBlock):
            place = f"{param}[{position}].source"
            if block.source.type != "base64":
                message = "images are base64: the server does not fetch addresses of its clients, and has no files"
                raise unsupported(place, message)
            yield image_from(block.source.media_type, block.source.data, place)


def _tool(place: int, tool: Tool) -> ToolSpec:
    return tool_spec(f"tools[{place}]", tool.name, tool.description, tool.input_schema)
