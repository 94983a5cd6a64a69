"""Converts a question into a conversation for a model. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from lanemesh import ChatRequest, Document, Image, Message, Question

from lanemesh_services.llm.errors import refused
from lanemesh_services.shared.unread import text_of


def to_request(question: Question) -> ChatRequest:
    """The request of a question to a model, with the schema of the answer, without sampling settings.

    It begins with one system message, unless that is empty: the instructions, then the "system" turns of the history, then the
    documents (many chat templates allow no second one). Examples follow as turns of user and assistant, then the rest of the
    history, then the question's text as the user's turn, unless it is empty and the history ends with the result of a tool.
    """
    messages = []
    system = _system(question)
    if system:
        messages.append(Message("system", system))
    for example in question.examples:
        messages.append(Message("user", example.question))
        messages.append(Message("assistant", example.answer))
    messages += [message for message in question.history if message.role != "system"]
    answers_call = bool(question.history) and question.history[-1].role == "tool"
    if question.text or question.images or not answers_call:
        messages.append(Message("user", question.text, images=question.images))
    return ChatRequest(tuple(messages), question.tools, question.schema)


def _system(question: Question) -> str:
    parts = [question.instructions]
    parts += [message.content for message in question.history if message.role == "system"]
    if question.documents:
        parts.append(_documents(question.documents))
    return "\n\n".join(part for part in parts if part)


def _documents(documents: Iterable[Document]) -> str:
    parts = ["Answer from these documents:"]
    for number, document in enumerate(documents, start=1):
        source = f" ({document.source})" if document.source else ""
        parts.append(f"[{number}]{source}\n{text_of(document)}")
    return "\n\n".join(parts)


def chat_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """A conversation in the form of chat templates: dicts with role, content and any tool calls."""
    return [_chat_message(message) for message in messages]


def _chat_message(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    return turn


def folded(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation for a chat template without a system role, or with strictly alternating roles.

    The system text is put in front of the first turn of the user, and neighbouring turns of one role are merged. Turns with tool
    calls, and those of tools, are unchanged.
    """
    system = [message["content"] for message in messages if message["role"] == "system"]
    made: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "system":
            continue
        if system and message["role"] == "user":
            message = {**message, "content": _joined("\n\n".join(system), message["content"])}
            system = []
        if made and _mergeable(made[-1], message):
            made[-1] = {**message, "content": _joined(made[-1]["content"], message["content"])}
        else:
            made.append(message)
    return [{"role": "user", "content": "\n\n".join(system)}, *made] if system else made


def _joined(before: Any, content: Any) -> Any:
    """Two contents as one: texts, or lists of parts."""
    if isinstance(before, str) and isinstance(content, str):
        return f"{before}\n\n{content}"
    parts = [[{"type": "text", "text": part}] if isinstance(part, str) else part for part in (before, content)]
    return [*parts[0], *parts[1]]


def _mergeable(before: dict[str, Any], message: dict[str, Any]) -> bool:
    plain = before.keys() == message.keys() == {"role", "content"}
    return plain and before["role"] == message["role"] and message["role"] != "tool"


def image_address(image: Image) -> str:
    """The address of an image: its own, or a data URL with its bytes. Raises `GenerationRefused` if models cannot read it."""
    if not image.uri:
        return f"data:{_image_type(image)};base64,{b64encode(image.content).decode()}"
    if not image.uri.startswith(("https://", "http://", "data:image/")):
        raise refused("messages", f'has an image at "{image.uri:.80}"; a model reads https addresses, or the bytes')
    return image.uri


def image_bytes(image: Image) -> tuple[str, bytes] | None:
    """The media type and the bytes of an image; None if it has an address. Raises `GenerationRefused` if models cannot read it."""
    if not image.uri:
        return _image_type(image), image.content
    address = image_address(image)
    if not address.startswith("data:"):
        return None
    kind, _, text = address.removeprefix("data:").partition(";base64,")
    try:
        return kind, b64decode(text, validate=True)
    except ValueError:
        raise refused("messages", "has an image with a data URL that is not base64") from None


def with_images(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The same as `chat_messages`, with the bytes of images after the text of their turn.

    Raises `GenerationRefused` for an image with an address: the engine would fetch it in the network of its server.
    """
    made = []
    for message in messages:
        turn = _chat_message(message)
        if message.images:
            turn["content"] = [{"type": "text", "text": message.content}, *map(_held_image, message.images)]
        made.append(turn)
    return made


def _held_image(image: Image) -> dict[str, Any]:
    if image_bytes(image) is None:
        raise refused("messages", f'has an image at "{image.uri:.80}"; this engine reads only the bytes of images')
    return {"type": "image_url", "image_url": {"url": image_address(image)}}


def without_images(request: ChatRequest, model: object) -> None:
    """Raises `GenerationRefused` if a conversation has images, for a model that reads only text."""
    for index, message in enumerate(request.messages):
        if message.images:
            hint = "remove them, or use llm_openai, llm_anthropic, llm_gemini or llm_llamacpp with a projector"
            why = f"has {len(message.images)} image{'s' * (len(message.images) > 1)}, and {model} reads only text"
            raise refused(f"messages[{index}]", f"{why}; {hint}")


def _image_type(image: Image) -> str:
    if not image.mime_type.startswith("image/") or not image.content:
        raise refused("messages", f'has an image of the type "{image.mime_type:.80}" with {len(image.content)} bytes')
    return image.mime_type
