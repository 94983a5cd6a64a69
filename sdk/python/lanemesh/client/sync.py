"""Meshes and clients without `await`: their event loop runs in a separate thread."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from lanemesh._aio.generators import in_threads
from lanemesh._aio.loop_thread import Closable, LoopThread
from lanemesh.client.client import Client
from lanemesh.client.detached import DetachedRun
from lanemesh.client.runs import Run
from lanemesh.client.specs import PipelineDocument, SessionId, Trace, check_inputs
from lanemesh.client.sync_channels import SyncChannels
from lanemesh.client.sync_runs import SyncDetachedRun, SyncRequest, SyncRun

if TYPE_CHECKING:
    from lanemesh.chat import ToolResult
    from lanemesh.client.deployment_info import DeploymentInfo
    from lanemesh.client.gpus import GpuReport
    from lanemesh.client.node_servers import NodeServerInfo
    from lanemesh.client.node_types import NodeTypeInfo
    from lanemesh.client.records import RunPage, RunRecord
    from lanemesh.client.requests import Request
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.sessions import SessionInfo
    from lanemesh.client.sync_sessions import SyncSession
    from lanemesh.client.tools import MeshTool, OnProgress
    from lanemesh.client.updates import RunState
    from lanemesh.pipeline_faults import PipelineFault

SyncHostT = TypeVar("SyncHostT", bound="SyncHost")

_END = object()


class SyncHost:
    """A `Mesh` or a `Client` for callers without `await`. It has the same methods. Any thread may call them, also a thread with a
    running event loop, as in a notebook.

    Its thread runs until `close`, the end of its `with` block, or the end of the program.
    """

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[RunHost]]) -> None:
        """`make` creates the host; it is called in the event loop. Raises the errors of `make`."""
        self._loop = LoopThread(type(self).__name__)
        try:
            self._opened, self._host = self._loop.call(_open(make))
        except BaseException:
            self._loop.stop()
            raise
        self._closing = weakref.finalize(self, _close, self._loop, self._opened)

    def run(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | AsyncIterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
        source: str = "",
    ) -> SyncRun:
        """A run of a pipeline. It starts when it is entered or first read. The arguments are those of `Mesh.run`; `inputs` may be
        an iterator that waits for its values."""
        check_inputs(input, inputs)
        many = inputs if inputs is None or isinstance(inputs, (AsyncIterable, list, tuple)) else _read(inputs)

        async def make() -> Run:
            return self._host.run(
                pipeline,
                input=input,
                inputs=many,
                open_input=open_input,
                settings=settings,
                timeout=timeout,
                trace=trace,
                variables=variables,
                session=session,
                source=source,
            )

        return SyncRun(self._loop, self._loop.call(make()), self)

    def request(
        self,
        pipeline: PipelineDocument,
        input: Any = None,  # noqa: A002
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
        source: str = "",
        retries: int = 0,
    ) -> SyncRequest:
        """One input to a pipeline, and what it returns: `client.request("@chat", "hello").all().text`. The arguments and errors are
        those of `Mesh.request`."""

        async def make() -> Request:
            return self._host.request(
                pipeline,
                input,
                settings=settings,
                timeout=timeout,
                trace=trace,
                variables=variables,
                session=session,
                source=source,
                retries=retries,
            )

        return SyncRequest(self._loop, self._loop.call(make()), self)

    def start(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        inputs: Iterable[Any] | None = None,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        trace: Trace | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
        source: str = "",
        idempotency_key: str = "",
    ) -> SyncDetachedRun:
        """Starts a detached run, which continues without its caller. The arguments are those of `Mesh.start`."""
        starting = self._host.start(
            pipeline,
            input=input,
            inputs=inputs,
            open_input=open_input,
            settings=settings,
            timeout=timeout,
            trace=trace,
            variables=variables,
            session=session,
            source=source,
            idempotency_key=idempotency_key,
        )
        return SyncDetachedRun(self._loop, self._loop.call(starting), self)

    def attach(self, run_id: str, from_sequence: int = 1) -> SyncDetachedRun:
        """A running or stored run, by its id, with any caller."""

        async def make() -> DetachedRun:
            return self._host.attach(run_id, from_sequence)

        return SyncDetachedRun(self._loop, self._loop.call(make()), self)

    def session(
        self,
        pipeline: PipelineDocument,
        id: str = "",  # noqa: A002
        *,
        owner: str = "",
        history_turns: int = 20,
        history_bytes: int = 64 * 1024,
        time_to_live: float = 30 * 86_400.0,
    ) -> SyncSession:
        """A conversation over a pipeline, which the orchestrator keeps. The arguments are those of `Mesh.session`."""
        from lanemesh.client.sync_sessions import SyncSession

        session = self._host.session(
            pipeline,
            id,
            owner=owner,
            history_turns=history_turns,
            history_bytes=history_bytes,
            time_to_live=time_to_live,
        )
        return SyncSession(self._loop, session, self)

    def sessions(self, deployment: str = "", *, owner: str = "", limit: int = 100) -> list[SessionInfo]:
        """The kept sessions, the last used first. The arguments are those of `Mesh.sessions`."""
        return self._loop.call(self._host.sessions(deployment, owner=owner, limit=limit))

    def session_of_run(self, run_id: str, *, owner: str = "") -> SessionInfo:
        """The kept session with the turn of a run. The arguments and errors are those of `Mesh.session_of_run`."""
        return self._loop.call(self._host.session_of_run(run_id, owner=owner))

    def approve(self, run_id: str, call_id: str, *, component: str = "") -> None:
        """Approves a call for which a component of a run waits. The arguments and errors are those of `Run.approve`."""
        self._loop.call(self._host.approve(run_id, call_id, component=component))

    def refuse(self, run_id: str, call_id: str, reason: str = "", *, component: str = "") -> None:
        """Refuses a call for which a component of a run waits. The arguments and errors are those of `Run.refuse`."""
        self._loop.call(self._host.refuse(run_id, call_id, reason, component=component))

    def runs(self, *, limit: int = 100, states: Iterable[RunState | str] = (), deployment: str = "") -> list[RunRecord]:
        """The records of runs, the latest first. The arguments and errors are those of `Mesh.runs`."""
        return self._loop.call(self._host.runs(limit=limit, states=states, deployment=deployment))

    def run_page(
        self, *, limit: int = 100, states: Iterable[RunState | str] = (), deployment: str = "", page: str = ""
    ) -> RunPage:
        """One page of the records of runs, the latest first. The arguments and errors are those of `Mesh.run_page`."""
        return self._loop.call(self._host.run_page(limit=limit, states=states, deployment=deployment, page=page))

    def record(self, run_id: str) -> RunRecord:
        """The record of a run, with its pipeline. Raises LanemeshError if the run is not known."""
        return self._loop.call(self._host.record(run_id))

    def channels(self, run_id: str = "", *, name: str = "client") -> SyncChannels:
        """The channels of a run, or without one those of the mesh, whose names begin with "mesh:"."""
        return SyncChannels(self._loop, self._host.channels(run_id, name=name))

    def validate(
        self,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
        source: str = "",
    ) -> list[PipelineFault]:
        """All faults of a pipeline, warnings included; empty if it can run."""
        return self._loop.call(self._host.validate(pipeline, settings=settings, variables=variables, source=source))

    def deploy(
        self,
        name: str,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> DeploymentInfo:
        """Keeps a pipeline ready under a name; returns when it is. The arguments are those of `Mesh.deploy`."""
        return self._loop.call(
            self._host.deploy(name, pipeline, settings=settings, timeout=timeout, variables=variables)
        )

    def deployments(self) -> list[DeploymentInfo]:
        """The deployed pipelines, in alphabetical order."""
        return self._loop.call(self._host.deployments())

    def deployment(self, name: str, version: int = 0) -> DeploymentInfo:
        """A deployed pipeline with its document; version 0 is the current one. Raises LanemeshError if there is none."""
        return self._loop.call(self._host.deployment(name, version))

    def undeploy(self, name: str) -> None:
        """Removes a deployed pipeline; its runs continue to their end. Raises LanemeshError if there is none."""
        self._loop.call(self._host.undeploy(name))

    def tools(self, deployment: str = "") -> list[MeshTool]:
        """The tools of the deployed pipelines. The arguments and errors are those of `Mesh.tools`."""
        return self._loop.call(self._host.tools(deployment))

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        deployment: str = "",
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ToolResult:
        """Calls a tool of a deployed pipeline. The arguments and errors are those of `Mesh.call_tool`; `on_progress` is called in
        the thread of the event loop."""
        return self._loop.call(
            self._host.call_tool(name, arguments, deployment=deployment, timeout=timeout, on_progress=on_progress)
        )

    def node_types(self, names: Collection[str] | None = None) -> list[NodeTypeInfo]:
        """The node types, in alphabetical order; with `names` only those with one of these names or aliases."""
        return self._loop.call(self._host.node_types(names))

    def node_servers(self) -> list[NodeServerInfo]:
        """The node servers."""
        return self._loop.call(self._host.node_servers())

    def gpus(self) -> GpuReport:
        """The GPUs, their leases, and the requests that wait."""
        return self._loop.call(self._host.gpus())

    def close(self) -> None:
        """Ends every run that it owns, and its thread. A second call has no effect."""
        self._closing()

    def __enter__(self: SyncHostT) -> SyncHostT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class SyncClient(SyncHost):
    """A `lanemesh.Client` for callers without `await`: `with SyncClient("127.0.0.1:7070") as client:`."""

    def __init__(
        self, address: str, *, proxy: bool = True, token: str | None = None, tls: bool | str | Path | None = None
    ) -> None:
        """A client of the orchestrator at this address. The arguments and errors are those of `Client`."""
        super().__init__(lambda: Client(address, proxy=proxy, token=token, tls=tls))


async def _open(
    make: Callable[[], AbstractAsyncContextManager[RunHost]],
) -> tuple[AbstractAsyncContextManager[RunHost], RunHost]:
    opened = make()
    return opened, await opened.__aenter__()


def _close(loop: LoopThread, opened: AbstractAsyncContextManager[RunHost]) -> None:
    """Must not refer to the `SyncHost`, which could never be collected."""
    if loop.closed:
        return
    with contextlib.suppress(KeyboardInterrupt):
        loop.call(_leave(opened, tuple(loop.reading)))
    loop.stop()


async def _leave(opened: AbstractAsyncContextManager[RunHost], reading: Iterable[Closable]) -> None:
    for values in reading:
        with contextlib.suppress(RuntimeError):  # another thread waits for its next value, and gets the run's end
            await values.aclose()
    await opened.__aexit__(None, None, None)


async def _read(values: Iterable[Any]) -> AsyncIterator[Any]:
    """Values of an iterable that may block: read in a thread, so that the event loop continues."""
    async with contextlib.aclosing(in_threads(values)) as read:
        async for value in read:
            yield value
