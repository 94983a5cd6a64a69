"""The body of `POST /v1/chat/completions`, and the conversation in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from lanemesh.values import Image, Message, ToolCall, ToolSpec
from pydantic import BeforeValidator, Field, JsonValue

from lanemesh_orchestrator.gateway.model_api.conversation import Conversation, Turn, image_of, tool_spec
from lanemesh_orchestrator.gateway.model_api.refusals import invalid, unsupported
from lanemesh_orchestrator.gateway.model_api.validation import Echoed, Strict, only

Object = dict[str, JsonValue]
MAX_STOPS = 16
"""Most texts that end an answer."""


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class TextPart(Strict):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImageUrl(Strict):
    """An image."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Strict):
    """An image of the user."""

    type: Literal["image_url"]
    image_url: ImageUrl


Texts = Annotated[list[TextPart], BeforeValidator(_as_parts)]
Parts = Annotated[list[Annotated[TextPart | ImagePart, Field(discriminator="type")]], BeforeValidator(_as_parts)]


class SystemMessage(Strict):
    """Instructions."""

    role: Literal["system", "developer"]
    content: Texts
    name: str | None = None


class UserMessage(Strict):
    """A turn of the user."""

    role: Literal["user"]
    content: Parts
    name: str | None = None


class CalledFunction(Echoed):
    """A tool and its arguments."""

    name: str
    arguments: str


class CallEntry(Echoed):
    """A call of a tool."""

    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(Echoed):
    """A turn of the model."""

    role: Literal["assistant"]
    content: Texts | None = None
    tool_calls: list[CallEntry] | None = None
    refusal: str | None = None


class ToolMessage(Strict):
    """The result of a tool."""

    role: Literal["tool"]
    content: Texts
    tool_call_id: str


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage,
    Field(discriminator="role"),
]


class Function(Strict):
    """A tool."""

    name: str = Field(min_length=1, max_length=128)
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool that the client calls."""

    type: Literal["function"]
    function: Function


class JsonSchema(Strict):
    """The form of the answer."""

    name: str
    description: str | None = None
    schema_: Object | None = Field(None, alias="schema")
    strict: bool | None = None


class TextFormat(Strict):
    """Any text."""

    type: Literal["text"]


class ObjectFormat(Strict):
    """A JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Strict):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class StreamOptions(Strict):
    """Options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatRequest(Strict):
    """The body of a request."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[TextFormat | ObjectFormat | SchemaFormat, Field(discriminator="type")] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: str | list[str] | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Object | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    functions: Any = None
    function_call: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    metadata: Object | None = None
    store: bool | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None

    def sampling(self) -> dict[str, Any]:
        """The sampling settings; None: not given. Raises LanemeshError for too many stop texts."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        if stop and (len(stop) > MAX_STOPS or not all(stop)):
            raise invalid("stop", f"at most {MAX_STOPS} texts, none of them empty")
        return {
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": stop or None,
            "seed": self.seed,
        }

    def conversation(self) -> Conversation:
        """What is asked. Raises LanemeshError for what is not supported, or invalid."""
        self._check_unsupported()
        first = next((place for place, one in enumerate(self.messages) if not isinstance(one, SystemMessage)), 0)
        instructions = [_text(one.content) for one in self.messages[:first] if isinstance(one, SystemMessage)]
        offered = self.tools if self.tool_choice != "none" else None
        return Conversation(
            instructions="\n\n".join(instructions),
            turns=[Turn(f"messages[{place}]", _message(place, self.messages[place])) for place in self._rest(first)],
            tools=[_tool(place, tool) for place, tool in enumerate(offered or ())],
            schema=self._schema(),
        )

    def _rest(self, first: int) -> Sequence[int]:
        return range(first, len(self.messages))

    def _schema(self) -> dict[str, Any] | None:
        match self.response_format:
            case SchemaFormat(json_schema=form):
                return form.schema_ if form.schema_ is not None else {}
            case ObjectFormat():
                return {"type": "object"}
        return None

    def _check_unsupported(self) -> None:
        only("n", self.n, [1], "is not supported: a pipeline gives one answer")
        only("logprobs", self.logprobs, [False], "is not supported")
        only("top_logprobs", self.top_logprobs, [0], "is not supported")
        only("logit_bias", self.logit_bias, [{}], "is not supported")
        only("frequency_penalty", self.frequency_penalty, [0], "is not supported")
        only("presence_penalty", self.presence_penalty, [0], "is not supported")
        only("modalities", self.modalities, [["text"]], "supports text alone")
        only("parallel_tool_calls", self.parallel_tool_calls, [True], "cannot be switched off")
        only("tool_choice", self.tool_choice, ["auto", "none"], "cannot be enforced")
        only("reasoning_effort", self.reasoning_effort, [], "is a setting of the pipeline")
        only("verbosity", self.verbosity, ["medium"], "is not supported")
        only("metadata", self.metadata, [{}], "is not kept")
        only("service_tier", self.service_tier, ["auto", "default"], "is not supported")
        for name in ("audio", "prediction", "web_search_options", "functions", "function_call"):
            only(name, getattr(self, name), [], "is not supported")
        if self.stream_options is not None and not self.stream:
            raise unsupported("stream_options", '"stream_options" is only for streams. Remove it, or set "stream"')


def _message(place: int, given: SystemMessage | UserMessage | AssistantMessage | ToolMessage) -> Message:
    match given:
        case SystemMessage():
            return Message("system", _text(given.content))
        case UserMessage():
            return Message("user", _text(given.content), images=tuple(_images(place, given.content)))
        case ToolMessage():
            return Message("tool", _text(given.content), tool_call_id=given.tool_call_id)
    calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in given.tool_calls or ()]
    return Message("assistant", _text(given.content or ()) or given.refusal or "", tuple(calls))


def _text(parts: Sequence[TextPart | ImagePart]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def _images(place: int, parts: Sequence[TextPart | ImagePart]) -> Iterator[Image]:
    for position, part in enumerate(parts):
        if isinstance(part, ImagePart):
            yield image_of(part.image_url.url, f"messages[{place}].content[{position}].image_url.url")


def _tool(place: int, tool: Tool) -> ToolSpec:
    return tool_spec(f"tools[{place}]", tool.function.name, tool.function.description, tool.function.parameters)
