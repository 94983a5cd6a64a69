"""A helper: a node instance that serves control connections, and how its calls run."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from lanemesh._aio.user_code import Closing, called, failure_of
from lanemesh.chat import ChatRequest, ToolProgress, ToolResult, ToolSpec
from lanemesh.chat_codec import EventEncoder, decode_request, decode_tool_call, encode_spec, encode_tool_event
from lanemesh.control.activity import HelperActivity
from lanemesh.control.connection import bounded
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.callables import call_hook
from lanemesh.node.context import Context
from lanemesh.node.node import Node
from lanemesh.rendering import rendered
from lanemesh.v1 import control_pb2

P = TypeVar("P")

CLOSE_SECONDS = 5.0
"""How long cancelled calls may take when their helper closes, before they are abandoned."""


class HelperInstance:
    """One component of one run that serves control connections. Each call runs on a fresh shallow copy of its node.

    Whatever a call raises, here and over gRPC, is a LanemeshError whose fault names the component and its node type.
    """

    def __init__(self, node: Node, context: Context) -> None:
        self.context = context
        """The helper's own context."""
        self.closed = False
        """It takes no more calls."""
        self._node = node
        self._calls: set[asyncio.Task[Any]] = set()
        self.activity = HelperActivity()
        """What it has done so far."""

    def generate(self, request: control_pb2.GenerateRequest) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        """One turn of the model, as it is written. A node with `chat` is asked in values, others by `generate`."""
        if hasattr(type(self._node), "chat"):
            return self._chat(request)
        return self._stream("llm", "generate", request, control_pb2.GenerateResponse)

    def call_tool(self, request: control_pb2.CallToolRequest) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """One call of a tool: any progress, then the result."""
        return self._call_tool(request)

    async def list_tools(self) -> list[control_pb2.ToolSpec]:
        """The tools."""
        try:
            node = self._fresh("tool")
            specs = await call_hook(node.list_tools, self.context)
            return [encode_spec(spec) for spec in self._specs(specs)]
        except BaseException as error:
            raise LanemeshError(self._fault(failure_of(error))) from error

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Marks the current task as a call from elsewhere, so that `close` cancels it."""
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            yield
        finally:
            self._calls.discard(task)

    async def close(self) -> None:
        """Cancels the calls from elsewhere that are under way, and waits up to 5 s for them. Later calls are refused."""
        self.closed = True
        calls = self._calls - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls, timeout=CLOSE_SECONDS)

    def closed_fault(self) -> Fault:
        """What calls see once the helper is closed."""
        return Fault(
            code=Code.CANCELLED,
            reason="helper-closed",
            message=f"{self.context.component} takes no more calls: its run has ended here",
            details={"component": self.context.component, "provider": self.context.provider},
            secondary=True,
        )

    async def _chat(self, request: control_pb2.GenerateRequest) -> AsyncGenerator[control_pb2.GenerateResponse, None]:
        encoder = EventEncoder()
        with self._counted():
            produced = self._fresh("llm").chat(self.context, self._decoded(request))
            if not hasattr(produced, "aclose"):
                _discard(produced)
                raise self._bad("chat must be an async generator: async def chat(self, context, request) with yield")
            async with Closing(produced, self.context.log.warning):
                while True:
                    try:
                        event = await called(anext(produced))
                    except StopAsyncIteration:
                        return
                    try:
                        message = encoder.encode(event)
                    except TypeError:
                        kinds = "ChatText, ToolCall, Usage or ChatFinish"
                        raise self._bad(f"chat yielded {type(event).__name__}; yield {kinds}") from None
                    if message is not None:
                        self._count_usage(message)
                        yield message

    async def _call_tool(
        self, request: control_pb2.CallToolRequest
    ) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        call = decode_tool_call(request)
        with self._counted():
            produced = self._fresh("tool").call_tool(self.context, call)
            if not hasattr(produced, "aclose"):
                _discard(produced)
                raise self._bad(
                    "call_tool must be an async generator: async def call_tool(self, context, call) with yield"
                )
            async with Closing(produced, self.context.log.warning):
                while True:
                    try:
                        event = await called(anext(produced))
                    except StopAsyncIteration:
                        return
                    if not isinstance(event, (ToolProgress, ToolResult)):
                        raise self._bad(f"call_tool yielded {rendered(event)}; yield ToolProgress or ToolResult")
                    yield encode_tool_event(event, call)

    def _specs(self, given: Any) -> list[ToolSpec]:
        specs = list(given)
        if odd := next((spec for spec in specs if not isinstance(spec, ToolSpec)), None):
            raise self._bad(f"list_tools returned {rendered(odd)}; return a list of ToolSpec")
        return specs

    def _decoded(self, request: control_pb2.GenerateRequest) -> ChatRequest:
        try:
            return decode_request(request)
        except (TypeError, ValueError) as error:
            message = f"{self.context.component} ({self.context.provider}) got a request that it cannot read: {error}."
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-request", message=message)) from None

    async def _stream(self, offer: str, method: str, request: Any, kind: type[P]) -> AsyncGenerator[P, None]:
        with self._counted():
            produced = getattr(self._fresh(offer), method)(request, self.context)
            if not hasattr(produced, "aclose"):
                _discard(produced)
                raise self._bad(f"{method} must be an async generator: async def {method}(...) with yield")
            async with Closing(produced, self.context.log.warning):
                while True:
                    try:
                        piece = await called(anext(produced))
                    except StopAsyncIteration:
                        return
                    if not isinstance(piece, kind):
                        raise self._bad(f"{method} yielded {rendered(piece)}; yield {kind.__name__}")
                    if isinstance(piece, control_pb2.GenerateResponse):
                        self._count_usage(piece)
                    yield piece

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a call. What it raises is raised as a fault of this helper."""
        self._add(calls=1, active=1)
        try:
            yield
        except Exception as error:
            self._add(failed=1)
            raise LanemeshError(self._fault(error)) from error
        finally:
            self._add(active=-1)

    def _count_usage(self, piece: control_pb2.GenerateResponse) -> None:
        if piece.HasField("done") and piece.done.HasField("usage"):
            usage = piece.done.usage
            self._add(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)

    def _add(self, **counts: int) -> None:
        self.activity = replace(
            self.activity, **{name: getattr(self.activity, name) + count for name, count in counts.items()}
        )

    def _fresh(self, offer: str) -> Any:
        if self.closed:
            raise LanemeshError(self.closed_fault())
        if offer not in self._node.offers:
            raise LanemeshError(
                Fault(
                    code=Code.UNIMPLEMENTED,
                    reason="not-offered",
                    message=f"{self.context.component} ({self.context.provider}) is no {offer} helper; "
                    f"it offers: {', '.join(self._node.offers) or 'nothing'}",
                )
            )
        return copy.copy(self._node)

    def _fault(self, error: Exception) -> Fault:
        fault = Fault.from_exception(error, component=self.context.component, provider=self.context.provider)
        return bounded(self.context.secrets.fault(fault))

    def _bad(self, what: str) -> LanemeshError:
        message = f"{self.context.component} ({self.context.provider}): {what}."
        return LanemeshError(Fault(code=Code.INTERNAL, reason="bad-result", message=message))


def _discard(produced: object) -> None:
    """Closes a coroutine that nobody awaits, so that Python does not warn of it beside the error."""
    if inspect.iscoroutine(produced):
        produced.close()


class HelperLookup(Protocol):
    """Where a server finds the helper that a call means."""

    def find_helper(self, run_id: str, component: str) -> HelperInstance | None:
        """The helper, or None. Both names are as the caller's metadata say; empty if they say nothing."""
