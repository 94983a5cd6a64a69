"""Models behind the Gemini API of Google, on the official client."""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

from lanemesh import ChatFinish, ChatRequest, ChatText, Image, LanemeshError, Message, ToolCall

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
from lanemesh_services.shared.hosted_http import OPENED, http_client, http_failure, response_failure

API_VERSION = "v1beta"
MAX_STOPS = 5
"""Most stop texts that the API accepts. More are looked for here."""
MAX_SIGNATURES = 4096
"""Most calls whose signatures are kept, the newest ones."""

_FILTERS = frozenset(
    {
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    }
)


class GeminiEngine(HostedEngine):
    """A model behind a server that speaks the Gemini API."""

    name = "Gemini"

    def __init__(self, options: HostedOptions) -> None:
        """Makes the client. Imports the library, so it may block."""
        super().__init__(options)
        from google import genai
        from google.genai.types import HttpOptions

        auth = ("x-goog-api-key", options.api_key) if options.api_key else None
        self._http = http_client(
            self.server, auth, silence=options.timeout, connections=options.concurrency, comments=False
        )
        # The key is added by the HTTP client, and everything that the library would read from the environment is given.
        self._client = genai.Client(
            vertexai=False,
            api_key="unused",
            http_options=HttpOptions(
                base_url=options.base_url,
                api_version=API_VERSION,
                httpx_async_client=self._http,
                timeout=max(1, int(options.timeout * 1000)),
                extra_body=dict(options.extra or {}),
            ),
        )
        self.signatures: OrderedDict[str, bytes] = OrderedDict()
        """The signatures of the calls of models that think, by the id of the call. The API wants them back."""

    async def disconnect(self) -> None:
        """See `HostedEngine.disconnect`."""
        await self._http.aclose()

    def failure(self, error: Exception) -> LanemeshError | None:
        """See `HostedEngine.failure`."""
        from google.genai import errors

        if isinstance(error, errors.APIError):
            status = error.code if isinstance(error.code, int) else 500
            headers = getattr(error.response, "headers", None)
            text = error.message or error.status or ""
            return response_failure(self.server, status, text, headers if isinstance(headers, Mapping) else None)
        if isinstance(error, errors.UnknownApiResponseError):
            return broken(self.server, "a part of it is not JSON")
        return http_failure(self.server, error)

    def scanned_stops(self, request: ChatRequest) -> tuple[str, ...]:
        """See `HostedEngine.scanned_stops`."""
        stops = request.sampling.stop
        return stops if len(stops) > MAX_STOPS else ()

    async def attempt(self, request: ChatRequest, schema: AnswerSchema | None) -> AsyncGenerator[Piece, None]:
        """See `HostedEngine.attempt`."""
        names = ToolNames(request.tools)
        turn = _Turn(self, names)
        contents, config = self._contents(request, names), self._config(request, schema, names)
        opened: list[Any] = []
        OPENED.set(opened)
        try:
            chunks: Any = await self._client.aio.models.generate_content_stream(
                model=self.options.model, contents=contents, config=config
            )
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield ALIVE
                    for piece in turn.take(chunk):
                        yield piece
        finally:  # the library leaves a response that is not read to its end to the garbage collector
            OPENED.set(None)
            for response in opened:
                await response.aclose()

    def _config(self, request: ChatRequest, schema: AnswerSchema | None, names: ToolNames) -> Any:
        sampling = request.sampling
        given = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_output_tokens": sampling.max_tokens,
            "seed": sampling.seed,
        }
        config: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        config["automatic_function_calling"] = {"disable": True}
        if system := "\n\n".join(turn.content for turn in request.messages if turn.role == "system" and turn.content):
            config["system_instruction"] = system
        if 0 < len(sampling.stop) <= MAX_STOPS:
            config["stop_sequences"] = list(sampling.stop)
        if request.tools:
            functions = [
                {
                    "name": names.sent(tool.name),
                    "description": tool.description,
                    "parameters_json_schema": parameters_of(tool),
                }
                for tool in request.tools
            ]
            config["tools"] = [{"function_declarations": functions}]
        if schema is not None:
            config |= {"response_mime_type": "application/json", "response_json_schema": plain(schema.schema)}
        return config

    def _contents(self, request: ChatRequest, names: ToolNames) -> Any:
        """A conversation: turns of user and model by turns, the results of tools with the user."""
        called = {call.id: call.name for message in request.messages for call in message.tool_calls}
        made: list[dict[str, Any]] = []
        for message in request.messages:
            if message.role == "system":
                continue
            role = "model" if message.role == "assistant" else "user"
            parts = list(self._parts(message, names, called))
            if made and made[-1]["role"] == role:
                made[-1]["parts"] += parts
            elif parts:
                made.append({"role": role, "parts": parts})
        return made

    def _parts(self, message: Message, names: ToolNames, called: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        if message.role == "tool":
            name = names.sent(called.get(message.tool_call_id, message.tool_call_id))
            yield {"function_response": {"name": name, "response": _object(message.content)}}
        elif message.content:
            yield {"text": message.content}
        yield from map(_picture, message.images)
        for call in message.tool_calls:
            part: dict[str, Any] = {"function_call": {"name": names.sent(call.name), "args": arguments_of(call)}}
            if signature := self.signatures.get(call.id):
                part["thought_signature"] = signature
            yield part

    def keep(self, call_id: str, signature: bytes) -> None:
        """Keeps the signature of a call."""
        self.signatures[call_id] = signature
        while len(self.signatures) > MAX_SIGNATURES:
            self.signatures.popitem(last=False)


def _object(content: str) -> dict[str, Any]:
    """The result of a tool as an object."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = content
    return value if isinstance(value, dict) else {"result": value}


def _picture(image: Image) -> dict[str, Any]:
    if (held := image_bytes(image)) is None:
        return {"file_data": {"file_uri": image_address(image), "mime_type": image.mime_type}}
    kind, content = held
    return {"inline_data": {"mime_type": kind, "data": content}}


class _Turn:
    """Makes pieces of the chunks of one answer."""

    def __init__(self, engine: GeminiEngine, names: ToolNames) -> None:
        self._engine = engine
        self._names = names

    def take(self, chunk: Any) -> Iterator[Piece]:
        """The pieces of a chunk."""
        if (feedback := chunk.prompt_feedback) and feedback.block_reason:
            raise filtered(self._engine.server, _name(feedback.block_reason))
        if usage := chunk.usage_metadata:  # each chunk has the sums so far
            written = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            yield Spent(usage.prompt_token_count or 0, written, usage.cached_content_token_count or 0)
        for candidate in (chunk.candidates or ())[:1]:
            for part in (candidate.content.parts or ()) if candidate.content else ():
                if part.text and not part.thought:
                    yield ChatText(part.text)
                if part.function_call:
                    yield self._call(part)
            if reason := candidate.finish_reason:
                yield self._end(_name(reason))

    def _call(self, part: Any) -> ToolCall:
        call = part.function_call
        call_id = call.id or f"call_{secrets.token_hex(8)}"
        if part.thought_signature:
            self._engine.keep(call_id, part.thought_signature)
        arguments = json.dumps(call.args or {}, ensure_ascii=False)
        return ToolCall(call_id, self._names.own(call.name or ""), arguments)

    def _end(self, reason: str) -> ChatFinish:
        if reason in _FILTERS:
            raise filtered(self._engine.server, reason)
        if reason not in ("STOP", "MAX_TOKENS"):
            raise broken(self._engine.server, f"it ended with the reason {reason}")
        return ChatFinish("length" if reason == "MAX_TOKENS" else "stop")


def _name(value: Any) -> str:
    """The name of a member of an enum, or of a new one that the library does not know."""
    return str(getattr(value, "value", value))
