"""The tools of the deployed pipelines: listed, found by name and called."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lanemesh.channels import Channels
from lanemesh.client.runs import Run, wire_updates
from lanemesh.client.tools import LIST_SECONDS
from lanemesh.faults import Fault, LanemeshError
from lanemesh.times import seconds_of
from lanemesh.v1 import control_pb2

from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.runs.active_run import ActiveRun, RunOptions
from lanemesh_orchestrator.runs.link import LocalRunLink
from lanemesh_orchestrator.tools.document import calling_spec, tool_components
from lanemesh_orchestrator.tools.naming import FoundTool, named_tools, pick_tool

if TYPE_CHECKING:
    from lanemesh_orchestrator.deployments.deployments import Deployments
    from lanemesh_orchestrator.runs.runs import Runs

FRESH_SECONDS = 30.0
"""How long the list of a deployed pipeline is used without asking its tools again. An unknown name asks them at once."""
FAILED_SECONDS = 5.0
"""How long a failure to list tools is remembered."""
MAX_AT_ONCE = 8
"""Most deployed pipelines whose tools are listed at the same time."""

Homes = Callable[[Graph], Awaitable[Mapping[str, str]]]
"""Returns the required server of each component of a run, where there is one."""

log = logging.getLogger("lanemesh.tools")


@dataclass(slots=True)
class _Listed:
    """The tools of one deployed pipeline, when they were listed last."""

    version: int = 0
    tools: Sequence[FoundTool] = ()
    fault: Fault | None = None
    """Why they could not be listed then."""
    at: float = -FRESH_SECONDS
    listing: asyncio.Lock = field(default_factory=asyncio.Lock)


class MeshTools:
    """The tools of the deployed pipelines of an orchestrator."""

    def __init__(
        self,
        deployments: Callable[[], Deployments],
        runs: Runs,
        channels: Callable[[str], Channels],
        homes: Homes,
    ) -> None:
        """`channels` returns the channels of a run by its id."""
        self._deployments = deployments
        self._runs = runs
        self._channels = channels
        self._homes = homes
        self._listed: dict[str, _Listed] = {}

    async def list(self, deployment: str = "", *, fresh: bool = False) -> control_pb2.ListToolsResponse:
        """The tools of a deployed pipeline, or of all. `fresh`: their components are asked in any case.

        Raises:
            LanemeshError: the deployed pipeline is unknown, or its tools cannot be listed. Of all pipelines, those whose tools
                cannot be listed are in the response.
        """
        response = control_pb2.ListToolsResponse()
        tools = await self._found(deployment, FRESH_SECONDS if not fresh else 0.0, response)
        for name, tool in named_tools(tools, within_one=bool(deployment)):
            spec = response.tools.add()
            spec.CopyFrom(tool.spec)
            spec.name, spec.deployment, spec.component = name, tool.deployment, tool.component
        return response

    async def call(
        self, deployment: str, request: control_pb2.CallToolRequest, traceparent: str = ""
    ) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls a tool: any progress, then the result. Leaving the iteration cancels the call at the tool.

        Args:
            deployment: the deployed pipeline that has the tool; empty: any.
            request: the call.
            traceparent: the trace of the caller; empty: a new one.

        Raises:
            LanemeshError: there is no such tool, or the call cannot be made.
        """
        tool = await self._find(deployment, request.name)
        timeout = seconds_of(request.timeout) if request.HasField("timeout") else None
        given: dict[str, Any] = {"name": tool.name, "arguments": request.arguments_json, "call_id": request.call_id}
        if timeout is not None:
            given["timeout"] = timeout
        options = RunOptions(timeout=timeout, traceparent=traceparent)
        run = self._run(tool.deployment, [tool.component], given, options)
        async with run, aclosing(wire_updates(run)) as updates:
            async for update in updates:
                event = update.tool.WhichOneof("event") if update.HasField("tool") else None
                if event == "progress":
                    yield control_pb2.CallToolResponse(progress=update.tool.progress)
                elif event == "result":
                    result = update.tool.result
                    result.name = request.name
                    yield control_pb2.CallToolResponse(result=result)
            run.raise_unless_completed()

    async def _find(self, deployment: str, name: str) -> FoundTool:
        """The tool of a name. Lists that are older than a second are read again if they do not have it."""
        tool = None
        for most_seconds in (FRESH_SECONDS, 1.0):
            unlisted = control_pb2.ListToolsResponse()
            found = await self._found(deployment, most_seconds, unlisted)
            tool = pick_tool(name, found, within_one=bool(deployment), last=most_seconds == 1.0)
            if tool is not None:
                break
        assert tool is not None, "the last attempt raises"
        return tool

    async def _found(
        self, deployment: str, most_seconds: float, response: control_pb2.ListToolsResponse
    ) -> Sequence[FoundTool]:
        """The tools of a deployed pipeline, or of all. Adds those of them whose tools cannot be listed to the response."""
        if deployment:
            return await self._of(deployment, most_seconds)
        names = [one.name for one in self._deployments().all()]
        for gone in self._listed.keys() - set(names):
            del self._listed[gone]
        limit = asyncio.Semaphore(MAX_AT_ONCE)

        async def of(name: str) -> Sequence[FoundTool]:
            async with limit:
                try:
                    return await self._of(name, most_seconds)
                except LanemeshError as error:
                    log.warning("the tools of %s cannot be listed: %s", name, error.fault.message)
                    response.unlisted.add(deployment=name, fault=error.fault.to_proto())
                    return ()

        return [tool for tools in await asyncio.gather(*map(of, names)) for tool in tools]

    async def _of(self, name: str, most_seconds: float) -> Sequence[FoundTool]:
        """The tools of one deployed pipeline; a list of its current version that is at most so old, or a new one."""
        graph = self._deployments().current_graph(name)
        listed = self._listed.setdefault(name, _Listed())
        asked_at = time.monotonic()
        async with listed.listing:
            is_current = listed.version == graph.deployment_version
            most_seconds = most_seconds if listed.fault is None else min(most_seconds, FAILED_SECONDS)
            if not is_current or listed.at < asked_at - most_seconds:
                components = tool_components(graph)
                listed.fault = None
                try:
                    listed.tools = await self._ask(name, components) if components else ()
                except LanemeshError as error:
                    listed.tools, listed.fault = (), error.fault
                listed.version, listed.at = graph.deployment_version, time.monotonic()
            if listed.fault is not None:
                raise LanemeshError(listed.fault)
            return listed.tools

    async def _ask(self, name: str, components: Sequence[str]) -> Sequence[FoundTool]:
        """Lists the tools of these components, by a run."""
        run = self._run(name, components, {}, RunOptions(timeout=LIST_SECONDS))
        result = await run.result()
        result.raise_for_state()
        return [FoundTool.of(name, tool) for values in result.values for tool in values]

    def _run(self, name: str, components: Sequence[str], given: Mapping[str, Any], options: RunOptions) -> Run:
        return Run(LocalRunLink(partial(self._begin, name, components, options), self._channels), [dict(given)])

    async def _begin(self, name: str, components: Sequence[str], options: RunOptions) -> ActiveRun:
        graph = self._deployments().variant(name, lambda spec: calling_spec(spec, components))
        return self._runs.start(graph, replace(options, homes=await self._homes(graph)))
