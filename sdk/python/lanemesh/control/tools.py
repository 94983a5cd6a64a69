"""Tools as helpers: the clients for a node's tools, and the answers of a node that offers tools."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from lanemesh.chat import ToolEvent, ToolPart, ToolProgress, ToolResult
from lanemesh.chat_codec import (
    decode_tool_call,
    decode_tool_event,
    encode_arguments,
    encode_tool_event,
    encode_tool_request,
)
from lanemesh.control.connection import REACH_SECONDS, Connection
from lanemesh.control.ends import Answer, Ending, HelperEnds, HelperLink
from lanemesh.control.instance import HelperInstance
from lanemesh.control.tool_names import OwnedTool, owned_tools
from lanemesh.control.tool_results import bounded, error_text
from lanemesh.control.traced import flat
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.json_text import dump_json, read_json
from lanemesh.node.helper_clients import ToolClient
from lanemesh.redaction import Secrets
from lanemesh.v1 import control_pb2, lane_pb2
from lanemesh.value_codec import decode_spec, encode_spec
from lanemesh.values import Document, ToolCall, ToolSpec

R = TypeVar("R")


class ToolHelper(Protocol):
    """The tools of one helper, local or remote."""

    @property
    def connection(self) -> Connection:
        """The connection to it."""

    @property
    def fixed(self) -> bool:
        """Its tools do not change during the run, as its last list says."""

    async def list(self) -> list[ToolSpec]:
        """Its tools. Raises LanemeshError if the parameters of one are no JSON schema ("bad-tool")."""

    def call(self, call: ToolCall, timeout: float | None = None) -> AsyncGenerator[ToolEvent, None]:
        """Calls one of its tools; `timeout` limits the call in seconds, otherwise the connection does."""

    async def reach(self) -> None:
        """Checks that the helper can be called. Raises LanemeshError that names helper, invoker and address."""


class LinkedTools:
    """The tools of one helper at the other end of a link."""

    def __init__(self, link: HelperLink) -> None:
        self.connection = link.connection
        """The connection to the helper."""
        self.fixed = False
        """Its tools do not change during the run, as its last list says."""
        self._link = link

    async def list(self) -> list[ToolSpec]:
        """Its tools."""
        response = await self._link.call("ListTools", control_pb2.ListToolsRequest(), REACH_SECONDS)
        self.fixed = response.fixed
        return list(map(_decoded, response.tools))

    async def call(self, call: ToolCall, timeout: float | None = None) -> AsyncGenerator[ToolEvent, None]:
        """Calls one of its tools; `timeout` limits the call in seconds, otherwise the link does."""
        async with aclosing(self._link.stream("CallTool", encode_tool_request(call, timeout), timeout)) as pieces:
            async for piece in pieces:
                try:
                    event = decode_tool_event(piece)
                except (TypeError, ValueError) as error:
                    what = f"its tool {call.name} sent an event that cannot be read: {error}"
                    raise LanemeshError(self.connection.fault(Code.INTERNAL, "bad-result", what)) from None
                yield event

    async def reach(self) -> None:
        """Lists its tools, so that a failure is detected before the run starts."""
        await self.reach_server()
        await self.list()

    async def reach_server(self) -> None:
        """Checks that the helper can be called."""
        await self._link.reach()


class CallableTool:
    """A tool with its name: `await context.tools["weather"](city="Oslo")`."""

    def __init__(self, tools: ToolClient, name: str) -> None:
        """`tools`: what has the tool."""
        self._tools = tools
        self._name = name

    async def __call__(self, **arguments: Any) -> Any:
        """Calls the tool and returns its result, a JSON value. Errors are those of `NamedTool`."""
        call = ToolCall(f"call_{secrets.token_hex(8)}", self._name, encode_arguments(arguments))
        async with aclosing(self._tools.stream(call)) as events:
            async for event in events:
                if isinstance(event, ToolResult):
                    if event.is_error:
                        raise _failed(self._name, event.content)
                    return event.value
        raise _failed(self._name, "it ended without a result")


class ToolSet:
    """All tools that are connected to a node. Each tool's name belongs to one helper: tools of several helpers with the same name
    are named after their helpers as well."""

    def __init__(self, helpers: Sequence[ToolHelper] = ()) -> None:
        self._helpers = tuple(helpers)
        self._owners: dict[str, OwnedTool[ToolHelper]] = {}

    def __getitem__(self, name: str) -> CallableTool:
        """A tool to be called with its arguments: `tool = context.tools["weather"]`, then `await tool(city="Oslo")`."""
        return CallableTool(self, name)

    async def specs(self) -> tuple[ToolSpec, ...]:
        """The tools of all helpers, in the order of their connections, for use by a model. Where several helpers have a tool of one
        name, each of these tools is named "<component of the helper>_<name>".

        Raises:
            LanemeshError: a helper cannot be asked, a helper has two tools of one name ("duplicate-tool"), or the parameters of a
                tool are no JSON schema ("bad-tool").
        """
        found = await _all(helper.list() for helper in self._helpers)
        owned = owned_tools(list(zip(self._helpers, found, strict=True)))
        self._owners = {tool.spec.name: tool for tool in owned}
        return tuple(tool.spec for tool in owned)

    @property
    def fixed(self) -> bool:
        """The tools do not change during the run, by the last `specs`."""
        return all(helper.fixed for helper in self._helpers)

    def helper_of(self, name: str) -> str:
        """The component of the helper that has a tool, by the last `specs`; empty if there is none, or it is not known."""
        tool = self._owners.get(name)
        return tool.helper.connection.helper if tool is not None else ""

    async def stream(self, call: ToolCall, timeout: float | None = None) -> AsyncGenerator[ToolEvent, None]:
        """Calls a tool for a model: any `ToolProgress`, then one `ToolResult`. Leaving the iteration cancels the call.

        Args:
            call: the tool's name and its arguments, as JSON text; empty: none.
            timeout: most seconds for the call; None: the limit of the connection.

        Raises:
            LanemeshError: with the helper's own fault, or with that of the connection; "unknown-tool" if no helper has it;
                "no-result" if the helper ended without one.
        """
        if call.name not in self._owners:
            await self.specs()
        tool = self._owners.get(call.name)
        if tool is None:
            raise _unknown(call.name, self._owners)
        helper, renamed = tool.helper, tool.name != call.name
        answered = False
        asked = replace(call, name=tool.name) if renamed else call
        async with aclosing(helper.call(asked, timeout)) as events:
            async for event in events:
                if isinstance(event, ToolResult):
                    yield replace(event, name=call.name) if renamed else event
                    answered = True
                    break
                yield event
        if not answered:
            what = f"its tool {call.name} ended without a result"
            raise LanemeshError(helper.connection.fault(Code.INTERNAL, "no-result", what))

    async def reach(self) -> None:
        """Reaches every helper, and checks that the names of its tools differ."""
        await _all(helper.reach() for helper in self._helpers)
        await self.specs()


async def _all(calls: Iterable[Coroutine[Any, Any, R]]) -> Sequence[R]:
    """The result of each. The first failure cancels the others; its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _decoded(spec: lane_pb2.ToolSpec) -> ToolSpec:
    try:
        return decode_spec(spec)
    except (TypeError, ValueError) as error:
        message = (
            f'the parameters of the tool "{spec.name}" are not a JSON schema: {error}. Correct them where it is defined'
        )
        raise LanemeshError(
            Fault(code=Code.FAILED_PRECONDITION, reason="bad-tool", message=message, details={"tool": spec.name})
        ) from None


def _unknown(name: str, known: Mapping[str, OwnedTool[ToolHelper]]) -> LanemeshError:
    several = [full for full, tool in known.items() if tool.name == name]
    if several:
        message = f'several helpers have a tool "{name}"; call one of them: {", ".join(several)}'
    else:
        message = f'there is no tool "{name}"; the tools: {", ".join(known) or "none"}'
    return LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-tool", message=message, details={"tool": name}))


def _failed(name: str, content: str) -> LanemeshError:
    why = error_text(content)
    return LanemeshError(
        Fault(
            code=Code.INTERNAL,
            reason="tool-failed",
            message=f'the tool "{name}" failed: {why:.1000}',
            details={"tool": name},
        )
    )


async def _list_tools(helper: HelperInstance, request: control_pb2.ListToolsRequest) -> control_pb2.ListToolsResponse:
    """The tools that the helper's node lists. The call is not counted in the helper's activity."""
    response = await helper.call("tool", "list_tools", lambda: (helper.context,), _encoded_specs, counted=False)
    response.fixed = helper.has_fixed_tools
    return response


def _encoded_specs(given: Any) -> control_pb2.ListToolsResponse:
    specs = list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(spec, ToolSpec) for spec in specs):
        raise TypeError("a list of ToolSpec")
    return control_pb2.ListToolsResponse(tools=[encode_spec(spec) for spec in specs])


def _call_tool(
    helper: HelperInstance, request: control_pb2.CallToolRequest
) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
    """One call of a tool: any progress, then the result."""
    call = decode_tool_call(request)

    def encode(event: Any) -> control_pb2.CallToolResponse:
        if not isinstance(event, ToolProgress | ToolResult):
            raise TypeError("ToolProgress or ToolResult")
        if isinstance(event, ToolResult):
            event = _presentable(helper, call.name, event)
            if event.usage is not None:
                helper.count_tokens(event.usage.prompt_tokens, event.usage.completion_tokens, event.usage.cost or 0.0)
        elif hidden := helper.context.secrets:
            event = replace(event, message=hidden.hidden(event.message))
        return encode_tool_event(event, call)

    return helper.stream("tool", "call_tool", lambda: (helper.context, call), encode)


def _presentable(helper: HelperInstance, tool: str, result: ToolResult) -> ToolResult:
    """The result within its bounds and without the secrets of the helper's config. A failed call is counted."""
    result = bounded(tool, result)
    if result.is_error:
        helper.count_failure()
    secrets = helper.context.secrets
    if not secrets:
        return result
    parts = tuple(_without(secrets, part) for part in result.parts)
    return replace(result, content=secrets.hidden(result.content), parts=parts)


def _without(secrets: Secrets, part: ToolPart) -> ToolPart:
    """A part of a result without secrets in its texts. The bytes of media stay."""
    if isinstance(part, Document):
        metadata = read_json(secrets.hidden(dump_json(part.metadata)))
        return replace(
            part, content=secrets.hidden(part.content), source=secrets.hidden(part.source), metadata=metadata
        )
    return replace(part, uri=secrets.hidden(part.uri)) if part.uri else part


def _is_result(piece: control_pb2.CallToolResponse) -> bool:
    return piece.HasField("result")


def _no_result(helper: HelperInstance, request: control_pb2.CallToolRequest) -> LanemeshError:
    """The error of a call that has ended without a result."""
    context = helper.context
    message = (
        f"{context.component} ({context.provider}): its tool {request.name} ended without a result; yield a ToolResult"
    )
    where = {"component": context.component, "provider": context.provider}
    return LanemeshError(Fault(code=Code.INTERNAL, reason="no-result", message=message, details=where))


class _ResultTrace:
    """The result of a call."""

    def add(self, piece: control_pb2.CallToolResponse) -> dict[str, Any] | None:
        """The result, when it arrives."""
        return flat(piece.result) if piece.HasField("result") else None

    def rest(self) -> None:
        """A call without a result is not reported."""


ENDS = HelperEnds(
    answers={
        "ListTools": Answer(_list_tools),
        "CallTool": Answer(_call_tool, _ResultTrace, Ending(_is_result, _no_result)),
    },
    client=LinkedTools,
    together=ToolSet,
)
