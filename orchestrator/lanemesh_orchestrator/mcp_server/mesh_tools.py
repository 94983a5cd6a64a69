"""The tools of deployed pipelines as MCP tools: their list, and their calls."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from lanemesh.faults import LanemeshError
from lanemesh.json_values import copy_json
from mcp_types import CallToolResult, ContentBlock, TextContent

from lanemesh_orchestrator.mcp_server.outcome import block_of
from lanemesh_orchestrator.tools.naming import unused

if TYPE_CHECKING:
    from lanemesh.chat import ToolProgress, ToolResult
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.tools import MeshTool

    from lanemesh_orchestrator.mcp_server.calls import Reporter

FRESH_SECONDS = 1.0
"""How long a list is used without asking the orchestrator again."""
PATIENCE_SECONDS = 2.0
"""How long a request waits for a list that is being made. After that it gets the one before."""
MAX_REPORTS = 64
"""Most progress reports of a call that wait for its client; further ones are dropped."""
DRAIN_SECONDS = 1.0
"""How long the last reports of a call may take."""

log = logging.getLogger("lanemesh.mcp")


class MeshTools:
    """The tools of the deployed pipelines of a mesh, by the names that its clients use."""

    def __init__(self, host: RunHost) -> None:
        self._host = host
        self._tools: list[MeshTool] = []
        self._listed_at = -FRESH_SECONDS
        self._listing: asyncio.Task[None] | None = None

    async def named(self, taken: Collection[str]) -> Mapping[str, MeshTool]:
        """The tools by name, in the order of the mesh. A tool whose name is `taken` is preceded by its deployment. There
        are none if the mesh cannot list its tools; the log has why."""
        if self._listing is None and time.monotonic() - self._listed_at >= FRESH_SECONDS:
            self._listing = asyncio.create_task(self._list(), name="list of tools")
        if self._listing is not None:
            await asyncio.wait([self._listing], timeout=PATIENCE_SECONDS)
        found: dict[str, MeshTool] = {}
        reserved = {*taken, *(tool.name for tool in self._tools)}
        for tool in self._tools:
            name = tool.name
            if name in taken:
                name = unused(f"{tool.deployment}_{tool.name}", reserved)
                reserved.add(name)
            found[name] = tool
        return found

    async def close(self) -> None:
        """Ends the list that is being made."""
        if self._listing is not None:
            self._listing.cancel()
            await asyncio.wait([self._listing])

    async def _list(self) -> None:
        try:
            self._tools = await self._host.tools()
        except LanemeshError as error:
            self._tools = []
            log.warning("the tools of deployed pipelines cannot be listed: %s", error)
        finally:
            self._listed_at, self._listing = time.monotonic(), None


async def call_mesh_tool(
    host: RunHost, tool: MeshTool, arguments: Mapping[str, Any], reporter: Reporter
) -> CallToolResult:
    """Calls a tool of a deployed pipeline, and reports its progress. Cancelling this cancels the call at the tool.

    Raises:
        LanemeshError: there is no such tool any more, or the call cannot be made.
    """
    waiting: asyncio.Queue[ToolProgress] = asyncio.Queue(MAX_REPORTS)

    def on_progress(progress: ToolProgress) -> None:
        if not waiting.full():
            waiting.put_nowait(progress)

    reporting = asyncio.create_task(_report(waiting, reporter), name=f"progress of {tool.name}")
    try:
        result = await _called(host, tool, arguments, on_progress)
        drained = asyncio.create_task(waiting.join())
        await asyncio.wait([drained, reporting], timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
    return _result(tool, result)


async def _called(host: RunHost, tool: MeshTool, arguments: Mapping[str, Any], on_progress: Any) -> ToolResult:
    """Calls a tool at its deployment, so that no other is asked for its tools."""
    try:
        return await host.call_tool(tool.name, arguments, deployment=tool.deployment, on_progress=on_progress)
    except LanemeshError as error:
        if error.fault.reason != "unknown-tool":
            raise
    return await host.call_tool(tool.name, arguments, on_progress=on_progress)  # a name with a number


async def _report(waiting: asyncio.Queue[ToolProgress], reporter: Reporter) -> None:
    done = 0
    while True:
        progress = await waiting.get()
        done += 1
        await reporter.progress(done, progress.message)
        waiting.task_done()


def _result(tool: MeshTool, result: ToolResult) -> CallToolResult:
    try:
        value = copy_json(result.value)
    except ValueError:  # JSON that cannot be held, such as a number with too many digits
        value = None
    content: list[ContentBlock] = [TextContent(text=value if isinstance(value, str) else result.content)]
    for number, part in enumerate(result.parts):
        content.append(block_of(part, tool.name, f"lanemesh://tools/{tool.deployment}/{tool.name}/{number}"))
    structured = value if isinstance(value, dict) and not result.is_error else None
    return CallToolResult(content=content, structured_content=structured, is_error=result.is_error)
