"""What the servers of hosted models send, written by hand as their APIs define it: one class for each dialect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lanemesh_services.llm.anthropic import AnthropicEngine
from lanemesh_services.llm.gemini import GeminiEngine
from lanemesh_services.llm.hosted import HostedEngine, HostedOptions
from lanemesh_services.llm.openai import ChatCompletions, Responses

Call = tuple[str, str, str]
"""Id, name and arguments of a tool call."""


def sse(data: Any, event: str = "") -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


class Dialect:
    """The events of one API."""

    name = ""
    path = "/v1"
    engine_class: type[HostedEngine]
    key_header = "authorization"
    key_prefix = "Bearer "

    def engine(self, address: str, **options: Any) -> HostedEngine:
        """An engine for a server at this address."""
        return self.engine_class(HostedOptions(**{"model": "m-1", "base_url": address + self.path, **options}))

    def begin(self) -> list[bytes]:
        """The events before the first text."""
        return []

    def text(self, text: str) -> bytes:
        """A piece of text."""
        raise NotImplementedError

    def calls(self, calls: Sequence[Call]) -> list[bytes]:
        """Tool calls, in pieces where the API has pieces."""
        raise NotImplementedError

    def reasoning(self, text: str) -> bytes:
        """A piece of the model's reasoning."""
        raise NotImplementedError

    def keepalive(self) -> bytes:
        """What the server sends to keep a connection alive."""
        return b": keep-alive\n\n"

    def end(self, reason: str, prompt: int = 7, completion: int = 5, cached: int = 0) -> list[bytes]:
        """The end of an answer: "stop", "length", "tool_calls" or "filtered"."""
        raise NotImplementedError

    def error(self, message: str) -> bytes:
        """An error of the server within a stream."""
        raise NotImplementedError

    def error_body(self, message: str) -> Any:
        """The body of an error response."""
        return {"error": {"message": message, "type": "x", "code": None}}

    def answer(self, *texts: str, reason: str = "stop", **usage: int) -> list[bytes]:
        """A whole answer."""
        return [*self.begin(), *map(self.text, texts), *self.end(reason, **usage)]


class Chat(Dialect):
    """Chat Completions."""

    name = "chat"
    engine_class = ChatCompletions

    def begin(self) -> list[bytes]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def text(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def calls(self, calls: Sequence[Call]) -> list[bytes]:
        events = []
        for index, (id_, name, arguments) in enumerate(calls):
            middle = len(arguments) // 2
            head = {"index": index, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
            events.append(self._chunk({"tool_calls": [head]}))
            for part in (arguments[:middle], arguments[middle:]):
                events.append(self._chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
        return events

    def reasoning(self, text: str) -> bytes:
        return self._chunk({"reasoning_content": text})

    def end(self, reason: str, prompt: int = 7, completion: int = 5, cached: int = 0) -> list[bytes]:
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        finish = "content_filter" if reason == "filtered" else reason
        return [self._chunk({}, finish), sse({**self._base(), "choices": [], "usage": usage}), sse("[DONE]")]

    def error(self, message: str) -> bytes:
        return sse({"error": {"message": message, "type": "server_error", "code": 500}})

    def _chunk(self, delta: Any, finish: str | None = None) -> bytes:
        return sse({**self._base(), "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _base(self) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}


class OpenAiResponses(Dialect):
    """Responses of OpenAI."""

    name = "responses"
    engine_class = Responses

    def begin(self) -> list[bytes]:
        return [self._event("response.created", response=self._response("in_progress"))]

    def text(self, text: str) -> bytes:
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        return self._event("response.output_text.delta", **place, delta=text, logprobs=[])

    def calls(self, calls: Sequence[Call]) -> list[bytes]:
        events = []
        for index, (id_, name, arguments) in enumerate(calls):
            item = {"type": "function_call", "id": f"fc_{index}", "call_id": id_, "name": name}
            begun = {**item, "arguments": "", "status": "in_progress"}
            done = {**item, "arguments": arguments, "status": "completed"}
            place = {"item_id": f"fc_{index}", "output_index": index}
            events += [
                self._event("response.output_item.added", output_index=index, item=begun),
                self._event("response.function_call_arguments.delta", **place, delta=arguments),
                self._event("response.function_call_arguments.done", **place, arguments=arguments),
                self._event("response.output_item.done", output_index=index, item=done),
            ]
        return events

    def reasoning(self, text: str) -> bytes:
        place = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
        return self._event("response.reasoning_summary_text.delta", **place, delta=text)

    def keepalive(self) -> bytes:
        return self._event("keepalive")

    def end(self, reason: str, prompt: int = 7, completion: int = 5, cached: int = 0) -> list[bytes]:
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        }
        why = {"length": "max_output_tokens", "filtered": "content_filter"}.get(reason)
        state = "incomplete" if why else "completed"
        response = self._response(state, usage=usage, incomplete_details={"reason": why} if why else None)
        return [self._event(f"response.{state}", response=response)]

    def error(self, message: str) -> bytes:
        failed = self._response("failed", error={"code": "server_error", "message": message})
        return self._event("response.failed", response=failed)

    def _event(self, kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, "sequence_number": 0, **fields}, kind)

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m-1", "output": [], "tools": []}
        return {**base, "status": status, "error": None, "incomplete_details": None, **fields}


class Messages(Dialect):
    """The Messages API of Anthropic."""

    name = "anthropic"
    path = ""
    engine_class = AnthropicEngine
    key_header = "x-api-key"
    key_prefix = ""

    def begin(self) -> list[bytes]:
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": []}
        message |= {"stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
        block = {"type": "text", "text": ""}
        return [
            self._event("message_start", message=message),
            self._event("content_block_start", index=0, content_block=block),
            self._event("ping"),
        ]

    def text(self, text: str) -> bytes:
        return self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def calls(self, calls: Sequence[Call]) -> list[bytes]:
        events = []
        for index, (id_, name, arguments) in enumerate(calls, 1):
            block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
            events.append(self._event("content_block_start", index=index, content_block=block))
            middle = len(arguments) // 2
            for part in (arguments[:middle], arguments[middle:]):
                delta = {"type": "input_json_delta", "partial_json": part}
                events.append(self._event("content_block_delta", index=index, delta=delta))
            events.append(self._event("content_block_stop", index=index))
        return events

    def reasoning(self, text: str) -> bytes:
        return self._event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": text})

    def keepalive(self) -> bytes:
        return self._event("ping")

    def server_call(self, kind: str) -> list[bytes]:
        """A call of a tool that the server has called itself."""
        block = {"type": kind, "id": "srvtoolu_1", "name": "web_search", "input": {}, "server_name": "web"}
        delta = {"type": "input_json_delta", "partial_json": '{"query": "Oslo"}'}
        return [
            self._event("content_block_start", index=7, content_block=block),
            self._event("content_block_delta", index=7, delta=delta),
            self._event("content_block_stop", index=7),
        ]

    def end(self, reason: str, prompt: int = 7, completion: int = 5, cached: int = 0) -> list[bytes]:
        stop = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "filtered": "refusal"}[reason]
        usage = {"input_tokens": prompt - cached, "cache_read_input_tokens": cached, "output_tokens": completion}
        return [
            self._event("content_block_stop", index=0),
            self._event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=usage),
            self._event("message_stop"),
        ]

    def error(self, message: str) -> bytes:
        return self._event("error", error={"type": "overloaded_error", "message": message})

    def error_body(self, message: str) -> Any:
        return {"type": "error", "error": {"type": "x", "message": message}}

    def _event(self, kind: str, **fields: Any) -> bytes:
        return sse({"type": kind, **fields}, kind)


class Gemini(Dialect):
    """The Gemini API of Google."""

    name = "gemini"
    path = ""
    engine_class = GeminiEngine
    key_header = "x-goog-api-key"
    key_prefix = ""

    def begin(self) -> list[bytes]:
        return [self._chunk([{"text": ""}])]

    def text(self, text: str) -> bytes:
        return self._chunk([{"text": text}])

    def calls(self, calls: Sequence[Call]) -> list[bytes]:
        return [
            self._chunk([{"functionCall": {"name": name, "args": json.loads(arguments)}, "thoughtSignature": "c2ln"}])
            for _, name, arguments in calls
        ]

    def reasoning(self, text: str) -> bytes:
        return self._chunk([{"text": text, "thought": True}])

    def end(self, reason: str, prompt: int = 7, completion: int = 5, cached: int = 0) -> list[bytes]:
        finish = {"length": "MAX_TOKENS", "filtered": "SAFETY"}.get(reason, "STOP")
        usage = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": completion - 1,
            "thoughtsTokenCount": 1,
            "cachedContentTokenCount": cached,
            "totalTokenCount": prompt + completion,
        }
        return [self._chunk([{"text": ""}], finish, usageMetadata=usage)]

    def error(self, message: str) -> bytes:
        return sse({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})

    def error_body(self, message: str) -> Any:
        return {"error": {"code": 0, "message": message, "status": "X"}}

    def _chunk(self, parts: list[Any], finish: str | None = None, **fields: Any) -> bytes:
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
        candidate |= {"finishReason": finish} if finish else {}
        return sse({"candidates": [candidate], "modelVersion": "m-1", "responseId": "r", **fields})


DIALECTS: list[Dialect] = [Chat(), OpenAiResponses(), Messages(), Gemini()]
"""All of them."""
