"""A mesh of one's own: everything in this process, or spread over local processes that end with it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, get_args

from lanemesh.channels import Channels
from lanemesh.client.records import list_runs
from lanemesh.client.runs import Run, to_input
from lanemesh.client.specs import PipelineDocument, Trace, input_list, one_or_many, run_spec
from lanemesh.node.names import of_names
from lanemesh.rendering import rendered
from lanemesh.v1 import node_pb2, registry_pb2, run_pb2, update_pb2

from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.pipeline import Graph
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.link import LocalRunLink
from lanemesh_orchestrator.store.options import StoreOptions

if TYPE_CHECKING:
    from lanemesh.client.detached import DetachedRun
    from lanemesh.v1 import deployment_pb2

    from lanemesh_orchestrator.deployments.deployments import Deployments
    from lanemesh_orchestrator.scheduling.spread import Spread

Spreading = Literal["service", "component"]


class Mesh:
    """Runs pipelines here. Use it as `async with Mesh() as mesh:`; leaving ends every run and every process it started."""

    def __init__(
        self,
        spread: Spreading | None = None,
        *,
        nodes: Sequence[Path | str] | Path | str = (),
        folder: Path | None = None,
        store: str | Path | StoreOptions | None = None,
        log_level: str = "warning",
    ) -> None:
        """A mesh in this process, or spread.

        Args:
            spread: None: one process, memory lanes, nothing to start. "service": one local process per service that a pipeline
                needs, started when it is first needed; "component": one per component. gRPC lanes between them.
            nodes: Python files with further node types, or one of them.
            folder: what relative paths in the configs of pipelines count from, such as the folder of a pipeline's file; None: the
                working directory.
            store: where runs are remembered: a file, or the URL of a database; None: nowhere.
            log_level: of the processes started; their logs come through on standard error, each line with its server's name.

        Raises:
            ValueError: there is no such spread.
            TypeError: something in `nodes` is no path.
            LanemeshError: a file of `nodes` cannot be loaded.
        """
        if spread not in (None, *get_args(Spreading)):
            raise ValueError(f'spread is "service", "component" or None, not {rendered(spread)}')
        files = [_file(file) for file in ([nodes] if isinstance(nodes, (str, Path)) else nodes)]
        remembered = store if store is None or isinstance(store, StoreOptions) else StoreOptions(location=str(store))
        self.orchestrator = Orchestrator(embedded=spread is None, nodes=files, store=remembered)
        self._folder = str(folder.absolute()) if folder is not None else ""
        self._spread: Spread | None = None
        if spread is not None:
            from lanemesh_orchestrator.scheduling.spread import Spread

            by_component = spread == "component"
            self._spread = Spread(self.orchestrator, by_component=by_component, log_level=log_level)
            self.orchestrator.runs.exit_reason = self._spread.exit_reason

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
    ) -> Run:
        """A run of a pipeline. It starts when it is entered or first read.

        Args:
            pipeline: a `lanemesh.Pipeline`, JSON text, the `pathlib.Path` of a file with it, the same as a dict, or the name of a
                deployed one: `Deployed("chat")`.
            input: one value for the pipeline's source; text for a `chat`.
            inputs: many of them, fed one after the other.
            open_input: more inputs come by `push`; end them with `end_input`.
            settings: changes to configs: "component.key" to a JSON value.
            timeout: seconds that the run may take; None: as the pipeline says.
            trace: how much is told of each item that reaches a node, by a `TraceUpdate`: "none", "metadata", "summary" or "full";
                None: as the pipeline says.
            variables: values of `${NAME}` in the pipeline, treated as secrets. They win over the environment of this process,
                or on a remote orchestrator over the variables that it allows.

        Raises:
            PipelineInvalid: when it starts, with every fault of the pipeline.
        """
        spec = run_spec(pipeline, settings, trace=trace, variables=variables)

        async def begin() -> ActiveRun:
            graph, homes = await self._prepare(spec)
            return self.orchestrator.runs.start(graph, owned=True, timeout=timeout, homes=homes)

        return Run(LocalRunLink(begin, self.channels), input_list(input, inputs), open_input=open_input)

    def channels(self, run_id: str = "", *, name: str = "client") -> Channels:
        """The channels of a run, or without one those of the mesh, whose names begin with "mesh:". `name` is told to those who
        get what is published here."""
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
    ) -> DetachedRun:
        """Starts a run that goes on without its caller, for as long as the mesh does. The arguments are those of `run`, but for:

        Args:
            inputs: all of them at once; further ones by `push` if the input is left open.
            open_input: the run waits for more by `push`, from anybody, until `end_input`, its timeout or its end.

        Raises:
            PipelineInvalid: with every fault of the pipeline.
        """
        given = [to_input(value) for value in one_or_many(input, inputs)]
        graph, homes = await self._prepare(run_spec(pipeline, settings, trace=trace, variables=variables))
        runs = self.orchestrator.runs
        run = runs.start_detached(graph, given, open_input=open_input, timeout=timeout, homes=homes)
        await run.log.begun()
        return self.attach(run.id)

    def attach(self, run_id: str, from_sequence: int = 1) -> DetachedRun:
        """A run of this mesh that is under way or was kept, by its id. Its updates are read from `from_sequence` on.

        A run that was started by `run` can be watched and cancelled, and is fed by its caller alone.
        """
        from lanemesh.client.detached import DetachedRun

        from lanemesh_orchestrator.runs.link import LocalDetachedLink

        link = LocalDetachedLink(self.orchestrator.runs, self.orchestrator.history, run_id)
        return DetachedRun(run_id, link, self.channels(run_id), from_sequence)

    async def runs(
        self, *, limit: int = 100, states: Iterable[update_pb2.RunState.ValueType] = (), deployment: str = ""
    ) -> list[run_pb2.RunRecord]:
        """The runs that are known, the latest first.

        Args:
            limit: most of them.
            states: only those in one of these states; empty: in any.
            deployment: only those of this deployed pipeline; empty: of any.
        """
        from lanemesh_orchestrator.runs.records import page

        async def call(request: run_pb2.ListRunsRequest) -> run_pb2.ListRunsResponse:
            return await page(self.orchestrator.history, request)

        return await list_runs(call, limit, states, deployment)

    async def record(self, run_id: str) -> run_pb2.GetRunResponse:
        """What is known of a run, and its pipeline. Raises LanemeshError if it is not known."""
        return await self.orchestrator.history.record(run_id)

    async def validate(
        self,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> list[run_pb2.PipelineFault]:
        """Everything that is wrong with a pipeline, warnings included; empty if it can run."""
        from lanemesh_orchestrator.pipeline import PipelineInvalid

        try:
            return [
                fault.to_proto() for fault in self.graph(run_spec(pipeline, settings, variables=variables)).warnings
            ]
        except PipelineInvalid as invalid:
            return [fault.to_proto() for fault in invalid.faults]

    def graph(self, spec: run_pb2.RunSpec) -> Graph:
        """The graph of what would be run, with files of node types as they are now.

        Raises:
            PipelineInvalid: with every fault.
            LanemeshError: a file of node types has changed, and cannot be loaded.
        """
        self.orchestrator.host.refresh()
        return self.orchestrator.runs.validate(spec, self.orchestrator.host.node_types, self._folder)

    async def deploy(
        self,
        name: str,
        pipeline: PipelineDocument,
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> deployment_pb2.Deployment:
        """Keeps a pipeline ready under a name, for as long as the mesh lives; run it as `Deployed(name)`.

        Args:
            name: lower-case letters, digits, "-" and "_", at most 64.
            settings: as of `run`, for each of its runs; a run may have others on top.
            timeout: seconds that each of its runs may take, unless it says otherwise.

        Raises:
            PipelineInvalid: with every fault of the pipeline.
            LanemeshError: it cannot be made ready. The version before stays.
        """
        return await self._deployments.deploy(name, run_spec(pipeline, settings, timeout, variables=variables))

    async def deployments(self) -> list[deployment_pb2.Deployment]:
        """The deployed pipelines, in alphabetical order."""
        return self._deployments.all()

    async def deployment(self, name: str, version: int = 0) -> deployment_pb2.GetDeploymentResponse:
        """A deployed pipeline with its document; version 0 is the current one. Raises LanemeshError if there is none."""
        from lanemesh.v1 import deployment_pb2

        told, spec = self._deployments.get(name, version)
        return deployment_pb2.GetDeploymentResponse(deployment=told, pipeline_json=spec.pipeline_json)

    async def undeploy(self, name: str) -> None:
        """Takes a deployed pipeline away; its runs go on to their end. Raises LanemeshError if there is none."""
        await self._deployments.undeploy(name)

    async def node_types(self, names: Collection[str] | None = None) -> list[node_pb2.Manifest]:
        """The node types there are, in alphabetical order; with `names` only those which have one of these names or aliases."""
        self.orchestrator.host.refresh()
        types = self.orchestrator.host.node_types
        return list(types.values()) if names is None else of_names(names, types)

    async def node_servers(self) -> list[registry_pb2.NodeServer]:
        """The node servers that were started, none in an embedded mesh."""
        return self.orchestrator.registry.servers()

    async def close(self) -> None:
        """Ends every run and every process that was started."""
        await self.orchestrator.close_runs()
        if self._spread is not None:
            await self._spread.close()
        await self.orchestrator.close()

    async def __aenter__(self) -> Mesh:
        await self.orchestrator.open_store()
        if self._spread is not None:
            await self.orchestrator.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _deployments(self) -> Deployments:
        found = self.orchestrator.deployments
        found.read, found.manifests = self.graph, lambda: self.orchestrator.host.node_types
        if self._spread is not None:
            found.start_servers_by(self._spread.prepare)
        return found

    async def _prepare(self, spec: run_pb2.RunSpec) -> tuple[Graph, dict[str, str] | None]:
        """The graph to be run, and where each component shall live if that is certain; a spread mesh starts what it needs."""
        graph = self.graph(spec)
        return graph, await self._spread.prepare(graph) if self._spread is not None else None


def _file(given: object) -> Path:
    if not isinstance(given, str | Path):
        raise TypeError(
            f"nodes are Python files, such as __file__ for classes of your own program, and not {rendered(given)}"
        )
    return Path(given)
