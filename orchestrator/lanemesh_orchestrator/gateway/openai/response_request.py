"""The body of `POST /v1/responses`, and the conversation in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from lanemesh.values import Image, Message, ToolCall, ToolSpec
from pydantic import BeforeValidator, Discriminator, Field, Tag

from lanemesh_orchestrator.gateway.model_api.conversation import Conversation, Turn, image_of, tool_spec
from lanemesh_orchestrator.gateway.model_api.refusals import invalid
from lanemesh_orchestrator.gateway.model_api.validation import Echoed, Strict, only
from lanemesh_orchestrator.gateway.openai.chat_request import Object

Status = Literal["in_progress", "completed", "incomplete"]


def _as_parts(content: Any) -> Any:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


def _as_items(given: Any) -> Any:
    return [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given


class InputText(Strict):
    """A piece of text."""

    type: Literal["input_text"]
    text: str


class OutputText(Echoed):
    """A piece of text of an earlier response."""

    type: Literal["output_text"]
    text: str


class Refusal(Echoed):
    """A refusal of an earlier response."""

    type: Literal["refusal"]
    refusal: str


class InputImage(Strict):
    """An image."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: None = None


Part = Annotated[InputText | OutputText | Refusal | InputImage, Field(discriminator="type")]
Parts = Annotated[list[Part], BeforeValidator(_as_parts)]


class MessageItem(Strict):
    """A turn."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts
    id: str | None = None
    status: Status | None = None
    phase: str | None = None


class CallItem(Echoed):
    """A call of a tool in an earlier response."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str
    arguments: str


class ResultItem(Strict):
    """The result of a tool."""

    type: Literal["function_call_output"]
    call_id: str
    output: Parts
    id: str | None = None
    status: Status | None = None
    name: str | None = None


class ReasoningItem(Echoed):
    """The reasoning of an earlier response, which pipelines do not read."""

    type: Literal["reasoning"]


def _kind(item: Any) -> str | None:
    if isinstance(item, Mapping):
        kind = item.get("type", "message")
        return kind if isinstance(kind, str) else None
    return getattr(item, "type", None)


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[ResultItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


class FunctionTool(Strict):
    """A tool that the client calls."""

    type: Literal["function"]
    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None


class Format(Strict):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Object | None = Field(None, alias="schema")
    strict: bool | None = None


class TextOptions(Strict):
    """How the answer is written."""

    format: Format | None = None
    verbosity: str | None = None


class ResponseRequest(Strict):
    """The body of a request."""

    model: str
    input: Annotated[list[Item], BeforeValidator(_as_items), Field(min_length=1)]
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_logprobs: int | None = None
    max_tool_calls: int | None = None
    truncation: str | None = None
    include: list[str] | None = None
    reasoning: Object | None = None
    metadata: Object | None = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    stream_options: Object | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None

    def sampling(self) -> dict[str, Any]:
        """The sampling settings; None: not given."""
        return {"max_tokens": self.max_output_tokens, "temperature": self.temperature, "top_p": self.top_p}

    def conversation_of(self, called: Sequence[ToolCall] = ()) -> Conversation:
        """What is asked, where the previous response has made these calls. Raises LanemeshError for what is not supported, or
        invalid."""
        offered = self.tools if self.tool_choice != "none" else None
        return Conversation(
            instructions=self.instructions or "",
            turns=list(_merged(_turns(self.input))),
            tools=[_tool(place, tool) for place, tool in enumerate(offered or ())],
            schema=self._schema(),
            called=called,
        )

    def _schema(self) -> dict[str, Any] | None:
        form = self.text.format if self.text is not None else None
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return {"type": "object"}
        if form.schema_ is None:
            raise invalid("text.format.schema", "a format json_schema has a schema")
        return form.schema_

    def check_supported(self) -> None:
        """Raises LanemeshError for what is not supported."""
        only("parallel_tool_calls", self.parallel_tool_calls, [True], "cannot be switched off")
        only("tool_choice", self.tool_choice, ["auto", "none"], "cannot be enforced")
        only("top_logprobs", self.top_logprobs, [0], "is not supported")
        only("truncation", self.truncation, ["disabled"], "is not supported")
        only("include", self.include, [[], ["reasoning.encrypted_content"]], "is not supported")
        only("reasoning", self.reasoning, [{}], "is a setting of the pipeline")
        only("metadata", self.metadata, [{}], "is not kept")
        only("service_tier", self.service_tier, ["auto", "default"], "is not supported")
        for name in ("conversation", "prompt", "context_management", "max_tool_calls"):
            only(name, getattr(self, name), [], "is not supported")
        if self.text is not None:
            only("text.verbosity", self.text.verbosity, ["medium"], "is not supported")


def _turns(items: Sequence[MessageItem | CallItem | ResultItem | ReasoningItem]) -> Iterator[Turn]:
    for place, item in enumerate(items):
        param = f"input[{place}]"
        match item:
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                images = tuple(_images(f"{param}.content", item.content))
                yield Turn(param, Message(role, _text(item.content), images=images))
            case CallItem():
                yield Turn(param, Message("assistant", "", (ToolCall(item.call_id, item.name, item.arguments),)))
            case ResultItem():
                images = tuple(_images(f"{param}.output", item.output))
                yield Turn(param, Message("tool", _text(item.output), tool_call_id=item.call_id, images=images))


def _merged(turns: Iterator[Turn]) -> Iterator[Turn]:
    """The turns, with calls in the turn of the assistant that they follow."""
    waiting: list[Turn] = []
    for turn in turns:
        is_assistant = turn.message.role == "assistant"
        if waiting and not (is_assistant and not turn.message.content):
            yield _joined(waiting)
            waiting = []
        if is_assistant:
            waiting.append(turn)
        else:
            yield turn
    if waiting:
        yield _joined(waiting)


def _joined(turns: Sequence[Turn]) -> Turn:
    """The first of some turns, with the calls of all."""
    if len(turns) == 1:
        return turns[0]
    calls = tuple(call for turn in turns for call in turn.message.tool_calls)
    return replace(turns[0], message=replace(turns[0].message, tool_calls=calls))


def _text(parts: Sequence[InputText | OutputText | Refusal | InputImage]) -> str:
    texts = (part.refusal if isinstance(part, Refusal) else getattr(part, "text", None) for part in parts)
    return "\n".join(text for text in texts if text is not None)


def _images(param: str, parts: Sequence[InputText | OutputText | Refusal | InputImage]) -> Iterator[Image]:
    for position, part in enumerate(parts):
        if isinstance(part, InputImage):
            yield image_of(part.image_url, f"{param}[{position}].image_url")


def _tool(place: int, tool: FunctionTool) -> ToolSpec:
    return tool_spec(f"tools[{place}]", tool.name, tool.description, tool.parameters)
