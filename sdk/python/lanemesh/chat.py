"""The requests and results of models and tools in Python: frozen values, as on lanes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lanemesh.json_text import read_json
from lanemesh.json_values import freeze_json
from lanemesh.values import Audio, Document, Image, Message, ToolCall, ToolSpec, Usage, Video

ToolPart: TypeAlias = Document | Image | Audio | Video
"""A part of a tool's result that JSON cannot carry, or that has a type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model samples its tokens. None: the value of the model's config."""

    temperature: float | None = None
    """From 0 to 2. 0 always selects the most probable token."""
    top_p: float | None = None
    """Sampling is restricted to the most probable tokens with this total probability; greater than 0, at most 1."""
    top_k: int | None = None
    """Sample only from this number of most probable tokens; 0: all."""
    max_tokens: int | None = None
    """Maximum number of tokens to generate; at least 1."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it; at most 16."""
    seed: int | None = None
    """Seed of the random choice, from 0 to 2^64-1."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", tuple(self.stop))


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call."""

    content: str
    """The result as JSON text; of a failed call, the error."""
    call_id: str = ""
    """The call."""
    name: str = ""
    """The tool."""
    is_error: bool = False
    """Whether the call failed."""
    seconds: float | None = None
    """How long the call took; None if it was not measured."""
    parts: tuple[ToolPart, ...] = ()
    """Images, audio, video and documents of the result, in order. The content describes each of them, for models that read text
    only."""
    usage: Usage | None = None
    """What the tool used, if it has models, such as an agent; None if it does not count it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))

    @property
    def value(self) -> Any:
        """The result as a JSON value. Raises ValueError if the content is not JSON that can be held."""
        return read_json(self.content)


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """How far a call of a tool is."""

    message: str = ""
    """Its current activity."""
    fraction: float | None = None
    """How much is done, from 0 to 1; None if unknown."""
    call_id: str = ""
    """The call."""
    usage: Usage | None = None
    """What the tool has used so far, if it has models; None if it does not count it."""


ToolEvent: TypeAlias = ToolProgress | ToolResult
"""One event of a call: any progress, then the result."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Asks a model for one turn of a conversation."""

    messages: tuple[Message, ...]
    """The conversation so far, oldest first; at least one message."""
    tools: tuple[ToolSpec, ...] = ()
    """The tools that the model may ask for."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer shall follow; None if any text will do."""
    sampling: Sampling = Sampling()
    """How to choose tokens."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        object.__setattr__(self, "tools", tuple(self.tools))
        if self.schema is not None:
            object.__setattr__(self, "schema", freeze_json(self.schema))


@dataclass(frozen=True, slots=True)
class ChatText:
    """A piece of the text of a turn."""

    text: str
    """To append to what came before."""


@dataclass(frozen=True, slots=True)
class ChatFinish:
    """The end of a turn; the last event."""

    reason: str = "stop"
    """Why it ended: "stop", "length" or "tool_calls"."""


ChatEvent: TypeAlias = ChatText | ToolCall | Usage | ChatFinish
"""One event of a turn: text as it is written, whole calls, what the turn cost, its end."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A whole turn of a model."""

    text: str
    """What it wrote."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls that it wants made."""
    finish_reason: str = "stop"
    """Why it ended: "stop", "length" (cut off) or "tool_calls"."""
    usage: Usage | None = None
    """What it cost; None if the model does not count."""

    def __str__(self) -> str:
        return self.text
