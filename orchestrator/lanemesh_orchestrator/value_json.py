"""Values of lanes from JSON: the counterpart of `update_json.value_json`, for inputs that clients send as JSON.

Text is a string, `data` and `tags` are JSON, a table is `{"columns", "rows"}`, and questions, answers, documents and media are the
objects of the models below. Media have their content in base64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any

from lanemesh.items import LaneType
from lanemesh.values import (
    Answer,
    Audio,
    Document,
    Example,
    Image,
    Media,
    Message,
    Question,
    Table,
    Tags,
    ToolCall,
    ToolSpec,
    Usage,
    Video,
)
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from lanemesh_orchestrator.first_errors import FirstErrors


class _Model(FirstErrors, BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class MediaJson(_Model):
    """An image, or a piece of audio or video."""

    mime_type: str = Field(description='IANA media type, such as "image/png".')
    content: str = Field("", description="The bytes, in base64; empty if there is a `uri`.")
    uri: str = Field("", description="Where the bytes are, if there is no `content`.")
    bytes: int | None = Field(None, description="Number of bytes of the content; it may be omitted.")
    timestamp: float | None = Field(None, description="Place in time of a piece of a stream, in seconds.")
    width: int = Field(0, description="Width in pixels; 0 if unknown.")
    height: int = Field(0, description="Height in pixels; 0 if unknown.")
    rate: float = Field(0.0, description="Sample rate of audio or frame rate of video, in Hz; 0 if unknown.")
    channels: int = Field(0, description="Number of audio channels; 0 if unknown.")

    @model_validator(mode="after")
    def _check(self) -> MediaJson:
        self.decoded()
        return self

    def decoded(self) -> bytes:  # type: ignore[valid-type]
        """The content. Raises ValueError if it is not base64, or has another number of bytes than stated."""
        try:
            content = base64.b64decode(self.content, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError('"content" is not base64') from None
        if self.content and self.bytes is not None and self.bytes != len(content):
            raise ValueError(f'"bytes" is {self.bytes}, and the content has {len(content)} bytes')
        return content


class CallJson(_Model):
    """A call of a tool, in a turn of a model."""

    id: str
    name: str
    arguments: str = Field(description="The arguments: a JSON object, as text.")


class MessageJson(_Model):
    """A turn of a conversation."""

    role: str = Field(description='"system", "user", "assistant" or "tool".')
    content: str = ""
    tool_calls: list[CallJson] = []
    tool_call_id: str = Field("", description="In a turn of a tool: the id of the call.")
    images: list[MediaJson] = []


class ExampleJson(_Model):
    """An example of a question and its answer."""

    question: str
    answer: str


class DocumentJson(_Model):
    """A document, or a chunk of one."""

    content: str = Field("", description="Its text; it may be omitted if there is a `file`.")
    id: str = ""
    embedding: list[float] = []
    score: float | None = None
    source: str = ""
    chunk_index: int | None = None
    metadata: dict[str, Any] = {}
    file: MediaJson | None = Field(None, description="The file itself, where its text has not been read.")

    @model_validator(mode="after")
    def _check(self) -> DocumentJson:
        if "content" not in self.model_fields_set and self.file is None:
            raise ValueError('a document has "content", or a "file"')
        return self


class ToolJson(_Model):
    """The description of a tool."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field({}, description="The JSON schema of its arguments; empty: any.")


class QuestionJson(_Model):
    """A question to a model or an agent."""

    text: str
    instructions: str = Field("", description="How to answer; a system prompt.")
    history: list[MessageJson] = Field([], description="Earlier turns of the conversation, the oldest first.")
    examples: list[ExampleJson] = []
    documents: list[DocumentJson] = []
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    embedding: list[float] = []
    images: list[MediaJson] = []
    tools: list[ToolJson] = Field([], description="Tools of the client, which the answer may request to call.")


class UsageJson(_Model):
    """The tokens of an answer."""

    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None


class AnswerJson(_Model):
    """An answer, or a piece of one."""

    text: str = ""
    data: Any = None
    finish_reason: str = ""
    usage: UsageJson | None = None
    tool_calls: list[CallJson] = []


class TableJson(_Model):
    """A table: every row has a JSON value per column."""

    columns: list[str]
    rows: list[list[Any]] = []


def value_from_json(lane: LaneType, value: Any) -> Any:
    """The value of a lane that is written as JSON.

    Args:
        lane: its lane.
        value: the JSON value, as parsed.

    Returns:
        A value that `lanemesh.codec.make_item` accepts for this lane.

    Raises:
        pydantic.ValidationError: it has not the form of this lane; the errors name the field.
        ValueError, TypeError: a field has a value that is not allowed.
    """
    adapter, made = _FORMS[lane]
    return made(adapter.validate_python(value))


def _media(kind: type[Media]) -> Callable[[MediaJson], Media]:
    def made(given: MediaJson) -> Media:
        return kind(
            mime_type=given.mime_type,
            content=given.decoded(),
            uri=given.uri,
            timestamp=given.timestamp,
            width=given.width,
            height=given.height,
            rate=given.rate,
            channels=given.channels,
        )

    return made


def _images(given: list[MediaJson]) -> tuple[Image, ...]:
    made = _media(Image)
    return tuple(made(one) for one in given)  # type: ignore[misc]


def _message(given: MessageJson) -> Message:
    return Message(given.role, given.content, _calls(given.tool_calls), given.tool_call_id, _images(given.images))


def _calls(given: list[CallJson]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(call.id, call.name, call.arguments) for call in given)


def _document(given: DocumentJson) -> Document:
    return Document(
        content=given.content,
        id=given.id,
        embedding=tuple(given.embedding),
        score=given.score,
        source=given.source,
        chunk_index=given.chunk_index,
        metadata=given.metadata,
        file=_media(Media)(given.file) if given.file is not None else None,
    )


def _question(given: QuestionJson) -> Question:
    return Question(
        text=given.text,
        instructions=given.instructions,
        history=tuple(map(_message, given.history)),
        examples=tuple(Example(one.question, one.answer) for one in given.examples),
        documents=tuple(map(_document, given.documents)),
        schema=given.schema_,
        embedding=tuple(given.embedding),
        images=_images(given.images),
        tools=tuple(ToolSpec(one.name, one.description, one.parameters) for one in given.tools),
    )


def _answer(given: AnswerJson) -> Answer:
    used = given.usage
    usage = Usage(used.prompt_tokens, used.completion_tokens, used.cost) if used is not None else None
    return Answer(given.text, given.data, given.finish_reason, usage, _calls(given.tool_calls))


def _table(given: TableJson) -> Table:
    return Table(tuple(given.columns), tuple(map(tuple, given.rows)))


def _same(given: Any) -> Any:
    return given


def _form(model: Any) -> TypeAdapter[Any]:
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return TypeAdapter(model) if is_model else TypeAdapter(model, config=ConfigDict(strict=True))


_FORMS: dict[LaneType, tuple[TypeAdapter[Any], Callable[[Any], Any]]] = {
    LaneType.TEXT: (_form(str), _same),
    LaneType.QUESTIONS: (_form(QuestionJson), _question),
    LaneType.ANSWERS: (_form(AnswerJson), _answer),
    LaneType.DOCUMENTS: (_form(DocumentJson), _document),
    LaneType.TABLE: (_form(TableJson), _table),
    LaneType.TAGS: (_form(dict[str, Any]), Tags),
    LaneType.IMAGE: (_form(MediaJson), _media(Image)),
    LaneType.AUDIO: (_form(MediaJson), _media(Audio)),
    LaneType.VIDEO: (_form(MediaJson), _media(Video)),
    LaneType.DATA: (_form(Any), _same),
}
"""The form of each lane's values, and what makes a value of it."""
