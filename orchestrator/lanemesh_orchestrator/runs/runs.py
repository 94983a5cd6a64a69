"""All runs of an orchestrator: starts them, and keeps ended ones for watchers within the memory of runs."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lanemesh._aio.tasks import cancel_stragglers
from lanemesh._grpc.caller import current_caller
from lanemesh.channels.broker import Broker
from lanemesh.client.specs import MAX_NAME
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import Feature
from lanemesh.server.host.host import NodeHost
from lanemesh.v1 import node_pb2, run_pb2

from lanemesh_orchestrator.pipeline import Graph, validate
from lanemesh_orchestrator.pipeline.graph import TRACE_WORDS
from lanemesh_orchestrator.pipeline.variables import check_sent, client_variables
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.caller_runs import CallerRuns
from lanemesh_orchestrator.runs.host_connection import ExitReason, GrpcConnection, HostConnection, LocalConnection
from lanemesh_orchestrator.runs.retention import DEFAULT_BUDGET, MAX_ENDED_RUNS, MIB, RunMemory
from lanemesh_orchestrator.runs.run_options import RunOptions
from lanemesh_orchestrator.runs.update_log import UpdateLog
from lanemesh_orchestrator.scheduling.admission import AdmissionQueue, StartGate
from lanemesh_orchestrator.scheduling.assignment import LOCAL, Assignment
from lanemesh_orchestrator.scheduling.requirements import PlacementPolicy, least_loaded

if TYPE_CHECKING:
    from lanemesh.node.context import ClientInput, ClientLink

    from lanemesh_orchestrator.runs.check_pool import CheckPool
    from lanemesh_orchestrator.runs.host_streams import HostStreams
    from lanemesh_orchestrator.runs.idempotency import IdempotencyKeys, Key
    from lanemesh_orchestrator.runs.recent_graphs import RecentGraphs
    from lanemesh_orchestrator.sessions.conversation import Conversation
    from lanemesh_orchestrator.sessions.records import SessionStore
    from lanemesh_orchestrator.sessions.sessions import Sessions
    from lanemesh_orchestrator.store.journal import Journal

MEMORY_SHARE = 5 / 6
"""Part of the memory of runs that their weights may take: the allocators of Python and of the system take up to 13 % more."""
RUN_WEIGHT = 16 * 1024
"""Bytes that a run occupies besides its updates, its components and its document: 16 KiB."""
COMPONENT_WEIGHT = 4 * 1024
"""Bytes that a run occupies for each component: 4 KiB."""
CLOSE_SECONDS = 30.0
"""Time limit for runs to end when the orchestrator closes; node servers get 10 s of it."""

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
        memory: int = DEFAULT_BUDGET,
    ) -> None:
        """The runs of an orchestrator.

        Args:
            host: runs boundary nodes, and all nodes if `embedded`.
            registry: the node servers for the other nodes.
            embedded: whether the host runs every node type.
            broker: owns the channels, each of which exists as long as its run.
            placement: selects the server of each component.
            memory: most bytes of the runs and their updates that are kept in memory.
        """
        self.memory = RunMemory(int(memory * MEMORY_SHARE))
        """The memory of active and ended runs."""
        self._memory_mib = memory / MIB
        self.address = ""
        """The address at which other servers dial the orchestrator's own host; empty: not reachable."""
        self.exit_reason: ExitReason | None = None
        """Describes how the process of a lost node server has ended, if this process has started it."""
        self.named: Callable[[run_pb2.RunSpec], Graph] | None = None
        """Returns the graph of a deployed pipeline for a spec that names a deployment."""
        self.named_bytes: Callable[[run_pb2.RunSpec], int] = run_pb2.RunSpec.ByteSize
        """Returns how many bytes `named` reads for a spec."""
        self.startable: Callable[[], Mapping[str, node_pb2.Manifest]] = dict
        """Returns the node types, by provider, of which servers are started when a run needs them, as in a spread mesh."""
        self.variables: dict[str, str] = {}
        """Variables that documents of clients may read, by name."""
        self.plain_variables: frozenset[str] = frozenset()
        """The names of those that clients may see. Documents use the others only in secret settings."""
        self.journal: Journal | None = None
        """Stores the runs; None: they are not stored."""
        self.session_store: SessionStore | None = None
        """Stores sessions; None: they are kept in memory."""
        self.draining = False
        """No new runs are started, except those that active runs start."""
        self.callers = CallerRuns()
        """The active runs of each caller."""
        self._keys: IdempotencyKeys | None = None
        self._sessions: Sessions | None = None
        self._checks: CheckPool | None = None
        self._graphs: RecentGraphs | None = None
        """The graphs of documents that clients have run last."""
        self._host = host
        self._registry = registry
        self._admission = AdmissionQueue(registry, placement)
        self._gate = StartGate()
        self._embedded = embedded
        self._broker = broker
        self._runs: dict[str, ActiveRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._streams: HostStreams | None = None

    @property
    def checks(self) -> CheckPool:
        """The threads that check large pipelines of clients."""
        if self._checks is None:
            from lanemesh_orchestrator.runs.check_pool import CheckPool

            self._checks = CheckPool()
        return self._checks

    @property
    def sessions(self) -> Sessions:
        """The sessions of the runs; created at the first use."""
        if self._sessions is None:
            from lanemesh_orchestrator.sessions.sessions import Sessions

            self._sessions = Sessions(self.session_store)
        return self._sessions

    @property
    def keys(self) -> IdempotencyKeys:
        """The idempotency keys of the detached runs that are kept; created at the first use."""
        if self._keys is None:
            from lanemesh_orchestrator.runs.idempotency import IdempotencyKeys

            self._keys = IdempotencyKeys()
        return self._keys

    async def conversation(self, spec: run_pb2.RunSpec) -> Conversation | None:
        """The part of a run in its session; None if the session is not kept. Raises LanemeshError as `Sessions.conversation`."""
        return await self.sessions.conversation(spec) if spec.HasField("conversation") else None

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The manifests of the available node types, by provider."""
        return {**self.startable(), **self._registry.manifests()}

    def validate(
        self, spec: run_pb2.RunSpec, manifests: Mapping[str, node_pb2.Manifest] | None = None, *, folder: str = ""
    ) -> Graph:
        """Validates a spec and returns its graph. Uses the given node types, or for a client those of the mesh.

        Relative paths in the configs of the document count from `folder`; empty: they stay unchanged, as those of clients do.

        Raises:
            PipelineInvalid: with every fault.
            LanemeshError: it names an unknown deployment, or its variables are too many, too large or misnamed.
        """
        if self.named is not None and spec.HasField("deployment"):
            return _traced(self.named(spec), spec)
        if manifests is None and not folder:
            from lanemesh_orchestrator.runs.recent_graphs import RecentGraphs

            if self._graphs is None:
                self._graphs = RecentGraphs()
            return self._graphs.get(spec, self._registry.version, lambda: self._read(spec, None, folder))
        return self._read(spec, manifests, folder)

    def _read(self, spec: run_pb2.RunSpec, manifests: Mapping[str, node_pb2.Manifest] | None, folder: str) -> Graph:
        settings = None
        if spec.settings_json:
            from lanemesh_orchestrator.pipeline.client_settings import read_settings

            settings = read_settings(spec.settings_json)
        mesh = self.address if manifests is None else ""
        types = self.manifests() if manifests is None else manifests
        sent = dict(spec.variables)
        check_sent(sent)
        own = {**os.environ, **sent}  # for runs of this process itself, such as those of an embedded mesh
        environment = client_variables(self.variables, sent, self.plain_variables) if manifests is None else own
        graph = validate(
            spec.pipeline_json,
            types,
            environment=environment,
            settings=settings,
            folder=folder,
            mesh=mesh,
            lacking=self._registry.lacking if manifests is None and not self._embedded else None,
            source=spec.source_component,
        )
        graph = graph if graph.name or not spec.name else replace(graph, name=spec.name[:MAX_NAME])
        return _traced(graph, spec)

    async def validate_for_client(self, spec: run_pb2.RunSpec) -> Graph:
        """Validates the spec of a client, with the node types of the mesh. A large pipeline is checked in a thread.

        Raises:
            PipelineInvalid: with every fault.
            LanemeshError: it names an unknown deployment, or too many large pipelines are being checked.
        """
        size = self.named_bytes(spec) if spec.HasField("deployment") else spec.ByteSize()
        return await self.checks.run(size, partial(self.validate, spec))

    def start(self, graph: Graph, options: RunOptions) -> ActiveRun:
        """Starts a run of a valid pipeline.

        Raises:
            LanemeshError: no server can run one of its components, more than 1,000 runs wait for capacity, 10,000 wait to be set
                up, the caller has too many active runs, or the orchestrator drains.
        """
        if self.draining and not options.depth:
            message = "the orchestrator stops, and takes no new runs. Start it again, or retry when it is back"
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="stopping", message=message))
        if self.journal is not None:
            self.journal.check()
        self._gate.check()
        homes = options.homes
        assignment = Assignment(self._admission, graph, address=self.address, embedded=self._embedded, homes=homes)
        run_id = f"run-{os.urandom(6).hex()}"
        stored, weight = self.journal is not None, _weight_of(graph)
        with ExitStack() as undo:  # until the task of the run exists
            held = undo.enter_context(ExitStack())
            held.callback(assignment.end)
            held.callback(self.callers.enter(current_caller()))
            ticket = self._gate.enter()
            held.callback(ticket.leave)
            updates = UpdateLog(owned=options.owned, stored=stored, memory=self.memory, weight=weight)
            undo.callback(updates.discard)
            run = ActiveRun(run_id, graph, updates, assignment, ticket, self.dial, options)
            if self.journal is not None:
                updates.sink = self.journal.begin(run)
            task = asyncio.create_task(run.execute(), name=run_id)
            undo.pop_all()
        updates.on_forgotten = partial(self._forget, run_id)
        self._broker.begin(run_id)
        held.callback(self._broker.end, run_id)
        run.on_stopped = held.close  # before the terminal update: its reader may start the next run
        self._runs[run_id] = run
        self._tasks[run_id] = task
        task.add_done_callback(lambda _: self._ended(run_id, held))
        if options.conversation is not None:
            self.sessions.record(options.conversation, run)
        return run

    @property
    def active_count(self) -> int:
        """Number of runs that have not ended."""
        return len(self._tasks)

    async def idle(self, seconds: float) -> bool:
        """Waits until no run is active, this long at most. Returns whether none is."""
        ends_at = asyncio.get_running_loop().time() + seconds
        while self._tasks and (left := ends_at - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(list(self._tasks.values()), timeout=left)
        return not self._tasks

    def start_detached(
        self,
        graph: Graph,
        given: Iterable[run_pb2.RunInput | ClientInput],
        options: RunOptions,
        *,
        open_input: bool,
        key: Key | None = None,
    ) -> ActiveRun:
        """Starts a run without an owner, with its first inputs, or returns the one that was started with the same key.

        Args:
            graph: its pipeline.
            given: its first inputs.
            options: its options.
            open_input: whether `push` adds more inputs.
            key: the idempotency key of the request; None: it has none.

        Raises:
            LanemeshError: as `start`, an input is no valid value, or the key was used for something else.
        """
        known = self.keys.find(key) if key is not None else None
        if known is not None:
            return known
        run = self.start(graph, replace(options, owned=False))
        try:
            run.begin(given, end=not open_input)
        except LanemeshError as error:
            run.cancel(str(error))
            raise
        if key is not None:
            self.keys.add(key, run)
        return run

    async def push(self, run_id: str, given: Sequence[run_pb2.RunInput], *, end: bool) -> None:
        """Enqueues inputs of a detached run after those of earlier calls; returns when all are enqueued.

        Raises:
            LanemeshError: the run is unknown, only its owner may feed it, or it accepts no input.
        """
        run = self.get(run_id)
        if run.owned:
            message = f"run {run.id} accepts no input from other clients: only the client that called `Run` can feed it"
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="owned-run", message=message))
        await run.push(*given, end=end)

    def get(self, run_id: str) -> ActiveRun:
        """An active or kept run. Raises LanemeshError if it is unknown."""
        run = self._runs.get(run_id)
        if run is None:
            bound = f"the last {MAX_ENDED_RUNS} are kept, within {self._memory_mib:,.0f} MiB of memory"
            message = f'there is no run "{run_id}" here; of ended runs {bound}'
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-run", message=message))
        return run

    def of_deployments(self) -> Counter[str]:
        """The number of active runs of each deployment."""
        going = (self._runs[run_id] for run_id in self._tasks)
        return Counter(run.deployment for run in going if run.deployment and not run.ended.is_set())

    def find(self, run_id: str) -> ActiveRun | None:
        """An active or kept run; None if it is unknown."""
        return self._runs.get(run_id)

    def known(self) -> list[ActiveRun]:
        """The active and the kept runs, in the order in which they were started."""
        return list(self._runs.values())

    async def close(self) -> None:
        """Cancels all runs and waits for their ends, for 30 s at most."""
        for run in self._runs.values():
            run.cancel("the orchestrator stops")
        await cancel_stragglers(CLOSE_SECONDS, "runs to end", {*self._tasks.values()})
        if self._sessions is not None:
            await self._sessions.close()
        if self._checks is not None:
            self._checks.close()
        await self._admission.close()
        if self._streams is not None:
            await self._streams.close()

    def dial(self, server: str, client: ClientLink | None = None) -> HostConnection:
        """Opens a connection to the host of a name. `client` is the link of boundary nodes to the client of a run. Raises
        LanemeshError if the server has left."""
        if server == LOCAL:
            return LocalConnection(self._host, client)
        member = self._registry.members.get(server)
        if member is None:
            message = f'the node server "{server}" left before the run was placed'
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="server-lost", message=message, secondary=True))
        if self._streams is None:
            from lanemesh_orchestrator.runs.host_streams import HostStreams

            self._streams = HostStreams(self._can_reuse, self._host.security)
        return GrpcConnection(self._streams, member.info.address, server, self.exit_reason)

    def _forget(self, run_id: str) -> None:
        self._runs.pop(run_id, None)
        if self._keys is not None:
            self._keys.forget(run_id)

    def _can_reuse(self, address: str) -> bool:
        """Whether the server at an address hosts several runs on one stream, and will host further ones."""
        member = self._registry.at(address)
        return member is not None and not member.draining and Feature.QUICK_STARTS in member.features

    def _ended(self, run_id: str, held: ExitStack) -> None:
        """Handles the end of the task of a run. `held` frees what the run still holds."""
        task = self._tasks.pop(run_id)
        held.close()
        if not task.cancelled() and task.exception() is not None:
            log.error("run %s", run_id, exc_info=task.exception())
        self._runs[run_id].log.end()


def _weight_of(graph: Graph) -> int:
    """How many bytes a run occupies without its updates. Runs of a deployment share its document."""
    document = 0 if graph.deployment else len(graph.text)
    return RUN_WEIGHT + COMPONENT_WEIGHT * len(graph.components) + document


def _traced(graph: Graph, spec: run_pb2.RunSpec) -> Graph:
    """The graph with the trace level of the spec, if it has one."""
    return replace(graph, trace=TRACE_WORDS[spec.trace]) if spec.trace in TRACE_WORDS else graph
