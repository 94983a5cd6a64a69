"""The tools of an MCP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, ClassVar, Literal

from lanemesh import Context, Node, ToolCall, ToolProgress, ToolResult, ToolSpec
from lanemesh.extend import CallFailed, read_json
from pydantic import BaseModel, Field, SecretStr

from lanemesh_services.tools.mcp_errors import bad_config, library_missing

MAX_REPORTS = 64
"""Most progress reports of a call that wait; older ones are dropped."""


class ToolMcp(Node):
    """Offers the tools of an MCP server: one that it starts by a command, or one at a URL.

    Runs with the same config share one connection. A server that has ended is started again by the next call.
    """

    pip_extra = "mcp"
    python_packages = ("mcp",)
    offers: ClassVar = ("tool",)

    class Config(BaseModel):
        """Settings of the server. Either `command` or `url` is set."""

        command: list[str] = Field(
            default=[],
            description='The command that starts the server, with its arguments, such as ["npx", "-y", "some-mcp-server"]. On a '
            "mesh elsewhere, the node server has to allow it.",
            json_schema_extra={"format": "command-line"},
        )
        env: dict[str, SecretStr] = Field(
            default={},
            description="Environment variables of the command, besides PATH, HOME and the like. On a mesh elsewhere, the node "
            "server has to allow their names.",
            json_schema_extra={"format": "environment"},
        )
        folder: str = Field(
            "",
            description="Working directory of the command; default: that of the node server.",
            json_schema_extra={"format": "path"},
        )
        url: str = Field(
            "",
            description="Or the URL of a server with streamable HTTP. On a mesh elsewhere, the node server has to allow its host.",
            json_schema_extra={"format": "remote-url"},
        )
        headers: dict[str, SecretStr] = Field(
            default={}, description='Headers of each request, such as {"Authorization": "Bearer ${TOKEN}"}.'
        )
        tools: list[str] = Field(default=[], description="The tools to offer; default: all, 200 at most.")
        protocol: Literal["auto", "legacy"] = Field(
            "auto", description="legacy: use a version before 2026-07-28 without asking the server."
        )
        start_timeout: float = Field(
            30.0, gt=0, le=600, description="Seconds until the server has to answer its first request."
        )
        call_timeout: float = Field(300.0, gt=0, le=86_400, description="Time limit of one call in seconds.")

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Connects to the server, and reads its list of tools."""
        if bool(config.command) == bool(config.url):
            why = "both command and url are set" if config.url else "neither command nor url is set"
            raise bad_config(why, 'Give one, such as {"command": ["npx", "-y", "some-mcp-server"]}')
        if config.url and not config.url.startswith(("http://", "https://")):
            raise bad_config("url does not begin with http:// or https://", "Give the URL of the server's endpoint")
        try:
            from lanemesh_services.tools.mcp_connection import McpConnection, ServerOptions
        except ImportError as error:
            raise library_missing(error) from None
        connection = McpConnection(
            ServerOptions(
                command=config.command,
                url=config.url,
                environment={key: value.get_secret_value() for key, value in config.env.items()},
                headers={key: value.get_secret_value() for key, value in config.headers.items()},
                folder=config.folder,
                tools=config.tools,
                legacy=config.protocol == "legacy",
                start_timeout=config.start_timeout,
                call_timeout=config.call_timeout,
            )
        )
        try:
            await connection.tools()
        except BaseException:
            await connection.close()
            raise
        return connection

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Ends the connection, and the server if it was started here."""
        await resource.close()

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The tools that the server lists now."""
        specs: list[ToolSpec] = await self.resource.tools()
        return specs

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolResult, None]:
        """Calls a tool of the server. An error of the tool is a result; one of the server ends the call."""
        try:
            arguments = _arguments(call)
        except CallFailed as error:
            yield error.result()
            return
        reports: asyncio.Queue[ToolProgress | None] = asyncio.Queue(MAX_REPORTS + 1)

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if reports.qsize() >= MAX_REPORTS:
                reports.get_nowait()
            fraction = min(max(progress / total, 0.0), 1.0) if total else None
            reports.put_nowait(ToolProgress(message or "", fraction))

        async def ask(question: str) -> bool:
            label = f"the MCP server asks during {call.name}: {question}"
            given = await context.approval(label, tool=call.name, arguments=call.arguments, call_id=call.id)
            return bool(given)

        calling = asyncio.create_task(self._call(call.name, arguments, report, ask), name=f"MCP call {call.name}")
        calling.add_done_callback(lambda _: reports.put_nowait(None))
        try:
            while (progress := await reports.get()) is not None:
                yield progress
            yield await calling
        finally:
            calling.cancel()
            await asyncio.wait([calling])

    async def _call(self, name: str, arguments: dict[str, Any], report: Any, ask: Any) -> ToolResult:
        from mcp.shared.exceptions import MCPError

        from lanemesh_services.tools.mcp_results import tool_result

        try:
            return tool_result(name, await self.resource.call(name, arguments, report, ask))
        except MCPError as error:
            why = f"the MCP server rejects the call: {error.message} (code {error.code})"
            return CallFailed("mcp-rejected", why).result()
        except CallFailed as error:
            return error.result()


def _arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call; none and null are an empty object. Raises CallFailed if they are no JSON object."""
    try:
        value = read_json(call.arguments) if call.arguments.strip() else {}
    except ValueError as error:
        raise CallFailed("bad-arguments", f"the arguments of {call.name} are not JSON: {error}") from None
    if value is not None and not isinstance(value, dict):
        raise CallFailed("bad-arguments", f"the arguments of {call.name} are not a JSON object")
    return value or {}
