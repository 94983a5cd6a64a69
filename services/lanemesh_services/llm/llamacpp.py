"""llama.cpp as an engine: any GGUF file, through the server object of `xllamacpp`, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from typing import Any, Self

from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, ToolCall, ToolSpec, Usage
from lanemesh.extend import in_thread

from lanemesh_services.llm.engine import Sampling, check_request
from lanemesh_services.llm.errors import closed, failed, not_followed, refused, template_refuses
from lanemesh_services.llm.gguf_header import GgufHeader, control_tokens
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions, LlamaCppProcess
from lanemesh_services.llm.messages import folded, with_images, without_images
from lanemesh_services.llm.schemas import AnswerSchema, begins_json

EARLY = 64
"""Characters of an answer with a schema that are checked when they arrive, to detect a failed grammar at once."""
SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""White space of answers with a schema, as written by `json.dumps`: small models generate endless white space otherwise."""
_JINJA = re.compile(r".*Jinja Exception: ", re.DOTALL)
RANDOM_SEED = 2**32 - 1
"""The seed that llama.cpp interprets as no seed."""


class LlamaCppEngine:
    """A loaded GGUF model. Create one with `load`."""

    def __init__(self, process: LlamaCppProcess, options: LlamaCppOptions) -> None:
        self._process = process
        self._options = options
        self._tools = _template_knows_tools(process.header)
        self._control: dict[str, int] | None = None
        self._starting = threading.Lock()
        self._running: dict[int, asyncio.Future[None]] = {}
        self._closed = False

    @classmethod
    def load(cls, options: LlamaCppOptions) -> Self:
        """Loads a model. Blocks, so call it in a thread.

        Raises:
            ModelUnusable: not a GGUF file, not a chat model, a damaged file, or one that llama.cpp does not support.
            ModelTooLarge: weights or context do not fit.
            EngineMissing: xllamacpp is not installed or cannot be used.
        """
        return cls(LlamaCppProcess.start(options), options)

    @property
    def active(self) -> int:
        """How many generations are running or waiting for a slot."""
        return len(self._running)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Generates one turn; see `Engine.chat`. At most `max_tokens` pieces wait for a slow reader.

        A complete answer is checked against the original schema.
        """
        schema = check_request(request)
        body = self._body(request, schema)
        if schema is None and request.sampling.stop:
            body |= await self._stopping(request)
        try:
            async with aclosing(self._turn(body, schema)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        except _TemplateError as error:  # before any piece
            refusal = template_refuses(self._options.path.name, str(error))
        body["messages"] = folded(body["messages"])
        try:
            async with aclosing(self._turn(body, schema)) as pieces:
                async for piece in pieces:
                    yield piece
        except _TemplateError:
            raise refusal from None

    async def _turn(self, body: dict[str, Any], schema: AnswerSchema | None) -> AsyncGenerator[ChatEvent, None]:
        turn, text = _Turn(), ""
        async with aclosing(self._chunks(body)) as chunks:
            async for chunk in chunks:
                for piece in turn.take(chunk):
                    if schema is not None and isinstance(piece, ChatText):
                        early = len(text) < EARLY
                        text += piece.text
                        if early and not begins_json(text):
                            raise refused("json_schema", self._process.grammar_error())
                    yield piece
        usage, finish = turn.end()
        stopped = finish.reason == "stop" and body["stop"] and begins_json(text)  # possibly by a text of `stop`
        if schema is not None and not stopped and (problem := _problem(schema, text, finish.reason)):
            raise not_followed(problem)
        yield usage
        yield finish

    async def close(self) -> None:
        """Ends every generation and frees the model; waits a few seconds at most for both."""
        self._closed = True
        await in_thread(self._close)

    def _close(self) -> None:
        with self._starting:
            self._process.close()

    def _restart(self) -> None:
        """Loads the model again if its process has ended unexpectedly. Blocks."""
        with self._starting:
            if not self._process.alive and not self._closed:
                self._process = LlamaCppProcess.start(self._options)

    def _body(self, request: ChatRequest, schema: AnswerSchema | None) -> dict[str, Any]:
        sampling = Sampling.of(request)
        if self._options.projector is None:
            without_images(request, f"{self._options.path.name} without a projector")
        body: dict[str, Any] = {
            "messages": with_images(request.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # so that the callback is also called between the batches of a long prompt
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,  # llama.cpp's own default would exclude tokens without a request
            "max_tokens": sampling.max_tokens,
            "stop": list(sampling.stop),
            # A partly cached prompt gives slightly different numbers, so with a seed the prompt is evaluated again.
            "cache_prompt": sampling.seed is None,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed % RANDOM_SEED
        if schema is not None:
            body |= self._following(schema.for_grammar(), offers_tools=bool(request.tools))
        if request.tools:
            if not self._tools:
                why = f"has tools, and the chat template of {self._options.path.name} does not support tools"
                raise refused("tools", f"{why}; use a model that was trained for tool calls")
            body["tools"] = [_tool(tool) for tool in request.tools]
        return body

    async def _stopping(self, request: ChatRequest) -> dict[str, Any]:
        """The settings for stop texts that are special tokens: llama.cpp emits no text for them, so a grammar ends with them."""
        if self._control is None:
            self._control = await in_thread(lambda: control_tokens(self._options.path))
        held = {stop: [name for name in self._control if name in stop] for stop in request.sampling.stop}
        if not any(held.values()):
            return {}
        if mixed := next((stop for stop, names in held.items() if names and stop not in names), None):
            why = f'holds "{mixed}", a special token of the model within other text, which llama.cpp cannot find'
            raise refused("sampling.stop", f"{why}; use only the token")
        if request.tools or not self._process.guided:
            which = "while tools are offered" if request.tools else "because this xllamacpp lacks llguidance"
            special = ", ".join(stop for stop, names in held.items() if names)
            raise refused(
                "sampling.stop", f"holds special tokens of the model ({special}), which cannot be found {which}"
            )
        ends = {self._control[stop] for stop, names in held.items() if names}
        return {"grammar": _ending_with(ends, set(self._control.values()) - ends)}

    def _following(self, schema: dict[str, Any], *, offers_tools: bool) -> dict[str, Any]:
        """The settings that make an answer follow a schema: llguidance, or llama.cpp's own grammar if there are tools."""
        if self._process.guided and not offers_tools:
            grammar = f"%llguidance {{}}\nstart: %json {json.dumps({**schema, 'x-guidance': SPACING})}"
            return {"grammar": grammar, "reasoning_format": "none"}
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}

    async def _chunks(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The server's answer, chunk by chunk. Closing the iterator stops the server at its next token."""
        if not self._process.alive and not self._closed:
            await in_thread(self._restart)
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()  # at most `max_tokens` chunks
        ended = False

        def receive(message: dict[str, Any]) -> None:
            with suppress(RuntimeError):  # the loop was closed: there is no reader any more
                loop.call_soon_threadsafe(take, message)

        def take(message: dict[str, Any]) -> None:
            if "chunk" not in message:
                self._running.pop(number).set_result(None)
            arrived.put_nowait(message)

        process = self._process
        number = process.generate(body, receive)
        self._running[number] = loop.create_future()
        try:
            while True:
                message = await arrived.get()
                ended = "chunk" not in message
                if ended:
                    break
                yield message["chunk"]
        finally:
            if not ended:
                process.cancel(number)
        if self._closed:
            raise closed()
        if "error" in message:
            raise message["error"]
        if message["end"] is not None:
            raise _error(message["end"])


def _ending_with(ends: set[int], others: set[int]) -> str:
    """A grammar of any text with special tokens, which ends after one of `ends`."""
    special = f" | <[{_listed(others)}]>" if others else ""
    return f"%llguidance {{}}\nstart: (TEXT{special})* (<[{_listed(ends)}]>)?\nTEXT: /(?s:.+)/"


def _listed(tokens: set[int]) -> str:
    return ",".join(map(str, sorted(tokens)))


class _TemplateError(Exception):
    """The chat template cannot format a conversation."""


def _error(end: dict[str, str]) -> Exception:
    message = end["message"]
    if "Jinja" in message or "template" in message.lower():
        return _TemplateError(_JINJA.sub("", message).rstrip(").\n"))
    if end["type"] == "ValueError":
        return refused("json_schema" if _about_schema(message) else "messages", f"({message})")
    return failed(f"llama.cpp reports: {message}")


def _about_schema(message: str) -> bool:
    return any(word in message.lower() for word in ("schema", "grammar"))


def _problem(schema: AnswerSchema, text: str, finish_reason: str) -> str:
    """Why a completed turn does not follow its schema; empty if it does, or if it was truncated."""
    if finish_reason == "stop":
        return schema.problem(text)
    if finish_reason == "length" and not begins_json(text):
        return "it is not JSON"
    return ""


class _Turn:
    """Assembles the server's chunks into pieces of one turn."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}
        self._reason = ""
        self._usage = (0, 0)

    def take(self, chunk: dict[str, Any]) -> Iterator[ChatText | ToolCall]:
        """Adds a chunk; returns the completed pieces. Raises if the chunk reports an error."""
        if "error" in chunk:
            error = chunk["error"]
            message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
            if "Jinja" in message:
                raise _TemplateError(_JINJA.sub("", message).rstrip(").\n"))
            if isinstance(error, dict) and error.get("code") == 400:
                field = "json_schema" if _about_schema(message) else "messages"
                raise refused(field, f"was rejected by the model: {message}")
            raise failed(f"llama.cpp reports: {message}")
        if usage := chunk.get("usage"):
            self._usage = (usage["prompt_tokens"], usage["completion_tokens"])
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                yield ChatText(text)
            for part in delta.get("tool_calls") or ():
                self._add_call(part)
            if reason := choice.get("finish_reason"):
                self._reason = reason
                yield from self._calls.values()

    def _add_call(self, part: dict[str, Any]) -> None:
        function = part.get("function") or {}
        index = part.get("index", 0)
        begun = self._calls.get(index) or ToolCall("", "", "")
        self._calls[index] = ToolCall(
            part.get("id") or begun.id or f"call_{secrets.token_hex(8)}",
            begun.name + (function.get("name") or ""),
            begun.arguments + (function.get("arguments") or ""),
        )

    def end(self) -> tuple[Usage, ChatFinish]:
        """Ends the turn. Raises if the server did not report its end."""
        if not self._reason:
            raise failed("llama.cpp ended without a finish reason")
        return Usage(*self._usage), ChatFinish(self._reason)


def _template_knows_tools(header: GgufHeader) -> bool:
    return "tools" in header.chat_template


def _tool(tool: ToolSpec) -> dict[str, Any]:
    parameters = tool.parameters or {"type": "object"}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}
