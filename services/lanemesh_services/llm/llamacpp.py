"""llama.cpp as an engine: any GGUF file, through the server object of `xllamacpp`, inside this process.

Generations run in daemon threads, one per slot of the server; the server batches the slots that are busy. It must not be
generating when the interpreter goes away, so an exit hook stops it first.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import secrets
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Future, wait
from contextlib import aclosing, suppress
from typing import Any, Self

from lanemesh.v1 import control_pb2, lane_pb2

from lanemesh_services.llm.engine import Sampling, call_piece, check_messages, done_piece, text_piece
from lanemesh_services.llm.errors import closed, failed, refused
from lanemesh_services.llm.gguf_header import GgufHeader
from lanemesh_services.llm.llamacpp_server import LlamaCppOptions, load_server
from lanemesh_services.llm.messages import chat_messages
from lanemesh_services.llm.threads import DaemonPool

EXIT_WAIT = 2.0
"""Longest time, in seconds, that the exit of the interpreter waits for generations to notice that they were stopped."""
CLOSE_WAIT = 30.0
"""Longest time, in seconds, that `close` waits for them."""


class LlamaCppEngine:
    """A loaded GGUF model. Make one with `load`."""

    def __init__(self, server: Any, options: LlamaCppOptions, header: GgufHeader) -> None:
        self._server: Any = server
        self._options = options
        self._tools = _template_knows_tools(header)
        self._pool = DaemonPool(options.slots, "llamacpp")
        self._running: dict[Future[None], threading.Event] = {}
        _engines.add(self)

    @classmethod
    def load(cls, options: LlamaCppOptions) -> Self:
        """Loads a model. Blocks, so call it in a thread; the library keeps the interpreter's lock while it loads.

        Raises:
            ModelUnusable: no GGUF file, a damaged one, or one that llama.cpp does not know.
            ModelTooLarge: weights or context do not fit.
            EngineMissing: xllamacpp is not installed.
        """
        header, server = load_server(options)
        return cls(server, options, header)

    @property
    def active(self) -> int:
        """How many generations are running or waiting for a slot."""
        return len(self._running)

    async def generate(
        self, request: control_pb2.GenerateRequest
    ) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """Generates one turn; see `Engine.generate`. A reader that is slow holds back no more than `max_tokens` pieces."""
        body = self._body(request)
        turn = _Turn()
        async with aclosing(self._chunks(body)) as chunks:
            async for chunk in chunks:
                for piece in turn.take(chunk):
                    yield piece
        yield turn.done()

    async def close(self) -> None:
        """Ends every generation and frees the model; waits for both, at most half a minute."""
        for unwanted in list(self._running.values()):
            unwanted.set()
        if self._running:
            await asyncio.wait([asyncio.wrap_future(future) for future in self._running], timeout=CLOSE_WAIT)
        await self._pool.run(self._free)
        self._pool.close()

    def _free(self) -> None:
        self._server = None

    def _body(self, request: control_pb2.GenerateRequest) -> dict[str, Any]:
        check_messages(request)
        sampling = Sampling.of(request)
        body: dict[str, Any] = {
            "messages": chat_messages(request.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # so that the callback is asked between the batches of a long prompt too
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "min_p": 0.0,  # llama.cpp's own default would cut tokens that nobody asked it to cut
            "max_tokens": sampling.max_tokens,
            "stop": list(sampling.stop),
            # A prompt half read before gives slightly other numbers: with a seed it is read anew.
            "cache_prompt": sampling.seed is None,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed % 2**32
        if request.schema_json:
            schema = _json_object("json_schema", request.schema_json)
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        if request.tools:
            if not self._tools:
                why = f"has tools, and the chat template of {self._options.path.name} cannot tell a model of tools"
                raise refused("tools", f"{why}; take a model that was made for tool calls")
            body["tools"] = [_tool(index, tool) for index, tool in enumerate(request.tools)]
        return body

    async def _chunks(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The server's answer, chunk by chunk. Closing the iterator makes the server stop at its next token."""
        if self._server is None:
            raise closed()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        unwanted = threading.Event()

        def deliver(chunk: dict[str, Any] | None) -> bool:
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)
                return unwanted.is_set()
            return True

        def work() -> None:
            try:
                if not unwanted.is_set():
                    self._server.handle_chat_completions(body, deliver)
            finally:
                deliver(None)

        future = self._pool.submit(work)
        self._running[future] = unwanted
        future.add_done_callback(self._forget)
        try:
            while (chunk := await arrived.get()) is not None:
                yield chunk
            if unwanted.is_set():
                raise closed()
            try:
                await asyncio.wrap_future(future)
            except ValueError as error:
                raise refused("json_schema" if "schema" in str(error).lower() else "messages", f"({error})") from error
            except Exception as error:
                raise failed(f"llama.cpp said: {error}") from error
        finally:
            unwanted.set()
            future.cancel()  # takes it out of the queue if it has no slot yet

    def _forget(self, future: Future[None]) -> None:
        self._running.pop(future, None)


class _Turn:
    """Puts the server's chunks together into pieces of one turn."""

    def __init__(self) -> None:
        self._calls: dict[int, lane_pb2.ToolCall] = {}
        self._reason = ""
        self._usage = (0, 0)

    def take(self, chunk: dict[str, Any]) -> Iterator[control_pb2.GenerateResponse]:
        """Takes a chunk; gives the pieces that are whole with it. Raises if the chunk tells of an error."""
        if "error" in chunk:
            error = chunk["error"]
            message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
            if isinstance(error, dict) and error.get("code") == 400:
                raise refused("messages", f"cannot be taken by the model: {message}")
            raise failed(f"llama.cpp said: {message}")
        if usage := chunk.get("usage"):
            self._usage = (usage["prompt_tokens"], usage["completion_tokens"])
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                yield text_piece(text)
            for part in delta.get("tool_calls") or ():
                self._add_call(part)
            if reason := choice.get("finish_reason"):
                self._reason = reason
                yield from (call_piece(call) for call in self._calls.values())

    def _add_call(self, part: dict[str, Any]) -> None:
        function = part.get("function") or {}
        call = self._calls.setdefault(part.get("index", 0), lane_pb2.ToolCall())
        call.id = part.get("id") or call.id or f"call_{secrets.token_hex(8)}"
        call.name += function.get("name") or ""
        call.arguments_json += function.get("arguments") or ""

    def done(self) -> control_pb2.GenerateResponse:
        """The end of the turn. Raises if the server never said that it had ended."""
        if not self._reason:
            raise failed("llama.cpp ended without a finish reason")
        return done_piece(self._reason, *self._usage)


def _template_knows_tools(header: GgufHeader) -> bool:
    return "tools" in str(header.values.get("tokenizer.chat_template", ""))


def _tool(index: int, tool: control_pb2.ToolSpec) -> dict[str, Any]:
    parameters = _json_object(f"tools[{index}].parameters_json", tool.parameters_json or '{"type": "object"}')
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _json_object(field: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise refused(field, f"is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise refused(field, "must be a JSON object")
    return value


_engines: weakref.WeakSet[LlamaCppEngine] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Stops every generation before the interpreter goes: a thread inside the library then would crash the process."""
    engines = list(_engines)
    running = {future: unwanted for engine in engines for future, unwanted in list(engine._running.items())}
    for future, unwanted in running.items():
        unwanted.set()
        future.cancel()
    if not wait(running, timeout=EXIT_WAIT).not_done:
        for engine in engines:
            engine._free()
