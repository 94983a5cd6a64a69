"""The MCP server: lists and calls the tools of a mesh, for clients of both eras of the protocol."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from lanemesh._aio.user_errors import called
from lanemesh._grpc.traceparent import TRACEPARENT_KEY, in_trace
from lanemesh.client.updates import ApprovalUpdate
from lanemesh.faults import LanemeshError
from lanemesh.json_values import copy_json
from mcp.server import CacheHint, MCPServer, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver import Context
from mcp.server.request_state import RequestStateSecurity
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    ElicitResult,
    EmptyResult,
    GetPromptResult,
    InputRequiredResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    Tool,
    ToolAnnotations,
    UnsubscribeRequestParams,
)

from lanemesh_orchestrator.mcp_server.approvals import SCHEMA, question
from lanemesh_orchestrator.mcp_server.calls import call, error_result
from lanemesh_orchestrator.mcp_server.catalog import FRESH_SECONDS, Catalog, unknown_tool
from lanemesh_orchestrator.mcp_server.insulation import insulated
from lanemesh_orchestrator.mcp_server.live_questions import LiveQuestions
from lanemesh_orchestrator.mcp_server.mesh_tools import MeshTools, call_mesh_tool
from lanemesh_orchestrator.mcp_server.questions import call_with_questions
from lanemesh_orchestrator.mcp_server.tasks import TasksExtension, call_or_task, supports_tasks

log = logging.getLogger("lanemesh.mcp")

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.run_reader import RunReader

    from lanemesh_orchestrator.mcp_server.offers import Offer

NAME = "lanemesh"
"""Name of the server."""
MAX_LEVELS = 10_000
"""Most sessions whose log level is kept."""
MAX_FOLLOWED = 10_000
"""Most resources that all sessions follow."""
NOTIFY_SECONDS = 10.0
"""How long a client may take to accept a notification."""
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_DEFAULT_LEVEL = "warning"
_INSTRUCTIONS = (
    "A tool is a pipeline that is deployed on a mesh of node servers, or a tool of one. A call is one run of it."
)


class MeshServer(MCPServer[Any]):
    """Offers the deployed pipelines of a mesh, and whatever else is registered on it, as `MCPServer` does."""

    def __init__(self, host: RunHost, secret: str = "") -> None:
        """Creates the server.

        Args:
            host: runs the pipelines: a client of an orchestrator.
            secret: servers with the same one accept each other's states of calls that wait for their user; empty: a random one.
        """
        key = hashlib.sha256(f"lanemesh mcp state {secret}".encode()).digest()
        hint = CacheHint(ttl_ms=round(FRESH_SECONDS * 1000), scope="private")
        super().__init__(
            NAME,
            version=version("lanemesh"),
            instructions=_INSTRUCTIONS,
            cache_hints={"tools/list": hint},
            log_level="WARNING",
            extensions=[TasksExtension(host)],
            request_state_security=RequestStateSecurity(keys=[key]) if secret else None,
            middleware=[_fail_request],
        )
        self._host = host
        self._catalog = Catalog(host)
        self._tools = MeshTools(host)
        self._levels: OrderedDict[str, int] = OrderedDict()
        """The index of the lowest level that a session wants, by its id. Only clients before 2026-07-28 set one."""
        self._followers: OrderedDict[tuple[str, str], ServerSession] = OrderedDict()
        """Who follows a resource, by session and URI. Only clients before 2026-07-28 do it this way."""
        self._changed: set[asyncio.Task[None]] = set()
        self._subscriptions.subscribe(self._notify_followers)
        add_request_handler = self._lowlevel_server.add_request_handler
        add_request_handler("logging/setLevel", SetLevelRequestParams, self._set_level)
        add_request_handler("resources/subscribe", SubscribeRequestParams, self._follow)
        add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unfollow)

    async def close(self) -> None:
        """Ends what goes on without a request."""
        await self._tools.close()

    async def list_tools(self) -> list[Tool]:
        """The tools of the mesh, and those that are registered here."""
        try:
            offers = await self._catalog.offers()
        except LanemeshError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None
        own = [tool for tool in await super().list_tools() if tool.name not in offers]
        tools = await self._tools.named({*offers, *(tool.name for tool in own)})
        found = [_tool(one.name, one.description, one.schema) for one in offers.values()]
        found += [
            _tool(name, one.description, {"type": "object", **copy_json(one.parameters)}) for name, one in tools.items()
        ]
        return found + own

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Calls a tool of the mesh, or one that is registered here."""
        if context is None:
            context = Context(mcp_server=self)
        try:
            offers = await self._catalog.offers()
            if name not in offers and self._tool_manager.get_tool(name) is not None:
                return await called(super().call_tool(name, arguments, context))
            reporter = _ContextReporter(context, self._level_of)
            with in_trace(_trace_of(context.request_context)):
                offer = offers.get(name)
                if offer is None:
                    return await self._call_tool(name, arguments, offers, reporter)
                if supports_tasks(context.request_context):
                    result = await insulated(call_or_task(self._host, offer, arguments, reporter))
                    return cast("CallToolResult", result)  # or a task, which its client knows
                if _asks_by_results(context.request_context):
                    state, answers = context.request_state, context.input_responses or {}
                    return await insulated(call_with_questions(self._host, offer, arguments, reporter, state, answers))
                return await insulated(self._call(offer, arguments, reporter))
        except LanemeshError as error:
            return error_result(error)

    async def _call_tool(
        self, name: str, arguments: dict[str, Any], offers: Collection[str], reporter: _ContextReporter
    ) -> CallToolResult:
        """Calls a tool of a deployed pipeline. Raises LanemeshError if there is none of this name."""
        taken = {*offers, *(tool.name for tool in await super().list_tools())}
        tools = await self._tools.named(taken)
        if name not in tools:
            raise unknown_tool(name, {*taken, *tools})
        return await insulated(call_mesh_tool(self._host, tools[name], arguments, reporter))

    async def _call(self, offer: Offer, arguments: dict[str, Any], reporter: _ContextReporter) -> CallToolResult:
        """Runs a deployed pipeline within the request, and asks the user about its approvals meanwhile."""
        async with reporter.questions:
            return await call(self._host, offer, arguments, reporter)

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """A prompt that is registered here. Raises MCPError if there is none."""
        known = [prompt.name for prompt in await self.list_prompts()]
        if name not in known:
            message = f"there is no prompt {name[:80]!r}; the prompts: {', '.join(known[:20]) or 'none'}"
            raise MCPError(INVALID_PARAMS, message)
        return await super().get_prompt(name, arguments, context)

    async def _follow(self, context: ServerRequestContext[Any], params: SubscribeRequestParams) -> EmptyResult:
        self._followers[_session_of(context), params.uri] = context.session
        if len(self._followers) > MAX_FOLLOWED:
            self._followers.popitem(last=False)
        return EmptyResult()

    async def _unfollow(self, context: ServerRequestContext[Any], params: UnsubscribeRequestParams) -> EmptyResult:
        self._followers.pop((_session_of(context), params.uri), None)
        return EmptyResult()

    def _notify_followers(self, event: ServerEvent) -> None:
        """Notifies those who follow a resource that has changed."""
        if not isinstance(event, ResourceUpdated):
            return
        for key, session in list(self._followers.items()):
            if key[1] == event.uri:
                task = asyncio.create_task(self._notify(key, session), name=f"notify of {event.uri}")
                self._changed.add(task)
                task.add_done_callback(self._changed.discard)

    async def _notify(self, key: tuple[str, str], session: ServerSession) -> None:
        try:
            async with asyncio.timeout(NOTIFY_SECONDS):
                await session.send_resource_updated(key[1])
        except Exception:  # the session has ended, or does not read
            log.debug("a client that follows %s is gone", key[1])
            self._followers.pop(key, None)

    async def _set_level(self, context: ServerRequestContext[Any], params: SetLevelRequestParams) -> EmptyResult:
        session = _session_of(context)
        self._levels[session] = _LEVELS.index(params.level)
        self._levels.move_to_end(session)
        if len(self._levels) > MAX_LEVELS:
            self._levels.popitem(last=False)
        return EmptyResult()

    def _level_of(self, session: str) -> int:
        return self._levels.get(session, _LEVELS.index(_DEFAULT_LEVEL))


class _ContextReporter:
    """Reports to the client of a request. Progress is sent only if the client asked for it, by a token."""

    def __init__(self, context: Context[Any, Any], level_of: Callable[[str], int]) -> None:
        self._context = context
        self._level_of = level_of
        self.questions = LiveQuestions(self._ask)
        """The questions to the user in the middle of the call; to be closed with it."""

    async def progress(self, done: float, message: str) -> None:
        """Sends `notifications/progress`."""
        await self._context.report_progress(done, None, message)

    async def log(self, level: str, component: str, message: str) -> None:
        """Sends `notifications/message`, if its level is one that the client wants. Clients since 2026-07-28 ask for that in each
        request, which the SDK checks."""
        request = self._context.request_context
        if request.protocol_version < "2026" and _LEVELS.index(level) < self._level_of(_session_of(request)):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)  # clients of 2025-11-25 have no other way
            await self._context.log(level, message, logger_name=component)  # type: ignore[arg-type]

    async def approval(self, run: RunReader, update: ApprovalUpdate) -> bool:
        """Asks the user of a client before 2026-07-28, if it can ask. Otherwise another client of the mesh may decide."""
        if self._can_ask():
            self.questions.note(run, update)
        return False

    def _can_ask(self) -> bool:
        """Whether the client can be asked in the middle of its call."""
        request = self._context.request_context
        capabilities = request.session.client_capabilities
        is_old = request.protocol_version < "2026"
        return is_old and capabilities is not None and capabilities.elicitation is not None

    async def _ask(self, update: ApprovalUpdate) -> ElicitResult:
        request = self._context.request_context
        return await request.session.elicit_form(question(update), SCHEMA, self._context.request_id)


async def _fail_request(ctx: ServerRequestContext[Any], call_next: CallNext) -> HandlerResult:
    """Handles a request. What is registered here may raise any exception, such as a `sys.exit()`: it fails this request alone."""
    return await called(call_next(ctx))


def _tool(name: str, description: str, schema: dict[str, Any]) -> Tool:
    annotations = ToolAnnotations(open_world_hint=True)
    return Tool(name=name, description=description, input_schema=schema, annotations=annotations)


def _asks_by_results(context: ServerRequestContext[Any]) -> bool:
    """Whether the user of a client is asked by results that require input."""
    capabilities = context.session.client_capabilities
    return context.protocol_version >= "2026" and capabilities is not None and capabilities.elicitation is not None


def _session_of(context: ServerRequestContext[Any]) -> str:
    """The id of the client's session; empty on stdio, where there is one client, and since 2026-07-28."""
    headers = getattr(context.request, "headers", None)
    return str(headers.get("mcp-session-id", "")) if headers is not None else ""


def _trace_of(context: ServerRequestContext[Any]) -> str:
    """The trace that a client names in the `_meta` of its request, or else in a header; empty if it names none."""
    headers = getattr(context.request, "headers", None)
    named = (context.meta or {}).get(TRACEPARENT_KEY) or (headers.get(TRACEPARENT_KEY) if headers is not None else "")
    return named if isinstance(named, str) else ""
