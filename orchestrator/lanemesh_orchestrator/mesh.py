"""A local mesh: all in this process, or spread over local processes that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args

from lanemesh._aio.loops import misuse
from lanemesh._grpc.run_depth import RUN_DEPTH
from lanemesh.channels import Channels
from lanemesh.client.inputs import to_input
from lanemesh.client.kept_runs import KeptRuns
from lanemesh.client.runs import Run
from lanemesh.client.specs import (
    PipelineDocument,
    SessionId,
    Trace,
    input_list,
    one_or_many,
    run_spec,
    wire_text,
)
from lanemesh.node.names import of_names
from lanemesh.pipeline_faults import PipelineFault
from lanemesh.rendering import rendered
from lanemesh.v1 import run_pb2

from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import Graph, run_graph, run_graph_of
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.link import LocalRunLink
from lanemesh_orchestrator.runs.retention import DEFAULT_BUDGET
from lanemesh_orchestrator.runs.run_options import RunOptions
from lanemesh_orchestrator.started_servers import Spreading, StartedServers

if TYPE_CHECKING:
    from lanemesh.chat import ToolResult
    from lanemesh.client.deployment_info import DeploymentInfo
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.gpus import GpuReport
    from lanemesh.client.node_servers import NodeServerInfo
    from lanemesh.client.node_types import NodeTypeInfo
    from lanemesh.client.requests import Request, RequestLimit
    from lanemesh.client.sessions import SessionLink
    from lanemesh.client.tools import MeshTool, OnProgress

    from lanemesh_orchestrator.deployments.deployments import Deployments
    from lanemesh_orchestrator.store.options import StoreOptions


class Mesh(KeptRuns):
    """A local mesh that runs pipelines. Use it as `async with Mesh() as mesh:`; its exit ends all runs and started processes."""

    def __init__(
        self,
        spread: Spreading | None = None,
        *,
        nodes: Sequence[Path | str] | Path | str = (),
        folder: Path | None = None,
        store: str | Path | StoreOptions | None = None,
        run_memory: int = DEFAULT_BUDGET,
        log_level: str = "warning",
    ) -> None:
        """Creates a mesh in this process, or a spread one.

        Args:
            spread: None: runs all nodes in this process, with memory lanes. "service": one local process per service of a
                pipeline, started at its first use, with gRPC lanes. "component": the same with one process per component.
            nodes: Python files with further node types, or one such file.
            folder: the base of relative paths in the configs of pipelines without a file; None: the working directory. The base
                for a `pathlib.Path` is the folder of that file.
            store: where runs and deployed pipelines are stored: the path of an SQLite file, the URL of a database, or the options
                of a store; None: they are not stored.
            run_memory: most bytes of runs and their updates that are kept in memory, at least 1 MiB.
            log_level: of the started processes. Their logs are forwarded to standard error, each line with the server's name.

        Raises:
            ValueError: `spread` is invalid, or `run_memory` is less than 1 MiB.
            TypeError: an entry of `nodes` is no path.
            LanemeshError: a file of `nodes` cannot be loaded.
        """
        if spread not in (None, *get_args(Spreading)):
            raise ValueError(f'spread is "service", "component" or None, not {rendered(spread)}')
        files = [_file(file) for file in ([nodes] if isinstance(nodes, (str, Path)) else nodes)]
        options: StoreOptions | None = None
        if store is not None:
            from lanemesh_orchestrator.store.options import StoreOptions

            options = store if isinstance(store, StoreOptions) else StoreOptions(location=str(store))
        self.orchestrator = Orchestrator(
            embedded=spread is None,
            nodes=files,
            store=options,
            run_memory=run_memory,
            is_local=True,
        )
        self.orchestrator.on_deployments = self._prepare_deployments
        self.orchestrator.host.mesh = self
        self._folder = str(folder.absolute()) if folder is not None else ""
        self._closed = False
        self._requests: RequestLimit | None = None
        self._is_spread = spread is not None
        if spread is not None:
            self.orchestrator.runs.startable = lambda: self.orchestrator.host.node_types
        self._servers = StartedServers(self.orchestrator, spread, log_level)
        self.orchestrator.homes = self._servers.homes

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
    ) -> Run:
        """Creates a run of a pipeline. It starts when its context is entered or its updates are first read.

        Args:
            pipeline: a `lanemesh.Pipeline`, JSON text, the `pathlib.Path` of a JSON file, a dict, or a deployed pipeline:
                `Deployed("chat")` or "@chat". The base of relative paths in the configs is the folder of the file, or for other
                documents the `folder` of the mesh; on a remote orchestrator it is the working directory of each node server.
            input: one value for the source of the pipeline; text for a `chat`.
            inputs: several values, fed one after the other.
            open_input: whether `push` adds more inputs, until `end_input`.
            settings: overrides of config values: "component.key" to a JSON value.
            timeout: time limit of the run, in seconds; None: that of the pipeline.
            trace: how much a `TraceUpdate` reports of each item that reaches a node: "none", "metadata", "summary" or "full";
                None: the setting of the pipeline.
            variables: values of `${NAME}` in the pipeline, treated as secrets. They take precedence over the environment of this
                process, or on a remote orchestrator over the variables that it allows.
            session: the session that the run belongs to, such as a conversation: 1 to 128 printable characters; empty: none. Runs
                of one session share its memory, so use an id that others cannot guess. A `Conversation` makes the run the next turn
                of a session that the orchestrator keeps.
            source: the source to run, by its id, of a pipeline that has several. What can be reached from it runs, and the rest is
                left out. Empty: that of the document, or the only one that clients feed, or for a `Conversation` the only `chat`.

        Raises:
            PipelineInvalid: when it starts, with every fault of the pipeline.
            LanemeshError: when it starts: a server or a deployment is missing, the variables are too many, too large or misnamed
                ("bad-variables"), or the session is not allowed ("bad-session").
        """
        link = self._link(pipeline, settings, trace, variables, session, source)
        return Run(link(timeout), input_list(input, inputs), open_input=open_input)

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
    ) -> Request:
        """One input to a pipeline, and what it returns: `await mesh.request("@chat", "hello").text()`.

        A mesh has at most 1,000 open requests. Further ones wait for their turn, in the order in which they are first read. The
        other arguments are those of `run`.

        Args:
            input: the value for the source of the pipeline; None: no input.
            timeout: time limit of the request, in seconds, with its waits for a turn and for retries; None: that of the pipeline.
            retries: how often it is started again after a rejection that suggests a retry, from 0 to 100. Each time it waits for
                the suggested `retry_after`, and up to half of that more.

        Raises:
            ValueRefused: no lane carries the input, such as text that is too large.
            PipelineInvalid: when it starts, with every fault of the pipeline.
            LanemeshError: when it starts: as `run`; if `retry_after` is not None, a retry may succeed after these seconds.
        """
        from lanemesh.client.requests import Request, RequestLimit

        if self._requests is None:
            self._requests = RequestLimit()
        link = self._link(pipeline, settings, trace, variables, session, source)
        return Request(link, input, self._requests, timeout=timeout, retries=retries)

    def _link(
        self,
        pipeline: PipelineDocument,
        settings: Mapping[str, Any] | None,
        trace: Trace | None,
        variables: Mapping[str, str] | None,
        session: SessionId,
        source: str,
    ) -> Callable[[float | None], LocalRunLink]:
        """Returns the links of runs with these options, by the timeout of the run."""
        spec = run_spec(pipeline, settings, trace=trace, variables=variables, session=session, source=source)
        folder = self._folder_of(pipeline)

        async def begin(timeout: float | None) -> ActiveRun:
            return self.orchestrator.runs.start(*await self._prepare(spec, folder, timeout))

        return lambda timeout: LocalRunLink(partial(begin, timeout), self.channels)

    def channels(self, run_id: str = "", *, name: str = "client") -> Channels:
        """The channels of a run, or without a run those of the mesh, whose names begin with "mesh:". Subscribers get `name` as the
        publisher of messages that are published here."""
        return Channels(lambda: self.orchestrator.channels, run_id=run_id, name=name)

    async def start(
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
    ) -> DetachedRun:
        """Starts a detached run, which ends with the mesh at the latest. If the caller is cancelled before it has the run,
        the run is cancelled, unless it has an idempotency key. The arguments are those of `run`, except:

        Args:
            inputs: all values at once; `push` adds more if `open_input` is set.
            open_input: whether the run accepts more inputs by `push`, from any client, until `end_input`, its timeout or its end.
            idempotency_key: 1 to 128 printable characters; empty: none. A further call with the same key, pipeline, options and
                inputs returns the same run, as long as the mesh keeps that run in memory.

        Raises:
            PipelineInvalid: with every fault of the pipeline.
            LanemeshError: the key was used with another pipeline, options or inputs ("idempotency-conflict"), or is not allowed
                ("bad-idempotency-key").
        """
        given = [to_input(value) for value in one_or_many(input, inputs)]
        spec = run_spec(pipeline, settings, trace=trace, variables=variables, session=session, source=source)
        runs, text = self.orchestrator.runs, wire_text(idempotency_key, "an idempotency key")
        key, run = runs.keys.keyed(text, spec, given, timeout, open_input=open_input) if text else (None, None)
        if run is None:
            graph, options = await self._prepare(spec, self._folder_of(pipeline), timeout)
            run = runs.start_detached(graph, given, options, open_input=open_input, key=key)
        try:
            await run.log.begun()
        except asyncio.CancelledError:
            if key is None:  # otherwise a further call finds the run
                run.cancel("its caller left before it had the run")
            raise
        return self.attach(run.id)

    def attach(self, run_id: str, from_sequence: int = 1) -> DetachedRun:
        """Attaches to an active or kept run of this mesh by its id. Its updates are read from `from_sequence` on.

        A run that was started by `run` can be watched and cancelled. Only its owner can feed it.
        """
        from lanemesh.client.detached import DetachedRun

        from lanemesh_orchestrator.runs.link import LocalDetachedLink

        link = LocalDetachedLink(
            self.orchestrator.runs, self.orchestrator.history, wire_text(run_id, "the id of a run")
        )
        return DetachedRun(run_id, link, self.channels(run_id), from_sequence)

    async def validate(
        self,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
        source: str = "",
    ) -> list[PipelineFault]:
        """All faults of a pipeline, or of its part for a run of this `source`, warnings included; empty if it is valid."""
        from lanemesh_orchestrator.pipeline import PipelineInvalid

        try:
            spec = run_spec(pipeline, settings, variables=variables, source=source)
            graph = self._graph(spec, self._folder_of(pipeline))
            return list((run_graph(graph, source) if source else graph).warnings)
        except PipelineInvalid as invalid:
            return list(invalid.faults)

    async def deploy(
        self,
        name: str,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> DeploymentInfo:
        """Deploys a pipeline under a name until the mesh closes. Run it as `Deployed(name)`.

        Args:
            name: lower-case letters, digits, "-" and "_", at most 64.
            settings: those of `run`, for each of its runs. A run may override them.
            timeout: time limit of each of its runs, in seconds. A run may override it.

        Raises:
            PipelineInvalid: with every fault of the pipeline.
            LanemeshError: it cannot be preloaded. The previous version remains deployed.
        """
        from lanemesh.client.deployment_info import decode_deployment

        spec = run_spec(pipeline, settings, timeout, variables=variables)
        return decode_deployment(await self._deployments.deploy(_name(name), spec, folder=self._folder_of(pipeline)))

    async def deployments(self) -> list[DeploymentInfo]:
        """The deployed pipelines, in alphabetical order."""
        from lanemesh.client.deployment_info import decode_deployment

        return list(map(decode_deployment, self._deployments.all()))

    async def deployment(self, name: str, version: int = 0) -> DeploymentInfo:
        """A deployed pipeline with its document; version 0 is the current one. Raises LanemeshError if it does not exist."""
        from lanemesh.client.deployment_info import decode_deployment

        found, spec = self._deployments.get(_name(name), version)
        return decode_deployment(found, spec.pipeline_json)

    async def undeploy(self, name: str) -> None:
        """Removes a deployed pipeline; its active runs continue. Raises LanemeshError if it does not exist."""
        await self._deployments.undeploy(_name(name))

    async def tools(self, deployment: str = "") -> list[MeshTool]:
        """The tools of the deployed pipelines, for callers outside any run. A list is at most 30 seconds old.

        Args:
            deployment: only those of this deployed pipeline; empty: those of all. Pipelines whose tools cannot be listed are logged
                then, and left out.

        Raises:
            LanemeshError: the deployed pipeline is unknown, or its tools cannot be listed.
        """
        from lanemesh.client.tools import decode_tools

        return decode_tools(await self.orchestrator.tools.list(_name(deployment), depth=RUN_DEPTH.get()))

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        deployment: str = "",
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> ToolResult:
        """Calls a tool of a deployed pipeline, in a run of its component alone. Cancelling this cancels the call at the tool.

        Args:
            name: the tool, as `tools` lists it.
            arguments: its arguments, or a JSON object as text.
            deployment: the deployed pipeline that has the tool; empty: any.
            timeout: most seconds for the call; None: no limit but those of tool and pipeline.
            on_progress: called with each progress report.

        Returns:
            The result. One with `is_error` is that of a tool that failed.

        Raises:
            LanemeshError: there is no such tool ("unknown-tool"), several have the name ("several-tools"), or the call cannot be
                made.
            TypeError: the arguments are no JSON.
            ValueError: the timeout is not greater than 0.
        """
        from lanemesh.client.tools import result_of, tool_request

        request = tool_request(name, arguments, timeout)
        pieces = self.orchestrator.tools.call(_name(deployment), request, depth=RUN_DEPTH.get())
        return await result_of(pieces, name, on_progress)

    async def node_types(self, names: Collection[str] | None = None) -> list[NodeTypeInfo]:
        """The available node types, in alphabetical order; with `names` only those with one of these names or aliases."""
        self.orchestrator.host.refresh()
        from lanemesh.client.node_types import decode_node_type

        types = self.orchestrator.host.node_types
        return list(map(decode_node_type, types.values() if names is None else of_names(names, types)))

    async def node_servers(self) -> list[NodeServerInfo]:
        """The started node servers; none in an embedded mesh."""
        from lanemesh.client.node_servers import decode_node_server

        return list(map(decode_node_server, self.orchestrator.registry.servers()))

    async def gpus(self) -> GpuReport:
        """The GPUs of the mesh's arbiter, their leases, and the requests that wait."""
        from lanemesh.client.gpus import decode_gpus

        link = self.orchestrator.host.gpu_link
        return decode_gpus(await link.status(), await link.leases())

    async def close(self) -> None:
        """Ends all runs and started processes. Later runs and deployments raise LanemeshError ("closed")."""
        self._closed = True
        await self.orchestrator.close_runs()
        await self._servers.close()
        await self.orchestrator.close()

    async def __aenter__(self) -> Mesh:
        await self.orchestrator.open_store()
        if self._is_spread:
            await self.orchestrator.listen()
        else:
            await self.orchestrator.restore_deployments()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _list_runs(self, request: run_pb2.ListRunsRequest) -> run_pb2.ListRunsResponse:
        from lanemesh_orchestrator.runs.records import page

        return await page(self.orchestrator.history, request)

    async def _get_run(self, run_id: str) -> run_pb2.GetRunResponse:
        return await self.orchestrator.history.record(wire_text(run_id, "the id of a run"))

    @property
    def _sessions(self) -> SessionLink:
        return self.orchestrator.runs.sessions

    @property
    def _deployments(self) -> Deployments:
        return self.orchestrator.deployments

    def _prepare_deployments(self, deployments: Deployments) -> None:
        """Lets deployments use the node types of this mesh, and the servers that it starts."""
        deployments.read, deployments.manifests = self._graph, lambda: self.orchestrator.host.node_types
        deployments.start_servers_by(self._servers.homes)

    def _graph(self, spec: run_pb2.RunSpec, folder: str) -> Graph:
        """Validates a spec and returns its graph, after a reload of changed files of node types.

        Raises:
            PipelineInvalid: with every fault.
            LanemeshError: the mesh is closed, or a file of node types has changed and cannot be loaded.
        """
        if self._closed:
            raise misuse("closed", "this Mesh is closed: create another one")
        self.orchestrator.host.refresh()
        return self.orchestrator.runs.validate(spec, self.orchestrator.host.node_types, folder=folder)

    def _folder_of(self, pipeline: PipelineDocument) -> str:
        """The folder from which relative paths in a document count. A deployment keeps the folder of its document."""
        return str(pipeline.absolute().parent) if isinstance(pipeline, Path) else self._folder

    async def _prepare(self, spec: run_pb2.RunSpec, folder: str, timeout: float | None) -> tuple[Graph, RunOptions]:
        """The graph and the options of a run. A spread mesh starts the missing servers and assigns the components to them."""
        graph = run_graph_of(self._graph(spec, folder), spec)
        return graph, RunOptions(
            timeout=timeout,
            session=spec.session_id,
            depth=spec.depth,
            homes=await self._servers.homes(graph),
            conversation=await self.orchestrator.runs.conversation(spec),
        )


def _name(deployment: str) -> str:
    """The name of a deployed pipeline. Raises LanemeshError if it is not valid Unicode."""
    return wire_text(deployment, "the name of a deployed pipeline")


def _file(given: object) -> Path:
    if not isinstance(given, str | Path):
        raise TypeError(
            f"nodes are Python files, such as __file__ for classes of your own program, and not {rendered(given)}"
        )
    return Path(given)
