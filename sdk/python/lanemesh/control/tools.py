"""What a node has of its tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing, nullcontext
from typing import Any, Protocol, TypeVar

from lanemesh.chat import ToolEvent, ToolSpec
from lanemesh.chat_codec import decode_spec, decode_tool_event
from lanemesh.control.chat_client import NamedTool
from lanemesh.control.connection import CALL_SECONDS, REACH_SECONDS, Connection, Waiting, relay
from lanemesh.control.instance import HelperInstance
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import control_pb2
from lanemesh.values import ToolCall

R = TypeVar("R")


class ToolHelper(Protocol):
    """The tools of one helper, wherever it is."""

    @property
    def connection(self) -> Connection:
        """The connection to it."""

    async def list(self) -> list[control_pb2.ToolSpec]:
        """Its tools."""

    def call(self, request: control_pb2.CallToolRequest) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls one of them."""

    async def reach(self) -> None:
        """Makes sure that the helper can be called. Raises LanemeshError that names helper, invoker and address."""


class LocalToolClient:
    """The tools of a helper that lives in this process."""

    def __init__(
        self,
        helper: HelperInstance,
        timeout: float | None = CALL_SECONDS,
        *,
        invoker: str = "",
        waiting: Waiting | None = None,
    ) -> None:
        """`timeout` bounds a call in seconds unless its request does; `waiting` is entered around each wait on the helper."""
        self._helper = helper
        self._timeout = timeout
        self._waiting = waiting
        self.connection = Connection(class_type="tool", helper=helper.context.component, invoker=invoker)

    async def list(self) -> list[control_pb2.ToolSpec]:
        """Its tools."""
        async with self._waiting() if self._waiting is not None else nullcontext():
            try:
                async with asyncio.timeout(REACH_SECONDS) as bound:
                    return await self._helper.list_tools()
            except TimeoutError:
                if bound.expired():
                    raise self.connection.timed_out(REACH_SECONDS) from None
                raise

    def call(self, request: control_pb2.CallToolRequest) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls one of them."""
        timeout = call_timeout(request, self._timeout)
        return relay(self._helper.call_tool(request), self.connection, timeout=timeout, waiting=self._waiting)

    async def reach(self) -> None:
        """Lists its tools, so that one that cannot is known before the run starts."""
        await self.list()


class ToolClient:
    """All tools that are wired to a node. Each tool's name belongs to one helper."""

    def __init__(self, helpers: Sequence[ToolHelper] = ()) -> None:
        self._helpers = tuple(helpers)
        self._owners: dict[str, ToolHelper] = {}

    def __getitem__(self, name: str) -> NamedTool:
        """A tool to be called with its arguments: `await context.tools["weather"](city="Oslo")`."""
        return NamedTool(self, name)

    async def specs(self) -> tuple[ToolSpec, ...]:
        """The tools of all helpers, to be offered to a model.

        Raises:
            LanemeshError: as `list` does; or the parameters of a tool are no JSON schema ("bad-tool").
        """
        return tuple(map(_decoded, await self.list()))

    async def list(self) -> list[control_pb2.ToolSpec]:
        """The tools of all helpers, in the order in which they are wired.

        Raises:
            LanemeshError: a helper cannot be asked, or two tools have one name ("duplicate-tool").
        """
        owners: dict[str, ToolHelper] = {}
        specs: list[control_pb2.ToolSpec] = []
        found = await _all(helper.list() for helper in self._helpers)
        for helper, its_specs in zip(self._helpers, found, strict=True):
            for spec in its_specs:
                if spec.name in owners:
                    raise _duplicate(spec.name, owners[spec.name].connection, helper.connection)
                owners[spec.name] = helper
                specs.append(spec)
        self._owners = owners
        return specs

    async def call(self, request: control_pb2.CallToolRequest) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls a tool: any progress, then one result, the last piece. Leaving the iteration cancels the call at the helper.

        `request.timeout` bounds the call; without it the connection's own bound does.

        Raises:
            LanemeshError: with the helper's own fault, or with that of the connection; "unknown-tool" if no helper has it;
                "no-result" if the helper ended without one.
        """
        if request.name not in self._owners:
            await self.list()
        helper = self._owners.get(request.name)
        if helper is None:
            raise _unknown(request.name, self._owners)
        answered = False
        async with aclosing(helper.call(request)) as pieces:
            async for piece in pieces:
                yield piece
                if piece.HasField("result"):
                    answered = True
                    break
        if not answered:
            what = f"its tool {request.name} ended without a result"
            raise LanemeshError(helper.connection.fault(Code.INTERNAL, "no-result", what))

    async def stream(self, call: ToolCall, timeout: float | None = None) -> AsyncGenerator[ToolEvent, None]:
        """Calls a tool, as a model asked for it: any `ToolProgress`, then one `ToolResult`. Leaving the iteration cancels the call.

        Args:
            call: the tool's name and its arguments, as JSON text; empty: none.
            timeout: most seconds for the call; None: as the connection says.

        Raises:
            LanemeshError: as `call` does.
        """
        request = control_pb2.CallToolRequest(call_id=call.id, name=call.name, arguments_json=call.arguments or "{}")
        if timeout is not None:
            request.timeout.FromNanoseconds(int(timeout * 1e9))
        async with aclosing(self.call(request)) as pieces:
            async for piece in pieces:
                yield decode_tool_event(piece)

    async def reach(self) -> None:
        """Reaches every helper, and makes sure that their tools' names differ."""
        await _all(helper.reach() for helper in self._helpers)
        await self.list()


async def _all(calls: Iterable[Coroutine[Any, Any, R]]) -> Sequence[R]:
    """What each returns. The first that fails cancels the others; its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def call_timeout(request: control_pb2.CallToolRequest, otherwise: float | None) -> float | None:
    """Seconds that a call may take: as the request says, else as the connection does."""
    return request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else otherwise


def _decoded(spec: control_pb2.ToolSpec) -> ToolSpec:
    try:
        return decode_spec(spec)
    except (TypeError, ValueError) as error:
        message = (
            f'the parameters of the tool "{spec.name}" are not a JSON schema: {error}. Correct them where it is defined'
        )
        raise LanemeshError(
            Fault(code=Code.FAILED_PRECONDITION, reason="bad-tool", message=message, details={"tool": spec.name})
        ) from None


def _duplicate(name: str, first: Connection, second: Connection) -> LanemeshError:
    where = f"{first} and {second} both have" if first.helper != second.helper else f"{first} has twice"
    return LanemeshError(
        Fault(
            code=Code.FAILED_PRECONDITION,
            reason="duplicate-tool",
            message=f'{where} a tool "{name}", so {first.invoker or "a client"} cannot distinguish them. '
            "Rename one of them, or remove it from its component's config",
            details={"component": first.invoker, "tool": name, "helpers": f"{first.helper}, {second.helper}"},
        )
    )


def _unknown(name: str, known: dict[str, ToolHelper]) -> LanemeshError:
    return LanemeshError(
        Fault(
            code=Code.NOT_FOUND,
            reason="unknown-tool",
            message=f'there is no tool "{name}"; the tools: {", ".join(known) or "none"}',
            details={"tool": name},
        )
    )
