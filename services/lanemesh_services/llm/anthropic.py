"""Models behind the Messages API of Anthropic, on the official client."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from lanemesh import ChatFinish, ChatRequest, ChatText, Image, LanemeshError, Message, ToolCall

from lanemesh_services.llm.errors import refused
from lanemesh_services.llm.hosted import (
    ALIVE,
    HostedEngine,
    HostedOptions,
    Piece,
    Spent,
    ToolNames,
    arguments_of,
    parameters_of,
    plain,
)
from lanemesh_services.llm.messages import image_address, image_bytes
from lanemesh_services.llm.schemas import AnswerSchema
from lanemesh_services.shared.hosted_errors import broken, filtered
from lanemesh_services.shared.hosted_http import http_client, http_failure, response_failure

MAX_TOKENS = 4096
"""Maximum number of tokens of an answer, which the API wants in each request, unless it is set."""

_REASONS = {"max_tokens": "length", "model_context_window_exceeded": "length", "tool_use": "tool_calls"}
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status of an error within a stream, by its type; others are errors of the server."""


class AnthropicEngine(HostedEngine):
    """A model behind a server that speaks the Messages API."""

    name = "Anthropic"

    def __init__(self, options: HostedOptions) -> None:
        """Makes the client. Imports the library, so it may block."""
        super().__init__(options)
        import anthropic

        auth = ("x-api-key", options.api_key) if options.api_key else None
        self._http = http_client(self.server, auth, silence=options.timeout, connections=options.concurrency)
        # The key is added by the HTTP client. With one given, the library reads none from the environment.
        self._client = anthropic.AsyncAnthropic(
            api_key="unused", webhook_key="", base_url=options.base_url, max_retries=0, http_client=self._http
        )

    async def disconnect(self) -> None:
        """See `HostedEngine.disconnect`."""
        await self._http.aclose()

    def failure(self, error: Exception) -> LanemeshError | None:
        """See `HostedEngine.failure`."""
        import anthropic

        match error:
            case anthropic.APIStatusError():
                inner = error.body.get("error") if isinstance(error.body, Mapping) else None
                inner = inner if isinstance(inner, Mapping) else {}
                within = error.status_code == 200  # an event of the stream
                status = _STATUS.get(str(inner.get("type")), 500) if within else error.status_code
                message = inner.get("message") or error.body or ""
                return response_failure(self.server, status, message, error.response.headers)
            case anthropic.APIConnectionError():
                cause = error.__cause__
                known = http_failure(self.server, cause) if isinstance(cause, Exception) else None
                return known or broken(self.server, error)
            case anthropic.APIError():
                return broken(self.server, error)
        return http_failure(self.server, error)

    async def attempt(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[Piece, None]:
        """See `HostedEngine.attempt`."""
        names = ToolNames(request.tools)
        turn = _Turn(self, names)
        body = self._body(request, schema, names)
        sampling = request.sampling  # the library no longer names these fields, which only older models accept
        given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        extra = {key: value for key, value in given.items() if value is not None} | dict(self.options.extra or {})
        async with await self._client.messages.create(**body, extra_body=extra) as events:
            async for event in events:  # the library leaves out pings
                yield ALIVE
                for piece in turn.take(event):
                    yield piece

    def _body(self, request: ChatRequest, schema: AnswerSchema | None, names: ToolNames) -> dict[str, Any]:
        sampling = request.sampling
        if sampling.seed is not None:
            raise refused("sampling.seed", "is not supported by the API of Anthropic; remove it")
        body: dict[str, Any] = {
            "model": self.options.model,
            "messages": turns(request, names),
            "max_tokens": sampling.max_tokens or MAX_TOKENS,
            "stream": True,
        }
        if system := "\n\n".join(turn.content for turn in request.messages if turn.role == "system" and turn.content):
            body["system"] = system
        if sampling.stop:
            body["stop_sequences"] = list(sampling.stop)
        if request.tools:
            body["tools"] = [
                {"name": names.sent(tool.name), "description": tool.description, "input_schema": parameters_of(tool)}
                for tool in request.tools
            ]
        if schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": plain(schema.schema)}}
        return body


def turns(request: ChatRequest, names: ToolNames) -> list[dict[str, Any]]:
    """A conversation for the Messages API: turns of user and assistant by turns, the results of tools with the user."""
    made: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = list(_blocks(message, names))
        if made and made[-1]["role"] == role:
            made[-1]["content"] += blocks
        elif blocks:
            made.append({"role": role, "content": blocks})
    return made


def _blocks(message: Message, names: ToolNames) -> Iterator[dict[str, Any]]:
    """The content of a turn. The API rejects empty texts."""
    text = [{"type": "text", "text": message.content}] if message.content.strip() else []
    content = [*text, *map(_picture, message.images)]
    if message.role == "tool":
        yield {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content}
        return
    yield from content
    for call in message.tool_calls:
        yield {"type": "tool_use", "id": call.id, "name": names.sent(call.name), "input": arguments_of(call)}


def _picture(image: Image) -> dict[str, Any]:
    if (held := image_bytes(image)) is None:
        return {"type": "image", "source": {"type": "url", "url": image_address(image)}}
    kind, content = held
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": b64encode(content).decode()}}


class _Turn:
    """Makes pieces of the events of one answer."""

    def __init__(self, engine: AnthropicEngine, names: ToolNames) -> None:
        self._engine = engine
        self._names = names
        self._calls: dict[int, ToolCall] = {}
        self._prompt = self._cached = 0

    def take(self, event: Any) -> Iterator[Piece]:
        """The pieces that an event completes."""
        match event.type:
            case "message_start":
                self._read(event.message.usage)
            case "content_block_start" if event.content_block.type == "tool_use":
                block = event.content_block
                self._calls[event.index] = ToolCall(block.id, self._names.own(block.name), "")
            case "content_block_start" if event.content_block.type == "text" and event.content_block.text:
                yield ChatText(event.content_block.text)
            case "content_block_delta" if event.delta.type == "text_delta":
                yield ChatText(event.delta.text)
            case "content_block_delta" if event.delta.type == "input_json_delta" and event.index in self._calls:
                begun = self._calls[event.index]  # other blocks are calls of tools that the server has called itself
                self._calls[event.index] = ToolCall(begun.id, begun.name, begun.arguments + event.delta.partial_json)
            case "message_delta" if event.delta.stop_reason:
                yield from self._end(event.delta.stop_reason, event.usage)

    def _read(self, usage: Any) -> None:
        self._cached = getattr(usage, "cache_read_input_tokens", None) or 0
        created = getattr(usage, "cache_creation_input_tokens", None) or 0
        self._prompt = (getattr(usage, "input_tokens", None) or 0) + self._cached + created

    def _end(self, reason: str, usage: Any) -> Iterator[Piece]:
        if reason == "refusal":
            raise filtered(self._engine.server, reason)
        finish = _REASONS.get(reason, "stop")
        if finish != "length":  # the last call may be cut off
            yield from self._calls.values()
        if getattr(usage, "input_tokens", None) is not None:
            self._read(usage)
        yield Spent(self._prompt, getattr(usage, "output_tokens", None) or 0, self._cached)
        yield ChatFinish(finish)
