"""All runs of an orchestrator: started, placed, kept for those who watch, forgotten in the end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lanemesh._aio.tasks import cancel_stragglers
from lanemesh.channels.broker import Broker
from lanemesh.client.specs import MAX_NAME
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.server.host.host import NodeHost
from lanemesh.v1 import node_pb2, run_pb2

from lanemesh_orchestrator.pipeline import Graph, validate
from lanemesh_orchestrator.pipeline.graph import TRACE_WORDS
from lanemesh_orchestrator.pipeline.variables import check_sent, client_variables
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.host_connection import ExitReason, GrpcConnection, HostConnection, LocalConnection
from lanemesh_orchestrator.runs.options import RunOptions
from lanemesh_orchestrator.runs.update_log import RunLog
from lanemesh_orchestrator.scheduling.admission import AdmissionQueue
from lanemesh_orchestrator.scheduling.assignment import LOCAL, Assignment
from lanemesh_orchestrator.scheduling.requirements import PlacementPolicy, least_loaded

if TYPE_CHECKING:
    from lanemesh._grpc.connections import ConnectionPool
    from lanemesh.node.context import ClientInput, ClientLink

    from lanemesh_orchestrator.runs.check_pool import CheckPool
    from lanemesh_orchestrator.store.journal import Journal

MAX_KEPT_RUNS = 200
"""Most ended runs whose updates are kept."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Most bytes of updates that are kept of all ended runs but the last: 64 MiB."""
CLOSE_SECONDS = 30.0
"""How long runs may take to end when the orchestrator closes; node servers have 10 s of this."""

log = logging.getLogger("lanemesh.runs")


class Runs:
    """The runs of one orchestrator."""

    def __init__(
        self,
        host: NodeHost,
        registry: Registry,
        *,
        embedded: bool,
        broker: Broker,
        placement: PlacementPolicy = least_loaded,
    ) -> None:
        """The runs of an orchestrator.

        Args:
            host: runs boundary nodes, and everything that it can if `embedded`.
            registry: has the servers for the rest.
            embedded: the host runs every node type.
            broker: has the channels, which live as long as their runs.
            placement: decides which server runs which component.
        """
        self.address = ""
        """Where other servers dial the orchestrator's own host; empty: they cannot."""
        self.exit_reason: ExitReason | None = None
        """Tells how the process of a lost node server has ended, where this process has started it."""
        self.named: Callable[[run_pb2.RunSpec], Graph] | None = None
        """Gives the graph of a deployed pipeline, for a spec that names one."""
        self.variables: dict[str, str] = {}
        """Variables that documents of clients may use, by name."""
        self.journal: Journal | None = None
        """Stores runs, where they are stored."""
        self._checks: CheckPool | None = None
        self._host = host
        self._registry = registry
        self._admission = AdmissionQueue(registry, placement)
        self._embedded = embedded
        self._broker = broker
        self._runs: dict[str, ActiveRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pool: ConnectionPool | None = None

    @property
    def checks(self) -> CheckPool:
        """Checks large pipelines of clients."""
        if self._checks is None:
            from lanemesh_orchestrator.runs.check_pool import CheckPool

            self._checks = CheckPool()
        return self._checks

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The node types that can be run, by provider."""
        return self._registry.manifests()

    def validate(
        self, spec: run_pb2.RunSpec, manifests: Mapping[str, node_pb2.Manifest] | None = None, *, folder: str = ""
    ) -> Graph:
        """The graph of what would be run, with these node types, or for a client with those of the mesh.

        Relative paths in the configs of the document count from `folder`; empty: they stay unchanged, as those of clients do.

        Raises:
            PipelineInvalid: with every fault.
            LanemeshError: it names a deployed pipeline that is not there, or its variables are too many, too large or misnamed.
        """
        if self.named is not None and spec.HasField("deployment"):
            return self.named(spec)
        settings = None
        if spec.settings_json:
            from lanemesh_orchestrator.pipeline.client_settings import read_settings

            settings = read_settings(spec.settings_json)
        mesh = self.address if manifests is None else ""
        types = self.manifests() if manifests is None else manifests
        sent = dict(spec.variables)
        check_sent(sent)
        own = {**os.environ, **sent}  # of a run of this process's own, such as an embedded one
        environment = client_variables(self.variables, sent) if manifests is None else own
        graph = validate(
            spec.pipeline_json, types, environment=environment, settings=settings, folder=folder, mesh=mesh
        )
        graph = graph if graph.name or not spec.name else replace(graph, name=spec.name[:MAX_NAME])
        return replace(graph, trace=TRACE_WORDS[spec.trace]) if spec.trace in TRACE_WORDS else graph

    async def validate_for_client(self, spec: run_pb2.RunSpec) -> Graph:
        """The same, with the node types of the mesh. A large pipeline is checked in a thread, so that other calls go on.

        Raises:
            PipelineInvalid: with every fault.
            LanemeshError: it names a deployed pipeline that is not there, or too many large pipelines are being checked.
        """
        from lanemesh_orchestrator.runs.check_pool import INLINE_BYTES

        named = spec.HasField("deployment") and bool(spec.settings_json or spec.deployment.version)
        size = INLINE_BYTES + 1 if named else spec.ByteSize()
        return await self.checks.run(size, partial(self.validate, spec))

    def start(self, graph: Graph, options: RunOptions) -> ActiveRun:
        """Starts a run of a valid pipeline.

        Raises:
            LanemeshError: no server takes one of its components, or more than 1,000 runs wait for room.
        """
        if self.journal is not None:
            self.journal.check()
        homes = options.homes
        assignment = Assignment(self._admission, graph, address=self.address, embedded=self._embedded, homes=homes)
        run_id = f"run-{os.urandom(6).hex()}"
        run = ActiveRun(run_id, graph, RunLog(owned=options.owned), assignment, self.dial, options)
        if self.journal is not None:
            run.log.sink = self.journal.begin(run)
        self._broker.begin(run_id)
        run.on_stopped = partial(self._broker.end, run_id)
        self._runs[run_id] = run
        task = asyncio.create_task(run.execute(), name=run_id)
        self._tasks[run_id] = task
        task.add_done_callback(lambda _: self._ended(run_id, assignment))
        return run

    def start_detached(
        self,
        graph: Graph,
        given: Iterable[run_pb2.RunInput | ClientInput],
        options: RunOptions,
        *,
        open_input: bool,
    ) -> ActiveRun:
        """Starts a run that no caller owns, with its first inputs; `push` brings more if the input is left open.

        Raises:
            LanemeshError: as `start` does, or an input is no valid value.
        """
        run = self.start(graph, replace(options, owned=False))
        try:
            run.begin(given, end=not open_input)
        except LanemeshError as error:
            run.cancel(str(error))
            raise
        return run

    async def push(self, run_id: str, given: Sequence[run_pb2.RunInput], *, end: bool) -> None:
        """Feeds a detached run; returns when it has taken the inputs, after those of earlier calls.

        Raises:
            LanemeshError: there is no such run, its caller feeds it, or it takes no input.
        """
        run = self.get(run_id)
        if run.owned:
            message = f"run {run.id} accepts no input from other clients: only the client that called `Run` can feed it"
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="owned-run", message=message))
        await run.push(*given, end=end)

    def get(self, run_id: str) -> ActiveRun:
        """A run that is under way or not yet forgotten. Raises LanemeshError."""
        run = self._runs.get(run_id)
        if run is None:
            message = f'there is no run "{run_id}" here; of ended runs the last {MAX_KEPT_RUNS} are kept, within 64 MiB'
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-run", message=message))
        return run

    def of_deployments(self) -> Counter[str]:
        """How many runs of each deployed pipeline are under way."""
        going = (self._runs[run_id].deployment for run_id in self._tasks)
        return Counter(name for name in going if name)

    def find(self, run_id: str) -> ActiveRun | None:
        """A run that is in memory, if it is."""
        return self._runs.get(run_id)

    def known(self) -> list[ActiveRun]:
        """The runs that are under way or not yet forgotten, in the order in which they were started."""
        return list(self._runs.values())

    async def close(self) -> None:
        """Cancels every run and waits for its end, for 30 s at most."""
        for run in self._runs.values():
            run.cancel("the orchestrator stops")
        await cancel_stragglers(CLOSE_SECONDS, "runs to end", {*self._tasks.values()})
        if self._checks is not None:
            self._checks.close()
        await self._admission.close()
        if self._pool is not None:
            await self._pool.close()

    def dial(self, server: str, client: ClientLink | None = None) -> HostConnection:
        """A new conversation with the host of a name; `client` is what boundary nodes have of a run's client. Raises LanemeshError
        if that server has left."""
        if server == LOCAL:
            return LocalConnection(self._host, client)
        member = self._registry.members.get(server)
        if member is None:
            message = f'the node server "{server}" left before the run was placed'
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="server-lost", message=message, secondary=True))
        if self._pool is None:
            from lanemesh._grpc.connections import ConnectionPool

            self._pool = ConnectionPool()
        return GrpcConnection(self._pool.channel(member.info.address), server, self.exit_reason)

    def _ended(self, run_id: str, assignment: Assignment) -> None:
        task = self._tasks.pop(run_id)
        self._broker.end(run_id)
        if not task.cancelled() and task.exception() is not None:
            log.error("run %s", run_id, exc_info=task.exception())
        assignment.end()
        ended = [name for name in self._runs if name not in self._tasks]
        held = sum(self._runs[name].log.kept_bytes for name in ended)
        while len(ended) > MAX_KEPT_RUNS or (held > MAX_KEPT_BYTES and len(ended) > 1):
            oldest = ended.pop(0)
            held -= self._runs.pop(oldest).log.kept_bytes
