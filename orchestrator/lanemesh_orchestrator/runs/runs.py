"""All runs of an orchestrator: started, placed, kept for those who watch, forgotten in the end."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from lanemesh.channels.broker import Broker
from lanemesh.lanes.bounded import left_after
from lanemesh.lanes.faults import Code, Fault, LanemeshError
from lanemesh.server.host import NodeHost
from lanemesh.v1 import node_pb2, run_pb2

from lanemesh_orchestrator.pipeline import Graph, ServerAddress, validate
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.runs.active import ActiveRun
from lanemesh_orchestrator.runs.connection import Fate, GrpcConnection, HostConnection, LocalConnection
from lanemesh_orchestrator.runs.log import RunLog

if TYPE_CHECKING:
    from lanemesh.lanes.channels import ChannelPool

LOCAL = "orchestrator"
"""Name of the orchestrator's own host."""
MAX_KEPT_RUNS = 200
"""Most ended runs whose updates are kept."""
MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Most bytes of updates that are kept of all ended runs but the last: 64 MiB."""
CLOSE_SECONDS = 30.0
"""How long runs may take to end when the orchestrator closes; node servers have 10 s of this."""

log = logging.getLogger("lanemesh.runs")


class Runs:
    """The runs of one orchestrator."""

    def __init__(self, host: NodeHost, registry: Registry, *, embedded: bool, broker: Broker) -> None:
        """`host` runs boundary nodes, and everything that it can if `embedded`; `registry` has the servers for the rest; `broker`
        has the channels, which live as long as their runs."""
        self.address = ""
        """Where other servers dial the orchestrator's own host; empty: they cannot."""
        self.fate: Fate | None = None
        """Tells how the process of a lost node server has ended, where this process has started it."""
        self._host = host
        self._registry = registry
        self._embedded = embedded
        self._broker = broker
        self._runs: dict[str, ActiveRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pool: ChannelPool | None = None

    def manifests(self) -> dict[str, node_pb2.Manifest]:
        """The node types that can be run, by provider."""
        own = {
            manifest.provider: manifest for manifest in self._host.manifests() if self._embedded or manifest.boundary
        }
        return {**own, **self._registry.manifests()}

    def validate(
        self, spec: run_pb2.RunSpec, manifests: Mapping[str, node_pb2.Manifest] | None = None, folder: str = ""
    ) -> Graph:
        """The graph of what would be run, with these node types, or for a client with those of the mesh. Relative paths in configs
        count from `folder`, unless that is empty. Raises PipelineInvalid with every fault."""
        import json

        settings: dict[str, Any] = {}
        for key, value in spec.settings.items():
            try:
                settings[key] = json.loads(value)
            except ValueError:
                settings[key] = value
        mesh = self.address if manifests is None else ""
        types = self.manifests() if manifests is None else manifests
        return validate(spec.pipeline, types, environment=os.environ, settings=settings, folder=folder, mesh=mesh)

    def start(
        self, graph: Graph, *, owned: bool, timeout: float | None = None, homes: Mapping[str, str] | None = None
    ) -> ActiveRun:
        """Starts a run of a valid pipeline.

        Args:
            owned: its caller reads its updates, and outputs wait for it.
            timeout: seconds that it may take; None: as the pipeline says.
            homes: name of the server for each component that shall live on a certain one.

        Raises:
            LanemeshError: no server takes one of its components, or the timeout is none.
        """
        if timeout is not None and not timeout > 0:
            message = (
                f"the timeout of a run is more than 0 seconds, and {timeout:g} was given; leave it out for no timeout"
            )
            raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-timeout", message=message))
        servers, placements = self._place(graph, homes or {})
        run_id = f"run-{secrets.token_hex(6)}"
        run = ActiveRun(run_id, graph, RunLog(owned=owned), owned=owned, timeout=timeout)
        self._broker.begin(run_id)
        run.on_stopped = partial(self._broker.end, run_id)
        instances = Counter(placement.server for placement in placements.values())
        self._runs[run_id] = run
        executing = run.execute(servers, placements, self._dial(run), partial(self._substitute, instances))
        task = asyncio.create_task(executing, name=run_id)
        self._tasks[run_id] = task
        self._registry.count(instances, +1)
        task.add_done_callback(lambda _: self._ended(run_id, instances))
        return run

    def start_detached(
        self,
        graph: Graph,
        given: Iterable[run_pb2.RunInput],
        *,
        open_input: bool,
        timeout: float | None = None,
        homes: Mapping[str, str] | None = None,
    ) -> ActiveRun:
        """Starts a run that no caller owns, with its first inputs; `push` brings more if the input is left open.

        Raises:
            LanemeshError: as `start` does, or an input is no valid value.
        """
        run = self.start(graph, owned=False, timeout=timeout, homes=homes)
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
            message = f"run {run.id} takes no input from here: the client that called `Run` feeds it"
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="owned-run", message=message))
        await run.push(*given, end=end)

    def get(self, run_id: str) -> ActiveRun:
        """A run that is under way or not yet forgotten. Raises LanemeshError."""
        run = self._runs.get(run_id)
        if run is None:
            message = f'there is no run "{run_id}" here; of ended runs the last {MAX_KEPT_RUNS} are kept, within 64 MiB'
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-run", message=message))
        return run

    async def close(self) -> None:
        """Cancels every run and waits for its end, for 30 s at most."""
        for run in self._runs.values():
            run.cancel("the orchestrator stops")
        await left_after(CLOSE_SECONDS, "runs to end", {*self._tasks.values()})
        if self._pool is not None:
            await self._pool.close()

    def _place(
        self, graph: Graph, homes: Mapping[str, str]
    ) -> tuple[dict[str, ServerAddress], dict[str, run_pb2.Placement]]:
        servers: dict[str, ServerAddress] = {}
        placements: dict[str, run_pb2.Placement] = {}
        for component in graph.components.values():
            where = run_pb2.Placement(component=component.id, provider=component.provider)
            if component.manifest.boundary or (self._embedded and component.id not in homes):
                servers[component.id] = ServerAddress(LOCAL, self.address)
                where.server, where.pid = LOCAL, os.getpid()
            else:
                home = homes.get(component.id)
                info = self._registry.choose(component.provider, [home] if home else ()).info
                servers[component.id] = ServerAddress(info.name, info.address)
                where.server, where.address, where.pid = info.name, info.address, info.pid
            placements[component.id] = where
        return servers, placements

    def _substitute(
        self, instances: Counter[str], provider: str, lost: Collection[run_pb2.Placement]
    ) -> run_pb2.Placement:
        """Another server than these for a component that is placed again, which from now on is one of a run's `instances`.

        Raises:
            LanemeshError: there is none.
        """
        gone = {(where.server, where.address, where.pid) for where in lost}
        infos = [member.info for member in self._registry.members.values()]
        others = [info.name for info in infos if (info.name, info.address, info.pid) not in gone]
        if not others:
            message = f'there is no other node server for the node type "{provider}"'
            raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="no-server", message=message))
        info = self._registry.choose(provider, others).info
        instances[info.name] += 1
        self._registry.count({info.name: 1}, +1)
        return run_pb2.Placement(provider=provider, server=info.name, address=info.address, pid=info.pid)

    def _dial(self, run: ActiveRun) -> Callable[[str], HostConnection]:
        def dial(server: str) -> HostConnection:
            if server == LOCAL:
                return LocalConnection(self._host, run)
            member = self._registry.members.get(server)
            if member is None:
                message = f'the node server "{server}" left before the run was placed'
                raise LanemeshError(Fault(code=Code.UNAVAILABLE, reason="server-lost", message=message, secondary=True))
            if self._pool is None:
                from lanemesh.lanes.channels import ChannelPool

                self._pool = ChannelPool()
            return GrpcConnection(self._pool.channel(member.info.address), server, self.fate)

        return dial

    def _ended(self, run_id: str, instances: Mapping[str, int]) -> None:
        task = self._tasks.pop(run_id)
        self._broker.end(run_id)
        if not task.cancelled() and task.exception() is not None:
            log.error("run %s", run_id, exc_info=task.exception())
        self._registry.count(instances, -1)
        ended = [name for name in self._runs if name not in self._tasks]
        held = sum(self._runs[name].log.kept_bytes for name in ended)
        while len(ended) > MAX_KEPT_RUNS or (held > MAX_KEPT_BYTES and len(ended) > 1):
            oldest = ended.pop(0)
            held -= self._runs.pop(oldest).log.kept_bytes
