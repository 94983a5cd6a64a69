"""A connection to an MCP server, which is started again if it has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx2
from lanemesh import LanemeshError, ToolSpec
from lanemesh.extend import Reloadable
from mcp.client import Client
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    Tool,
)
from pydantic import ValidationError

from lanemesh_services.tools import mcp_errors as errors
from lanemesh_services.tools.mcp_http import SESSION_LOST, http_client
from lanemesh_services.tools.mcp_process import ServerProcess

MAX_TOOLS = 200
"""Most tools that are offered."""
MAX_PAGES = 100
"""Most pages of a list that are read."""
MAX_LISTED = 10_000
"""Most tools of a list that are looked through."""
MAX_DESCRIPTION = 8_192
"""Most characters of a tool's description; the rest is cut off."""
CLOSE_SECONDS = 8.0
"""How long a connection may take to close."""
DRAIN_SECONDS = 2.0
"""How long a lost session is kept for the responses to its other requests."""
_CLOSED = "Connection closed"
"""What the library says of a connection that has ended. A server may send the same code with words of its own."""


class ReportProgress(Protocol):
    """Receives the progress of a call."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None: ...


Ask = Callable[[str], Awaitable[bool]]
"""Asks the clients of the run whether they approve something, in words."""
Response = TypeVar("Response")
_ASK: ContextVar[Ask | None] = ContextVar("lanemesh-mcp-ask", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server is reached."""

    command: Sequence[str] = ()
    """The command that starts it, or"""
    url: str = ""
    """its URL."""
    environment: Mapping[str, str]
    """Environment variables for the command."""
    headers: Mapping[str, str]
    """Headers of each request to the URL."""
    folder: str = ""
    """Working directory of the command."""
    tools: Sequence[str] = ()
    """The wanted tools; none: all."""
    legacy: bool = False
    """Use the protocol before 2026-07-28 without asking the server."""
    start_timeout: float = 30.0
    """Seconds until it has to answer its first request."""
    call_timeout: float = 300.0
    """Seconds of one call."""

    @property
    def label(self) -> str:
        """The server in messages, without arguments, user and path, which may have secrets."""
        return self.command[0] if self.command else httpx2.URL(self.url).netloc.decode()


class McpConnection(Reloadable):
    """A server that several runs share. A task of its own owns the connection."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._opening = asyncio.Lock()
        self._owner: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._process: ServerProcess | None = None
        self._closing = asyncio.Event()
        self._closed = False
        self._asks: list[Ask] = []
        """How to ask about each call that is under way."""
        self._requests: set[asyncio.Future[None]] = set()
        """Each request that waits for its response; it is done when that has come."""

    def is_current(self) -> bool:
        """A connection that has ended is opened again by the next call."""
        return not self._closed

    async def open(self) -> Client:
        """The client; connects if there is no connection. Raises LanemeshError if the server cannot be used."""
        async with self._opening:
            if self._client is None or self._owner is None or self._owner.done():
                await self._stop()
                await self._start()
            assert self._client is not None
            return self._client

    async def close(self) -> None:
        """Ends the connection, and the server if it was started here."""
        self._closed = True
        async with self._opening:
            await self._stop()

    async def tools(self) -> list[ToolSpec]:
        """The wanted tools, as the server lists them now.

        Raises:
            LanemeshError: the server cannot be used, has too many tools, or lacks some of the wanted ones.
        """
        try:
            listed = await self._response(self._listed, "tools/list", self._options.start_timeout)
        except TimeoutError:
            raise errors.no_answer(self._options.label, self._options.start_timeout, self._last_words()) from None
        except MCPError as error:
            raise self._start_fault(error) from None
        except (ValidationError, httpx2.HTTPError) as error:
            raise self._fault(error, "tools/list") from None
        wanted = set(self._options.tools)
        chosen = [tool for tool in listed if not wanted or tool.name in wanted]
        missing = wanted - {tool.name for tool in chosen}
        if missing:
            raise errors.tools_missing(self._options.label, sorted(missing), [tool.name for tool in listed])
        if len(chosen) > MAX_TOOLS:
            raise errors.too_many_tools(self._options.label, MAX_TOOLS)
        return [ToolSpec(tool.name, (tool.description or "")[:MAX_DESCRIPTION], tool.input_schema) for tool in chosen]

    async def call(self, name: str, arguments: dict[str, Any], report: ReportProgress, ask: Ask) -> CallToolResult:
        """Calls a tool. Cancelling this cancels the call at the server. `ask` decides what the server asks its user.

        Raises:
            LanemeshError: the server ended, did not answer in time, or answered with something that is not MCP.
            MCPError: the server rejects the call.
        """
        if self._options.tools and name not in self._options.tools:
            raise errors.tools_missing(self._options.label, [name], list(self._options.tools))

        async def called(client: Client) -> CallToolResult:
            self._asks.append(ask)
            token = _ASK.set(ask)
            try:
                return await client.call_tool(name, arguments, progress_callback=report)
            finally:
                _ASK.reset(token)
                self._asks.remove(ask)

        try:
            return await self._response(called, name, self._options.call_timeout)
        except TimeoutError:
            raise errors.timed_out(self._options.label, name, self._options.call_timeout) from None
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise self._fault(error, name) from None
            raise
        except (ValidationError, httpx2.HTTPError) as error:
            raise self._fault(error, name) from None

    async def _response(self, request: Callable[[Client], Awaitable[Response]], what: str, seconds: float) -> Response:
        """The response to a request. If the server has lost the session, the request is repeated once, in a new one.

        Raises:
            LanemeshError: the server cannot be used, or the connection has ended; the next request makes a new one.
            TimeoutError: there was no response in time.
            MCPError, ValidationError, httpx2.HTTPError: the request failed.
        """
        repeated = False
        while True:
            client = await self.open()
            try:
                return await self._answered(request(client), seconds)
            except MCPError as error:
                lost = error.code == SESSION_LOST
                if not lost and not (error.code == CONNECTION_CLOSED and error.message == _CLOSED):
                    raise
                fault = self._fault(error, what)
            await self._discard(client)
            if repeated or not lost:
                raise fault
            repeated = True

    async def _answered(self, response: Awaitable[Response], seconds: float) -> Response:
        """A response, which is known to be waited for."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests.add(done)
        try:
            async with asyncio.timeout(seconds):
                return await response
        finally:
            self._requests.remove(done)
            done.set_result(None)

    async def _discard(self, client: Client) -> None:
        """Ends a connection that is lost, so that the next request makes a new one."""
        async with self._opening:
            if self._client is not client:  # another request has discarded it
                return
            if self._requests:
                await asyncio.wait(self._requests, timeout=DRAIN_SECONDS)
            await self._stop()

    async def _elicit(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        """Answers a question of the server by an approval, if it is clear which call it belongs to, and a yes is an answer."""
        ask = _ASK.get() or (self._asks[0] if len(self._asks) == 1 else None)
        content = _consent(params)
        if ask is None or content is None:
            return ElicitResult(action="decline")
        if await ask(params.message):
            return ElicitResult(action="accept", content=content)
        return ElicitResult(action="decline")

    async def _listed(self, client: Client) -> list[Tool]:
        """All tools of the list, as far as the limits allow."""
        tools: list[Tool] = []
        cursor = None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return tools
            if len(tools) > (MAX_LISTED if self._options.tools else MAX_TOOLS):
                break
        raise errors.too_many_tools(self._options.label, MAX_LISTED if self._options.tools else MAX_TOOLS)

    async def _start(self) -> None:
        self._closing = asyncio.Event()
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(ready), name=f"MCP server {self._options.label}")
        try:
            async with asyncio.timeout(self._options.start_timeout):
                self._client = await asyncio.shield(ready)
        except TimeoutError:
            words = self._last_words()
            await self._stop()
            raise errors.no_answer(self._options.label, self._options.start_timeout, words) from None
        except BaseException:
            await self._stop()
            raise

    async def _own(self, ready: asyncio.Future[Client]) -> None:
        """Holds the connection until it is closed, or the server ends."""
        try:
            async with AsyncExitStack() as stack:
                transport: Any = await self._transport(stack)
                mode = "legacy" if self._options.legacy else "auto"
                client = Client(transport, mode=mode, elicitation_callback=self._elicit, cache=None)
                await stack.enter_async_context(client)
                # The library would check results by the server's own patterns, which may take for ever.
                client.session.validate_tool_result = _unchecked  # type: ignore[method-assign]
                if not ready.done():
                    ready.set_result(client)
                await self._until_end()
        except BaseException as error:
            if not ready.done() and isinstance(error, Exception):
                ready.set_exception(self._start_fault(error))
                ready.exception()  # it may have no reader any more
            elif not isinstance(error, Exception):
                ready.cancel()
                raise
        finally:
            self._client = None

    async def _transport(self, stack: AsyncExitStack) -> Any:
        if not self._options.command:
            http = http_client(self._options.headers, self._options.call_timeout)
            await stack.enter_async_context(http)
            return streamable_http_client(self._options.url, http_client=http)
        self._process = ServerProcess(self._options.command, self._options.environment, self._options.folder)
        return self._process

    async def _until_end(self) -> None:
        ends = [asyncio.ensure_future(self._closing.wait())]
        if self._process is not None:
            ends.append(asyncio.ensure_future(self._process.ended.wait()))
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def _stop(self) -> None:
        """Ends the owner: first by asking, then by cancelling."""
        self._closing.set()
        owner, self._owner, self._client = self._owner, None, None
        if owner is None:
            return
        done, _ = await asyncio.wait([owner], timeout=0 if owner.done() else CLOSE_SECONDS / 2)
        if not done:
            owner.cancel()
            await asyncio.wait([owner], timeout=CLOSE_SECONDS / 2)
        if owner.done() and not owner.cancelled():
            with contextlib.suppress(Exception):
                owner.result()

    def _start_fault(self, error: Exception) -> LanemeshError:
        found = _innermost(error)
        if isinstance(found, LanemeshError):
            return found
        if self._process is None:
            return errors.refused(self._options.label, _words(found))
        why = self._process.describe_end() if self._process.ended.is_set() else _words(found)
        return errors.command_refused(self._options.label, why, self._process.last_words())

    def _fault(self, error: Exception, what: str) -> LanemeshError:
        found = _innermost(error)
        if isinstance(found, ValidationError):
            return errors.bad_answer(self._options.label, what, _first_problem(found))
        if self._process is not None:
            return errors.ended(self._options.label, self._process.describe_end(), self._process.last_words())
        return errors.ended(self._options.label, _words(found))

    def _last_words(self) -> str:
        return self._process.last_words() if self._process is not None else ""


def _consent(params: ElicitRequestParams) -> dict[str, str | int | float | bool | list[str] | None] | None:
    """The content of a yes: each required yes-or-no field is yes. None if other content is required, or a visit to a URL."""
    if not isinstance(params, ElicitRequestFormParams):
        return None
    schema = params.requested_schema
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    if any((properties.get(name) or {}).get("type") != "boolean" for name in required):
        return None
    return dict.fromkeys(required, True)


def _innermost(error: BaseException) -> BaseException:
    """The first error of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _words(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"


async def _unchecked(name: str, result: Any) -> None:
    """Accepts a result of a tool."""
