"""What lanes carry, as Python sees it. Every value is immutable: frozen throughout, nested lists too."""

from __future__ import annotations

import dataclasses
import math
import operator
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lanemesh.json_values import INT_MAX, FrozenDict, check_text, freeze_json

MAX_MIME_TYPE = 1000
"""Longest media type in characters; those that IANA registers have at most 255."""


def _text_fields(value: object, *names: str) -> None:
    for name in names:
        text = getattr(value, name)
        if type(text) is str and text.isascii():
            continue
        if not isinstance(text, str):
            raise TypeError(f"{type(value).__name__}.{name} must be str, not {type(text).__name__}")
        check_text(text)
        if type(text) is not str:
            object.__setattr__(value, name, str.__str__(text))


def _frozen(value: object, name: str, items: Iterable[Any], kind: type | tuple[type, ...]) -> None:
    frozen = tuple(items)
    for item in frozen:
        if not isinstance(item, kind):
            raise TypeError(f"{type(value).__name__}.{name} must hold {kind}, not {type(item).__name__}")
    object.__setattr__(value, name, frozen)


def _object(value: object, name: str) -> None:
    given = getattr(value, name)
    if not isinstance(given, Mapping):
        raise TypeError(f"{type(value).__name__}.{name} must be an object, not {type(given).__name__}")
    object.__setattr__(value, name, freeze_json(given))


def _floats(value: object, name: str) -> None:
    """Rounds to what the wire carries, 32 bits, so that consumers see the same numbers wherever they are."""
    rounded = tuple(array("f", getattr(value, name)))
    if not all(map(math.isfinite, rounded)):
        raise ValueError(f"{type(value).__name__}.{name} holds a number that is NaN, infinite or beyond 32 bits")
    object.__setattr__(value, name, rounded)


def _number(value: object, name: str) -> None:
    number = float(getattr(value, name))
    if not math.isfinite(number):
        raise ValueError(f"{type(value).__name__}.{name} is {number}; it must be finite")
    object.__setattr__(value, name, number)


def _count(value: object, *names: str, most: int = INT_MAX) -> None:
    for name in names:
        count = operator.index(getattr(value, name))
        if not 0 <= count <= most:
            raise ValueError(f"{type(value).__name__}.{name} is {count}; it must be from 0 to {most}")
        object.__setattr__(value, name, count)


def _plain_media(value: object, given: Any) -> Media:
    """A media value without a kind: what the wire carries of a file."""
    if not isinstance(given, Media):
        raise TypeError(f"{type(value).__name__}.file must be Media, not {type(given).__name__}")
    if type(given) is Media:
        return given
    return Media(**{item.name: getattr(given, item.name) for item in dataclasses.fields(Media)})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool."""

    id: str
    """Unique within the conversation."""
    name: str
    """Name of the tool."""
    arguments: str
    """Arguments: a JSON object, as text."""

    def __post_init__(self) -> None:
        _text_fields(self, "id", "name", "arguments")


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """The description of a tool for a model."""

    name: str
    """Unique among the tools of a request."""
    description: str = ""
    """What it does and when to use it."""
    parameters: Mapping[str, Any] = field(default_factory=FrozenDict)
    """The JSON schema of its arguments, which are an object; empty: any."""

    def __post_init__(self) -> None:
        _text_fields(self, "name", "description")
        object.__setattr__(self, "parameters", freeze_json(self.parameters))


@dataclass(frozen=True, slots=True)
class Media:
    """An image, or a piece of audio or video: its bytes, or where they are."""

    mime_type: str
    """IANA media type, such as "image/png"."""
    content: bytes = field(default=b"", repr=False)
    """The bytes, unless `uri` is set. At most 256 MiB. Not in the repr, which would be four times as long."""
    uri: str = ""
    """Where the bytes are, unless `content` is set."""
    timestamp: float | None = None
    """Place in time of a piece of a stream, in seconds from its start."""
    width: int = 0
    """Width in pixels of an image or a video; 0 if unknown."""
    height: int = 0
    """Height in pixels of an image or a video; 0 if unknown."""
    rate: float = 0.0
    """Sample rate in Hz of audio, frame rate in Hz of video; 0 if unknown."""
    channels: int = 0
    """Number of audio channels; 0 if unknown."""

    def __post_init__(self) -> None:
        _text_fields(self, "mime_type", "uri")
        if not isinstance(self.content, bytes):
            object.__setattr__(self, "content", bytes(self.content))
        if self.content and self.uri:
            raise ValueError(f"{type(self).__name__} has both content and a URI; pass one")
        if len(self.mime_type) > MAX_MIME_TYPE:
            raise ValueError(
                f"{type(self).__name__}.mime_type has {len(self.mime_type):,} characters; the limit is {MAX_MIME_TYPE}"
            )
        if self.timestamp is not None:
            _number(self, "timestamp")
        _number(self, "rate")
        _count(self, "width", "height", "channels", most=2**32 - 1)


@dataclass(frozen=True, slots=True)
class Image(Media):
    """An image."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """Who spoke: "system", "user", "assistant" or "tool"."""
    content: str
    """Its text."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls of tools that an assistant's turn asks for."""
    tool_call_id: str = ""
    """In a tool's turn: the id of the call that it answers."""
    images: tuple[Image, ...] = ()
    """Images that belong to the turn, after its text."""

    def __post_init__(self) -> None:
        _text_fields(self, "role", "content", "tool_call_id")
        _frozen(self, "tool_calls", self.tool_calls, ToolCall)
        _frozen(self, "images", self.images, Image)


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a question and the answer wanted for it."""

    question: str
    """The question."""
    answer: str
    """The answer wanted for it."""

    def __post_init__(self) -> None:
        _text_fields(self, "question", "answer")


@dataclass(frozen=True, slots=True)
class Document:
    """A document or a chunk of one."""

    content: str
    """Its text."""
    id: str = ""
    """Unique within its source; empty if it has none."""
    embedding: tuple[float, ...] = ()
    """Its embedding (32-bit floats on the wire); empty if none was made."""
    score: float | None = None
    """How well it matches what was searched for; greater is better."""
    source: str = ""
    """Where it comes from: a URI or a file's path."""
    chunk_index: int | None = None
    """Place of the chunk in its source, from 0; None for a whole document."""
    metadata: Mapping[str, Any] = field(default_factory=FrozenDict)
    """Further metadata: a JSON object."""
    file: Media | None = None
    """The file itself, where its text has not been read, or a piece of it; None if `content` is all there is."""

    def __post_init__(self) -> None:
        _text_fields(self, "content", "id", "source")
        _floats(self, "embedding")
        if self.score is not None:
            _number(self, "score")
        if self.chunk_index is not None:
            _count(self, "chunk_index")
        _object(self, "metadata")
        if self.file is not None:
            object.__setattr__(self, "file", _plain_media(self, self.file))


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a model or an agent."""

    text: str
    """What is asked."""
    instructions: str = ""
    """How to answer; a system prompt."""
    history: tuple[Message, ...] = ()
    """Earlier turns of the conversation, oldest first."""
    examples: tuple[Example, ...] = ()
    """Pairs that show how to answer."""
    documents: tuple[Document, ...] = ()
    """Documents to answer from."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer shall follow; None if any text will do."""
    embedding: tuple[float, ...] = ()
    """The embedding of the text (32-bit floats on the wire); empty if none was made."""
    images: tuple[Image, ...] = ()
    """Images that the text is about."""
    tools: tuple[ToolSpec, ...] = ()
    """Tools of the client, which the answer may request to call. The client calls them, and asks again with their results at the
    end of the history, and an empty text."""

    def __post_init__(self) -> None:
        _text_fields(self, "text", "instructions")
        _frozen(self, "tools", self.tools, ToolSpec)
        _frozen(self, "history", self.history, Message)
        _frozen(self, "examples", self.examples, Example)
        _frozen(self, "documents", self.documents, Document)
        _frozen(self, "images", self.images, Image)
        _floats(self, "embedding")
        if self.schema is not None:
            _object(self, "schema")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation used, or all generations of an agent. `+` adds two; the cost of the sum is that of those that have one."""

    prompt_tokens: int
    """Tokens read."""
    completion_tokens: int
    """Tokens written."""
    cost: float | None = None
    """The price of these tokens in US dollars; None if it is unknown."""
    tool_calls: int = 0
    """Number of tool calls, of an agent and of the agents that it called; 0 of a model."""

    def __post_init__(self) -> None:
        _count(self, "prompt_tokens", "completion_tokens", "tool_calls")
        if self.cost is not None:
            _number(self, "cost")

    def __add__(self, other: Usage) -> Usage:
        costs = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            min(self.prompt_tokens + other.prompt_tokens, INT_MAX),
            min(self.completion_tokens + other.completion_tokens, INT_MAX),
            sum(costs) if costs else None,
            min(self.tool_calls + other.tool_calls, INT_MAX),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A piece of one answer. The last piece has a finish reason."""

    text: str = ""
    """Text to append to what came before."""
    data: Any = None
    """A JSON value where the answer is structured; None otherwise."""
    finish_reason: str = ""
    """Why the answer ended: "stop", "length", "tool_calls", "cancelled" or "error"; empty on all but the last piece."""
    usage: Usage | None = None
    """What the answer cost; on the last piece."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Calls of the question's tools that the model requests, to append to those of the pieces before."""

    def __post_init__(self) -> None:
        _text_fields(self, "text", "finish_reason")
        if self.tool_calls:
            _frozen(self, "tool_calls", self.tool_calls, ToolCall)
        if self.data is not None:
            object.__setattr__(self, "data", freeze_json(self.data))


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Every row has one JSON value per column."""

    columns: tuple[str, ...]
    """Names of the columns."""
    rows: tuple[tuple[Any, ...], ...] = ()
    """The rows."""

    def __post_init__(self) -> None:
        _frozen(self, "columns", self.columns, str)
        rows = tuple(freeze_json(tuple(row)) for row in self.rows)
        for index, row in enumerate(rows):
            if len(row) != len(self.columns):
                raise ValueError(f"row {index} has {len(row)} cells; the table has {len(self.columns)} columns")
        object.__setattr__(self, "rows", rows)


class Tags(FrozenDict):
    """Structured metadata and parameters: an immutable JSON object."""

    __slots__ = ()

    def __init__(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        super().__init__(freeze_json({**(values or {}), **more}))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Tags, (dict(self),))


@dataclass(frozen=True, slots=True)
class Audio(Media):
    """A piece of audio."""


@dataclass(frozen=True, slots=True)
class Video(Media):
    """A piece of video."""


def bytes_of(value: Any) -> bytes | None:
    """The bytes of a media value, or of the file of a document; None if it is neither. Lanes carry them in chunks."""
    if isinstance(value, Media):
        return value.content
    if isinstance(value, Document) and value.file is not None:
        return value.file.content
    return None


def with_bytes(value: Any, content: bytes) -> Any:
    """The same media value, or document with a file, with other bytes.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, Media):
        return dataclasses.replace(value, content=content)
    if isinstance(value, Document) and value.file is not None:
        return dataclasses.replace(value, file=dataclasses.replace(value.file, content=content))
    raise ValueError(f"{type(value).__name__} has no bytes")
