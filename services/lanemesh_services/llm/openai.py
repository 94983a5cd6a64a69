"""Models behind the API of OpenAI, which many servers speak: Chat Completions and Responses, on the official client."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, get_args

from lanemesh import ChatFinish, ChatRequest, ChatText, LanemeshError, Message, ToolCall

from lanemesh_services.llm.hosted import (
    ALIVE,
    HostedEngine,
    HostedOptions,
    Piece,
    Spent,
    ToolNames,
    is_strict,
    parameters_of,
    plain,
)
from lanemesh_services.llm.messages import image_address
from lanemesh_services.llm.schemas import AnswerSchema
from lanemesh_services.shared.hosted_errors import broken, filtered
from lanemesh_services.shared.hosted_http import http_client, http_failure, response_failure

BASE_URL = "https://api.openai.com/v1"
"""Address of OpenAI's own server."""
MAX_STOPS = 4
"""Most stop texts that the API accepts. More are looked for here."""

_REASONS = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


class OpenAiEngine(HostedEngine):
    """A model behind a server that speaks the API of OpenAI."""

    name = "OpenAI"

    def __init__(self, options: HostedOptions) -> None:
        """Makes the client. Imports the library, so it may block."""
        super().__init__(options)
        import openai

        auth = ("Authorization", f"Bearer {options.api_key}") if options.api_key else None
        self._http = http_client(self.server, auth, silence=options.timeout, connections=options.concurrency)
        # The key is added by the HTTP client, and everything that the library would read from the environment is given.
        self._client = openai.AsyncOpenAI(
            api_key="unused",
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=options.base_url,
            max_retries=0,
            http_client=self._http,
        )

    async def disconnect(self) -> None:
        """See `HostedEngine.disconnect`."""
        await self._http.aclose()

    def failure(self, error: Exception) -> LanemeshError | None:
        """See `HostedEngine.failure`."""
        import openai

        match error:
            case openai.APIStatusError():
                return response_failure(self.server, error.status_code, _message(error.body), error.response.headers)
            case openai.APIConnectionError():
                cause = error.__cause__
                known = http_failure(self.server, cause) if isinstance(cause, Exception) else None
                return known or broken(self.server, error)
            case openai.APIError():
                return response_failure(self.server, _status(error.body), error.message, None)
        return http_failure(self.server, error)


class ChatCompletions(OpenAiEngine):
    """Speaks Chat Completions."""

    def __init__(self, options: HostedOptions) -> None:
        """See `OpenAiEngine`. The library imports the API when it is first used, which is here."""
        super().__init__(options)
        self._api = self._client.chat.completions

    def scanned_stops(self, request: ChatRequest) -> tuple[str, ...]:
        """See `HostedEngine.scanned_stops`."""
        stops = request.sampling.stop
        return stops if len(stops) > MAX_STOPS else ()

    async def attempt(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[Piece, None]:
        """See `HostedEngine.attempt`."""
        names = ToolNames(request.tools)
        turn = _ChatTurn(self, names)
        body, extra = self._body(request, schema, names)
        async with await self._api.create(**body, extra_body=extra) as chunks:
            async for chunk in chunks:
                yield ALIVE
                for piece in turn.take(chunk):
                    yield piece

    def _body(
        self, request: ChatRequest, schema: AnswerSchema | None, names: ToolNames
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The request, and the fields of it that the library does not know."""
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.options.model,
            "messages": chat_turns(request, names),
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        # OpenAI's own models want the new name; other servers know only the old one.
        limit = "max_completion_tokens" if self.options.base_url == BASE_URL else "max_tokens"
        given = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
        body |= {key: value for key, value in {**given, limit: sampling.max_tokens}.items() if value is not None}
        if 0 < len(sampling.stop) <= MAX_STOPS:
            body["stop"] = list(sampling.stop)
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": names.sent(tool.name),
                        "description": tool.description,
                        "parameters": parameters_of(tool),
                    },
                }
                for tool in request.tools
            ]
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": _format(schema)}
        extra = {} if sampling.top_k is None else {"top_k": sampling.top_k}
        return body, {**extra, **(self.options.extra or {})}


class Responses(OpenAiEngine):
    """Speaks Responses. The server stores nothing: each request has the whole conversation."""

    def __init__(self, options: HostedOptions) -> None:
        """See `OpenAiEngine`. The library imports the API and its many types when they are first used, which is here."""
        super().__init__(options)
        from openai.types.responses import ResponseOutputItem, ResponseStreamEvent

        for union in (ResponseStreamEvent, ResponseOutputItem):
            for kind in get_args(get_args(union)[0]):
                kind.model_rebuild()  # otherwise the first answer would, for a second in the event loop
        self._api = self._client.responses

    def scanned_stops(self, request: ChatRequest) -> tuple[str, ...]:
        """See `HostedEngine.scanned_stops`."""
        return request.sampling.stop

    async def attempt(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[Piece, None]:
        """See `HostedEngine.attempt`."""
        names = ToolNames(request.tools)
        turn = _ResponsesTurn(self, names)
        body, extra = self._body(request, schema, names)
        async with await self._api.create(**body, extra_body=extra) as events:
            async for event in events:
                if event.type != "keepalive":
                    yield ALIVE
                for piece in turn.take(event):
                    yield piece

    def _body(
        self, request: ChatRequest, schema: AnswerSchema | None, names: ToolNames
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self.options.model,
            "input": [item for message in request.messages for item in _items(message, names)],
            "stream": True,
            "store": False,
        }
        given = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_output_tokens": sampling.max_tokens,
        }
        body |= {key: value for key, value in given.items() if value is not None}
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "name": names.sent(tool.name),
                    "description": tool.description,
                    "parameters": parameters_of(tool),
                    "strict": False,
                }
                for tool in request.tools
            ]
        if schema is not None:
            body["text"] = {"format": {"type": "json_schema", **_format(schema)}}
        unknown = {"top_k": sampling.top_k, "seed": sampling.seed}
        extra = {key: value for key, value in unknown.items() if value is not None}
        return body, {**extra, **(self.options.extra or {})}


def chat_turns(request: ChatRequest, names: ToolNames) -> list[dict[str, Any]]:
    """A conversation for Chat Completions.

    A tool's turn cannot carry images there. They follow as a turn of the user after the results of all calls.
    """
    turns: list[dict[str, Any]] = []
    late: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role != "tool" and late:
            turns.append({"role": "user", "content": late})
            late = []
        turns.append(_turn(message, names))
        if message.role == "tool" and message.images:
            late.append({"type": "text", "text": f"Images of the result of {message.tool_call_id}:"})
            late += _pictures(message)
    return [*turns, {"role": "user", "content": late}] if late else turns


def _turn(message: Message, names: ToolNames) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images and message.role != "tool":
        turn["content"] = [{"type": "text", "text": message.content}, *_pictures(message)]
    if message.tool_call_id:
        turn["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        turn["content"] = message.content or None
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": names.sent(call.name), "arguments": call.arguments or "{}"},
            }
            for call in message.tool_calls
        ]
    return turn


def _pictures(message: Message) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": image_address(image)}} for image in message.images]


def _items(message: Message, names: ToolNames) -> Iterator[dict[str, Any]]:
    """A turn for Responses."""
    pictures = [{"type": "input_image", "image_url": image_address(image)} for image in message.images]
    text = {"type": "input_text", "text": message.content}
    if message.role == "tool":
        output = [text, *pictures] if pictures else message.content
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}
        return
    if message.content or pictures or not message.tool_calls:
        yield {"role": message.role, "content": [text, *pictures] if pictures else message.content}
    for call in message.tool_calls:
        yield {
            "type": "function_call",
            "call_id": call.id,
            "name": names.sent(call.name),
            "arguments": call.arguments or "{}",
        }


class _ChatTurn:
    """Makes pieces of the chunks of one answer."""

    def __init__(self, engine: OpenAiEngine, names: ToolNames) -> None:
        self._engine = engine
        self._names = names
        self._calls: dict[int, ToolCall] = {}

    def take(self, chunk: Any) -> Iterator[Piece]:
        """The pieces that a chunk completes."""
        for choice in getattr(chunk, "choices", None) or ():
            if delta := choice.delta:
                if text := delta.content or getattr(delta, "refusal", None):
                    yield ChatText(text)
                for part in delta.tool_calls or ():
                    self._add(part)
            if reason := choice.finish_reason:
                yield from self._end(reason)
        if usage := getattr(chunk, "usage", None):
            details = getattr(usage, "prompt_tokens_details", None)
            cached = getattr(details, "cached_tokens", None) or 0
            yield Spent(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached)

    def _end(self, reason: str) -> Iterator[Piece]:
        if reason == "content_filter":
            raise filtered(self._engine.server, reason)
        calls, self._calls = self._calls, {}
        if reason != "length":  # the last call may be cut off
            yield from calls.values()
        yield ChatFinish(_REASONS.get(reason, "stop"))

    def _add(self, part: Any) -> None:
        """Adds a part of a call. Servers that send whole calls may leave out the index."""
        index = part.index if part.index is not None else len(self._calls)
        begun = self._calls.get(index) or ToolCall("", "", "")
        function = part.function
        name = (function.name or "") if function else ""
        self._calls[index] = ToolCall(
            begun.id or part.id or f"call_{index}",
            begun.name or self._names.own(name),
            begun.arguments + ((function.arguments or "") if function else ""),
        )


class _ResponsesTurn:
    """Makes pieces of the events of one response."""

    def __init__(self, engine: OpenAiEngine, names: ToolNames) -> None:
        self._engine = engine
        self._names = names

    def take(self, event: Any) -> Iterator[Piece]:
        """The pieces that an event completes."""
        match event.type:
            case "response.output_text.delta" | "response.refusal.delta":
                yield ChatText(event.delta)
            case "response.output_item.done" if event.item.type == "function_call":
                item = event.item
                yield ToolCall(item.call_id, self._names.own(item.name), item.arguments or "")
            case "response.completed" | "response.incomplete":
                yield from self._end(event.response)
            case "response.failed":
                error = event.response.error
                body = {"code": getattr(error, "code", ""), "message": getattr(error, "message", "")}
                raise response_failure(self._engine.server, _status(body), body["message"], None)
            case "error":
                body = {"code": getattr(event, "code", ""), "message": getattr(event, "message", "")}
                raise response_failure(self._engine.server, _status(body), body["message"], None)

    def _end(self, response: Any) -> Iterator[Piece]:
        details = response.incomplete_details
        reason = details.reason if details else None
        if reason == "content_filter":
            raise filtered(self._engine.server, reason)
        if usage := response.usage:
            cached = getattr(getattr(usage, "input_tokens_details", None), "cached_tokens", None) or 0
            yield Spent(usage.input_tokens or 0, usage.output_tokens or 0, cached)
        yield ChatFinish("length" if reason else "stop")


def _format(schema: AnswerSchema) -> dict[str, Any]:
    return {"name": "answer", "schema": plain(schema.schema), "strict": is_strict(schema.schema)}


def _message(body: object) -> str:
    """The message in the body of an error response."""
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        return str(inner.get("message") or inner) if isinstance(inner, Mapping) else str(inner)
    return str(body or "")


def _status(body: object) -> int:
    """The status of an error within a stream, which has no status of its own."""
    code = body.get("code") if isinstance(body, Mapping) else None
    if isinstance(code, int) and 400 <= code < 600:
        return code
    kind = body.get("type") if isinstance(body, Mapping) else None
    text = f"{code} {kind}".lower()
    if "rate_limit" in text or "quota" in text:
        return 429
    return 400 if "invalid" in text else 500
