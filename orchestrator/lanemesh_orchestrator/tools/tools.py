"""The tools of the deployed pipelines: listed, found by name and called."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from lanemesh.channels import Channels
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.client.tools import LIST_SECONDS
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.times import seconds_of
from lanemesh.v1 import control_pb2

from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.link import LocalRunLink
from lanemesh_orchestrator.runs.run_options import RunOptions
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
"""Most deployed pipelines whose tools are awaited at the same time."""
PATIENCE_SECONDS = 10.0
"""How long a list of all tools waits for those of one deployed pipeline."""
NESTED_SECONDS = 3.0
"""How long a run waits for a list that is being made, perhaps by a run above it. Its helpers have to be listed within 10 s."""

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
    listing: asyncio.Task[None] | None = None
    """Lists them now, for everybody who asks."""
    began: float = 0.0
    """When that has begun."""

    def answers(self, version: int, asked: _Asked, asked_at: float) -> bool:
        """Whether they are what was asked for, at a time."""
        most_seconds = asked.most_seconds if self.fault is None else min(asked.most_seconds, FAILED_SECONDS)
        return self.version == version and self.at >= asked_at - most_seconds


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a list of tools is wanted for."""

    most_seconds: float
    """How old it may be."""
    depth: int
    """How many runs are above the run that makes it."""
    patience: float | None
    """How long it may take, in seconds; None: until it is made. Below another run at most `NESTED_SECONDS`, because that run may be
    the one that lists the tools."""

    def left(self, began: float) -> float | None:
        """How long to wait for a list that is made since `began`."""
        patience = self.patience
        if self.depth:
            patience = NESTED_SECONDS if patience is None else min(patience, NESTED_SECONDS)
        return None if patience is None else max(0.0, began + patience - time.monotonic())


def _late(name: str) -> LanemeshError:
    message = (
        f"the tools of {name} are not listed yet: its components have not answered. Ask for them later, or see with "
        "`lanemesh runs` what the run that lists them waits for"
    )
    return LanemeshError(Fault(code=Code.DEADLINE_EXCEEDED, reason="tools-late", message=message))


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

    async def close(self) -> None:
        """Cancels the lists that are made now."""
        listings = [listed.listing for listed in self._listed.values() if listed.listing is not None]
        for listing in listings:
            listing.cancel()
        await asyncio.gather(*listings, return_exceptions=True)

    async def list(self, deployment: str = "", *, fresh: bool = False, depth: int = 0) -> control_pb2.ListToolsResponse:
        """The tools of a deployed pipeline, or of all.

        Args:
            deployment: the deployed pipeline; empty: all. Of these, one whose list takes longer than 10 s is left out; the list
                goes on for those who ask later.
            fresh: the components are asked in any case.
            depth: how many runs are above those that list tools.

        Raises:
            LanemeshError: the deployed pipeline is unknown, or its tools cannot be listed. Of all pipelines, those whose tools
                cannot be listed are in the response.
        """
        response = control_pb2.ListToolsResponse()
        asked = _Asked(FRESH_SECONDS if not fresh else 0.0, depth, None if deployment else PATIENCE_SECONDS)
        tools = await self._found(deployment, asked, response)
        for name, tool in named_tools(tools, within_one=bool(deployment)):
            spec = response.tools.add()
            spec.CopyFrom(tool.spec)
            spec.name, spec.deployment, spec.component = name, tool.deployment, tool.component
        return response

    async def call(
        self, deployment: str, request: control_pb2.CallToolRequest, traceparent: str = "", depth: int = 0
    ) -> AsyncGenerator[control_pb2.CallToolResponse, None]:
        """Calls a tool: any progress, then the result. Leaving the iteration cancels the call at the tool.

        Args:
            deployment: the deployed pipeline that has the tool; empty: any.
            request: the call.
            traceparent: the trace of the caller; empty: a new one.
            depth: how many runs are above the run of the call.

        Raises:
            LanemeshError: there is no such tool, or the call cannot be made.
        """
        tool = await self._find(deployment, request.name, depth)
        timeout = seconds_of(request.timeout) if request.HasField("timeout") else None
        given: dict[str, Any] = {"name": tool.name, "arguments": request.arguments_json, "call_id": request.call_id}
        if timeout is not None:
            given["timeout"] = timeout
        options = RunOptions(timeout=timeout, traceparent=traceparent, depth=depth)
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

    async def _find(self, deployment: str, name: str, depth: int) -> FoundTool:
        """The tool of a name. Lists that are older than a second are made again if they do not have it."""
        tool = None
        for asked in (_Asked(FRESH_SECONDS, depth, PATIENCE_SECONDS), _Asked(1.0, depth, None)):
            is_last = asked.patience is None
            unlisted = control_pb2.ListToolsResponse()
            found = await self._found(deployment, replace(asked, patience=None) if deployment else asked, unlisted)
            tool = pick_tool(name, found, within_one=bool(deployment), last=is_last)
            if tool is not None:
                break
        assert tool is not None, "the last attempt raises"
        return tool

    async def _found(
        self, deployment: str, asked: _Asked, response: control_pb2.ListToolsResponse
    ) -> Sequence[FoundTool]:
        """The tools of a deployed pipeline, or of all. Adds those of them whose tools cannot be listed to the response."""
        if deployment:
            return await self._of(deployment, asked)
        names = [one.name for one in self._deployments().all()]
        for gone in self._listed.keys() - set(names):
            listing = self._listed.pop(gone).listing
            if listing is not None:
                listing.cancel()
        limit = asyncio.Semaphore(MAX_AT_ONCE)

        async def of(name: str) -> Sequence[FoundTool]:
            async with limit:
                try:
                    return await self._of(name, asked)
                except LanemeshError as error:
                    log.warning("the tools of %s cannot be listed: %s", name, error.fault.message)
                    response.unlisted.add(deployment=name, fault=error.fault.to_proto())
                    return ()

        return [tool for tools in await asyncio.gather(*map(of, names)) for tool in tools]

    async def _of(self, name: str, asked: _Asked) -> Sequence[FoundTool]:
        """The tools of one deployed pipeline; a list of its current version that is at most so old, or a new one."""
        graph = self._deployments().current_graph(name)
        listed = self._listed.setdefault(name, _Listed())
        asked_at = time.monotonic()
        while not listed.answers(graph.deployment_version, asked, asked_at):
            if listed.listing is None:
                listed.began = time.monotonic()
                listed.listing = asyncio.create_task(
                    self._list(name, graph, listed, asked.depth), name=f"tools of {name}"
                )
            elif asked.depth and listed.version == graph.deployment_version and listed.fault is None:
                break  # the list may wait for this one
            left = asked.left(listed.began)
            done, _ = await asyncio.wait([listed.listing], timeout=left)
            if not done:
                raise _late(name)
            if not (listing := done.pop()).cancelled():
                listing.result()  # raises what is unexpected
        if listed.fault is not None:
            raise LanemeshError(listed.fault)
        return listed.tools

    async def _list(self, name: str, graph: Graph, listed: _Listed, depth: int) -> None:
        """Lists the tools of a deployed pipeline."""
        try:
            components = tool_components(graph)
            tools = await self._ask(name, components, depth) if components else ()
            listed.tools, listed.fault = tools, None
        except LanemeshError as error:
            listed.tools, listed.fault = (), error.fault
        finally:
            listed.version, listed.at, listed.listing = graph.deployment_version, time.monotonic(), None

    async def _ask(self, name: str, components: Sequence[str], depth: int) -> Sequence[FoundTool]:
        """Lists the tools of these components, by a run."""
        run = self._run(name, components, {}, RunOptions(timeout=LIST_SECONDS, depth=depth))
        result = await run.result()
        result.raise_for_state()
        return [FoundTool.of(name, tool) for values in result.values for tool in values]

    def _run(self, name: str, components: Sequence[str], given: Mapping[str, Any], options: RunOptions) -> Run:
        return Run(LocalRunLink(partial(self._begin, name, components, options), self._channels), [dict(given)])

    async def _begin(self, name: str, components: Sequence[str], options: RunOptions) -> ActiveRun:
        graph = self._deployments().variant(name, lambda spec: calling_spec(spec, components))
        return self._runs.start(graph, replace(options, homes=await self._homes(graph)))
