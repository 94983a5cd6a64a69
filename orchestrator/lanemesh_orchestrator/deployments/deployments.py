"""The deployed pipelines of an orchestrator: prepared, kept ready, found by name, removed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf import timestamp_pb2
from lanemesh._aio.tasks import cancel_stragglers
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.times import set_seconds
from lanemesh.v1 import deployment_pb2, node_pb2, run_pb2

from lanemesh_orchestrator.deployments.graph_cache import GraphCache, NodeTypes
from lanemesh_orchestrator.deployments.readiness import not_ready
from lanemesh_orchestrator.deployments.reconciler import DeploymentReconciler, NotReady, stopped
from lanemesh_orchestrator.deployments.records import (
    MAX_DEPLOYMENTS,
    MAX_SUPERSEDED_BYTES,
    MAX_VERSIONS,
    DeploymentRecord,
    DeploymentStore,
    MemoryDeployments,
    check_name,
    check_spec,
    refused,
    stamped,
    unknown_name,
    unknown_version,
    with_own,
    without_variables,
)
from lanemesh_orchestrator.deployments.servers import Homes, Servers
from lanemesh_orchestrator.pipeline.graph import Graph
from lanemesh_orchestrator.registry.registry import Registry
from lanemesh_orchestrator.runs.runs import Runs

DEPLOY_SECONDS = 600.0
"""Time limit for a pipeline to become ready; models load in this time."""
CLOSE_SECONDS = 10.0
"""Time limit for ending all preloads."""

log = logging.getLogger("lanemesh.deployments")

_T = TypeVar("_T")


@dataclass(slots=True)
class _Current:
    """The version of a name that its runs get."""

    record: DeploymentRecord
    spec: run_pb2.RunSpec
    graph_cache: GraphCache
    reconciler: DeploymentReconciler


@dataclass(slots=True)
class _Named:
    """The versions of one name."""

    current: _Current
    superseded: dict[int, DeploymentRecord] = field(default_factory=dict)
    """Versions that can still be started, the oldest first."""


class Deployments:
    """The deployed pipelines. At most 1,000 names, 100 versions of each, 1 MiB for one, and 64 MiB for all superseded ones."""

    def __init__(self, runs: Runs, registry: Registry, *, embedded: bool, store: DeploymentStore | None = None) -> None:
        """`embedded`: the orchestrator's own host runs every node type. `store` keeps them; None: they are kept in memory only."""
        self.read: Callable[[run_pb2.RunSpec, str], Graph] = lambda spec, folder: runs.validate(spec, folder=folder)
        """Returns the graph of a spec whose relative paths count from a folder, or raises PipelineInvalid."""
        self.manifests: Callable[[], Mapping[str, node_pb2.Manifest]] = runs.manifests
        """The node types for `read`."""
        self._runs = runs
        self._store = store or MemoryDeployments()
        self._servers = Servers(registry, runs.dial, embedded=embedded)
        self._types = NodeTypes(registry, lambda: self.manifests())
        self._named: dict[str, _Named] = {}
        self._deploying: dict[str, DeploymentReconciler] = {}
        """The deployments in progress, by name."""
        self._closed = False
        self._changing = asyncio.Lock()
        """Held while names and store change together."""
        self._beside: set[asyncio.Task[Any]] = set()

    def start_servers_by(self, homes: Homes) -> None:
        """In a spread mesh: starts the servers that a pipeline needs, and returns the server of each component."""
        self._servers.homes = homes

    async def restore(self) -> None:
        """Loads the deployments of the store. Each becomes ready as servers join."""
        versions: dict[str, dict[int, DeploymentRecord]] = {}
        for record in await self._store.all():
            versions.setdefault(record.name, {})[record.version] = record
        for name, records in versions.items():
            *superseded, last = sorted(records)
            current = self._current(records[last])
            self._named[name] = _Named(current, {number: records[number] for number in superseded})
            current.reconciler.start(name)
        await self._forget_superseded()

    async def deploy(self, name: str, spec: run_pb2.RunSpec, *, folder: str = "") -> deployment_pb2.Deployment:
        """Makes a pipeline ready on every server that may run it, and replaces the previous version.

        Runs of that version continue to their end, and it can still be started by its number while it is kept. Relative paths in
        its configs count from `folder`; empty: they stay unchanged, as those of clients do.

        Raises:
            PipelineInvalid: with every fault of the pipeline.
            LanemeshError: an invalid name, an exceeded limit, a fault of a server, not ready within 600 s, or another deployment of
            this name is in progress. Nothing has changed then.
        """
        check_name(name)
        check_spec(spec)
        self._check_free(name)
        own = run_pb2.RunSpec()
        own.CopyFrom(spec)
        graph_cache = GraphCache(own, lambda spec: self.read(spec, folder), self._types)
        await self._runs.checks.run(own.ByteSize(), graph_cache.graph)
        self._check_free(name)
        reconciler = DeploymentReconciler(graph_cache.graph, self._servers)
        self._deploying[name] = reconciler
        try:
            reconciler.start(name)
            await self._until_ready(name, reconciler)
            # It is deployed also if the caller disconnects now: names and store change together.
            current = await asyncio.shield(self._later(self._put(name, own, folder, graph_cache, reconciler)))
            return self._message_of(current, self._runs.of_deployments()[name])
        finally:
            del self._deploying[name]

    async def undeploy(self, name: str) -> None:
        """Removes a deployed pipeline, with all its versions. Its runs continue to their end.

        Raises:
            LanemeshError: there is none with this name.
        """
        await asyncio.shield(self._later(self._remove(name)))

    def all(self) -> list[deployment_pb2.Deployment]:
        """The current version of each, in alphabetical order."""
        runs = self._runs.of_deployments()
        return [self._message_of(self._named[name].current, runs[name]) for name in sorted(self._named)]

    def get(self, name: str, version: int = 0) -> tuple[deployment_pb2.Deployment, run_pb2.RunSpec]:
        """The record and the spec of a version; by default the current one. Raises LanemeshError if it does not exist."""
        named = self._get(name)
        runs = self._runs.of_deployments()[name]
        if version in (0, named.current.record.version):
            return self._message_of(named.current, runs), named.current.spec
        record = self._superseded(named, version)
        state = deployment_pb2.DEPLOYMENT_STATE_SUPERSEDED
        by = f"version {named.current.record.version} has replaced it"
        return _message(record, state, by, runs), run_pb2.RunSpec.FromString(record.spec)

    def graph(self, spec: run_pb2.RunSpec) -> Graph:
        """The graph for a run by name, with the run's own settings on top of those of the deployment.

        Raises:
            PipelineInvalid: it is invalid with these settings, or a node type is missing.
            LanemeshError: there is no such name or version.
        """
        wanted = spec.deployment
        if not wanted.name:
            raise refused(
                "no-deployment", "the name of the deployed pipeline is missing; `lanemesh deployments` lists them"
            )
        named = self._get(wanted.name)
        current = named.current
        if wanted.version in (0, current.record.version):
            graph = (
                self.read(with_own(current.spec, spec), current.record.folder)
                if spec.settings_json or spec.variables
                else current.graph_cache.graph()
            )
            return stamped(graph, current.record, current.spec)
        record = self._superseded(named, wanted.version)
        deployed = run_pb2.RunSpec.FromString(record.spec)
        return stamped(self.read(with_own(deployed, spec), record.folder), record, deployed)

    def bytes_read(self, spec: run_pb2.RunSpec) -> int:
        """How many bytes `graph` reads for a run by name, because the run changes the deployed pipeline or names a version; 0 if it
        has the graph, as long as node types do not change, or raises an error."""
        named = self._named.get(spec.deployment.name)
        if named is None:
            return 0
        current, version = named.current, spec.deployment.version
        if version in (0, current.record.version):
            return current.spec.ByteSize() + spec.ByteSize() if spec.settings_json or spec.variables else 0
        record = named.superseded.get(version)
        return len(record.spec) + spec.ByteSize() if record is not None else 0

    def current_graph(self, name: str) -> Graph:
        """The graph of the current version, with its name and version. Raises PipelineInvalid or LanemeshError, as `graph` does."""
        current = self._get(name).current
        return stamped(current.graph_cache.graph(), current.record, current.spec)

    def variant(self, name: str, change: Callable[[run_pb2.RunSpec], run_pb2.RunSpec]) -> Graph:
        """The graph of a changed copy of the current version, with its name and version. `change` returns the spec to read, and
        does not change the given one.

        Raises:
            PipelineInvalid: the changed pipeline is invalid.
            LanemeshError: there is no such name.
        """
        current = self._get(name).current
        return stamped(self.read(change(current.spec), current.record.folder), current.record, current.spec)

    async def close(self) -> None:
        """Ends all preloads, within 10 s. The deployments remain in the store."""
        self._closed = True
        for reconciler in (*self._deploying.values(), *(named.current.reconciler for named in self._named.values())):
            self._later(reconciler.close())
        self._named.clear()
        await cancel_stragglers(CLOSE_SECONDS, "the end of all preloads", self._beside)

    def _check_free(self, name: str) -> None:
        """Raises LanemeshError unless a pipeline can be deployed under this name now."""
        if self._closed:
            raise stopped()
        if name in self._deploying:
            message = f'"{name}" is already being deployed; retry when that has ended'
            raise LanemeshError(Fault(code=Code.ABORTED, reason="deploying", message=message))
        if name not in self._named and len(self._named.keys() | self._deploying.keys()) >= MAX_DEPLOYMENTS:
            message = f"there are {MAX_DEPLOYMENTS:,} deployed pipelines, which is the maximum; `lanemesh undeploy` removes one"
            raise LanemeshError(Fault(code=Code.RESOURCE_EXHAUSTED, reason="too-many", message=message))

    async def _until_ready(self, name: str, reconciler: DeploymentReconciler) -> None:
        try:
            async with asyncio.timeout(DEPLOY_SECONDS):
                await reconciler.until_ready()
        except BaseException as error:
            detail = reconciler.readiness().detail
            self._later(reconciler.close())
            if isinstance(error, NotReady):
                raise not_ready(name, error.faults) from None
            if isinstance(error, TimeoutError):
                message = f"it is not ready after {DEPLOY_SECONDS:g} s: {detail}"
                raise not_ready(name, [Fault(code=Code.DEADLINE_EXCEEDED, reason="timeout", message=message)]) from None
            raise

    async def _put(
        self,
        name: str,
        spec: run_pb2.RunSpec,
        folder: str,
        graph_cache: GraphCache,
        reconciler: DeploymentReconciler,
    ) -> _Current:
        """Makes a ready version the current one; the previous one is no longer kept warm."""
        async with self._changing:
            before = self._named.get(name)
            number = before.current.record.version + 1 if before is not None else 1
            record = DeploymentRecord(name, number, spec.SerializeToString(deterministic=True), time.time(), folder)
            try:
                if self._closed:
                    raise stopped()
                stored = without_variables(spec).SerializeToString(deterministic=True)
                await self._store.add(name, number, stored, record.created_at, folder)
            except BaseException:
                self._later(reconciler.close())
                raise
            current = _Current(record, spec, graph_cache, reconciler)
            if before is None:
                self._named[name] = _Named(current)
            else:
                old, before.current = before.current, current
                before.superseded[old.record.version] = old.record
                self._later(old.reconciler.close())
                await self._forget_superseded()
        log.info("%s: version %d is deployed", name, number)
        return current

    async def _remove(self, name: str) -> None:
        async with self._changing:
            self._get(name)
            await self._store.remove(name)
            gone = self._named.pop(name)
        self._later(gone.current.reconciler.close())
        log.info("%s is no longer deployed", name)

    def _current(self, record: DeploymentRecord) -> _Current:
        spec = run_pb2.RunSpec.FromString(record.spec)
        graph_cache = GraphCache(spec, lambda spec: self.read(spec, record.folder), self._types)
        return _Current(record, spec, graph_cache, DeploymentReconciler(graph_cache.graph, self._servers))

    async def _forget_superseded(self) -> None:
        """Removes versions above the limits, from the store as well: the oldest ones of a name, and the earliest deployed ones of
        all. What the store cannot remove now, it removes at the next start."""
        forgotten: list[tuple[str, int]] = []
        for name, named in self._named.items():
            while len(named.superseded) >= MAX_VERSIONS:
                version = next(iter(named.superseded))
                del named.superseded[version]
                forgotten.append((name, version))
        remembered = [record for named in self._named.values() for record in named.superseded.values()]
        size = sum(len(record.spec) for record in remembered)
        for record in sorted(remembered, key=lambda record: record.created_at):
            if size <= MAX_SUPERSEDED_BYTES:
                break
            del self._named[record.name].superseded[record.version]
            size -= len(record.spec)
            forgotten.append((record.name, record.version))
        if not forgotten:
            return
        try:
            await self._store.forget(forgotten)
        except LanemeshError as error:
            log.warning("superseded versions of deployed pipelines cannot be deleted now: %s", error.fault.message)

    def _get(self, name: str) -> _Named:
        if name not in self._named:
            raise unknown_name(name, list(self._named))
        return self._named[name]

    def _superseded(self, named: _Named, version: int) -> DeploymentRecord:
        if version not in named.superseded:
            current = named.current.record
            raise unknown_version(current.name, version, [*named.superseded, current.version])
        return named.superseded[version]

    def _message_of(self, current: _Current, runs: int) -> deployment_pb2.Deployment:
        is_ready = current.reconciler.readiness()
        message = _message(current.record, is_ready.state, is_ready.detail, runs)
        message.placements.extend(current.reconciler.placements())
        return message

    def _later(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Runs a coroutine that a cancellation of the caller does not reach; `close` waits for it."""
        task = asyncio.create_task(work, name="deployments")
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)
        return task


def _message(
    record: DeploymentRecord, state: deployment_pb2.DeploymentState.ValueType, detail: str, runs: int
) -> deployment_pb2.Deployment:
    created_at = timestamp_pb2.Timestamp()
    set_seconds(created_at, record.created_at)
    return deployment_pb2.Deployment(
        name=record.name, version=record.version, state=state, detail=detail, created_at=created_at, active_runs=runs
    )
