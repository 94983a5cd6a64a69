"""A node host: a node server without gRPC. The orchestrator has one of its own for boundary nodes and embedded runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from lanemesh._aio.tasks import within
from lanemesh._aio.threads import THREADS
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.features import FEATURES, unsupported
from lanemesh.lanes.inbox.inbox import Edge
from lanemesh.node.context import ClientLink
from lanemesh.node.node import Node, Service
from lanemesh.node.runtime.resources import Resources
from lanemesh.server.file_roots import FileRoots, may_name, schema_of
from lanemesh.server.host.hosted_run import HostedRun, Phase
from lanemesh.server.host.node_types import NodeTypes
from lanemesh.server.host.reporting import EDGE_UPDATE_SECONDS
from lanemesh.server.services import InstalledServices, taken_names
from lanemesh.v1 import lane_pb2, node_pb2

if TYPE_CHECKING:
    from lanemesh._grpc.connections import ConnectionPool
    from lanemesh._grpc.security import Security
    from lanemesh.channels import ChannelLink
    from lanemesh.control.instance import HelperInstance
    from lanemesh.gpu import ArbiterLink
    from lanemesh.lanes.transport.short_lanes import ShortLanes
    from lanemesh.permissions import Permissions
    from lanemesh.server.host.preload import Preload
    from lanemesh.server.node_files import NodeFiles

MAX_UPDATES = 256
"""Most frames that wait for the orchestrator. At this bound, nodes wait with their reports."""
MAX_PROBLEMS = 5
"""Most problems of a config that its error names."""
CLOSE_SECONDS = 20.0
"""How long a run may take to end when its host closes; its nodes have 8 s of this."""

MAX_FRAME_BYTES = 256 * 1024
"""Most bytes of the responses that are merged into one frame: 256 KiB."""

CLOSING_SECONDS = 0.02
"""How long the report that the last node of a run has ended waits for the end of its lanes, which the last frame reports: 20 ms."""

LEAVE_SECONDS = 15.0
"""How long an abandoned part of a run may take to end before the same part is placed again."""

log = logging.getLogger("lanemesh.host")


class NodeHost:
    """Runs instances of node types for orchestrators."""

    def __init__(
        self,
        services: Iterable[Service],
        *,
        installed: InstalledServices | None = None,
        name: str = "",
        gpu_arbiter: str = "",
        max_instances: int = 0,
        labels: Mapping[str, str] | None = None,
        files: FileRoots | None = None,
        permissions: Permissions | None = None,
        node_files: NodeFiles | None = None,
    ) -> None:
        """A host without runs.

        Args:
            services: given explicitly, later ones taking precedence.
            installed: imported on demand.
            name: the name that it requests.
            gpu_arbiter: address of the GPU arbiter; empty: the one of this process.
            max_instances: the most components that it runs at once, over all runs and orchestrators; 0: no limit.
            labels: pipelines may select it by these.
            files: the files that configs may name; None: any, as in local runs.
            permissions: what components may do; None: what they may in local runs.
            node_files: files with further node types, which take precedence; they are loaded again when they have changed.
        """
        self.name = name
        self.instance_id = os.urandom(8).hex()
        """Identifies this host among hosts that may have the same address."""
        self.files = files
        """The files that configs may name; None: any."""
        self.permissions = permissions
        """What components may do; None: what they may in local runs."""
        self.max_instances = max_instances
        self.labels = dict(labels or {})
        self._services = list(services)
        self.node_files = node_files
        """Files with node types; None: there are none."""
        self.node_types = NodeTypes(
            [*self._services, *(node_files.services if node_files is not None else ())], installed
        )
        """The node types that it can run."""
        self.on_reload: Callable[[], None] | None = None
        """Called when files of `node_files` were loaded again."""
        self._refreshing = asyncio.Lock()
        self._names_looked_at = False
        self.features: Collection[str] = FEATURES
        """The features that it supports beyond the base of the protocol."""
        self.gpu_arbiter = gpu_arbiter
        """Address of the GPU arbiter; empty: the one of this process."""
        self.orchestrator = ""
        """Address of the orchestrator that it has joined; empty: no remote one."""
        self.mesh: object = None
        """The mesh of this process, if it runs all nodes here."""
        self.security: Security | None = None
        """TLS and the token of connections to other servers; None: what the environment sets."""
        self.resources = Resources()
        self.draining = False
        self.edge_update_seconds = EDGE_UPDATE_SECONDS
        """Least time between two updates of one edge; infinite: only the last is reported."""
        self.runs: dict[tuple[str, int], HostedRun] = {}
        """Hosted runs, by the run's id and the part of it."""
        self.idle = asyncio.Event()
        """Set while no run is hosted."""
        self.idle.set()
        self.warm: set[HostSession] = set()
        """Sessions that only keep resources loaded."""
        self.spare: set[HostSession] = set()
        """Sessions whose run has finished, and that may host another one."""
        self._pool: ConnectionPool | None = None
        self._short_lanes: ShortLanes | None = None
        self._at_close: set[Callable[[], None]] = set()
        self._gpu: ArbiterLink | None = None
        self.gpu_changed = asyncio.Event()
        """Set when models were loaded or unloaded, or devices are used otherwise, since it was cleared."""
        self._channels: ChannelLink | None = None

    def mesh_link(self) -> object:
        """The mesh that components run in: that of this process, or the address of the orchestrator that it has joined, or an empty
        text."""
        return self.mesh if self.mesh is not None else self.orchestrator

    def manifests(self) -> list[node_pb2.Manifest]:
        """The manifests of all node types, in alphabetical order. The first call logs a warning about ambiguous names."""
        if not self._names_looked_at:
            self._names_looked_at = True
            for taken in taken_names(self.node_types.node_class(provider) for provider in self.node_types):
                log.warning("%s; rename one of them", taken)
        return list(self.node_types.values())

    def refresh(self) -> None:
        """Loads changed files with node types again. New instances get the new code; running ones keep theirs.

        Raises:
            LanemeshError: one of them cannot be loaded; the node types are unchanged.
        """
        if self.node_files is not None and self.node_files.refresh():
            self._reloaded(self.node_files)

    async def refresh_or_keep(self) -> None:
        """The same, in a thread. If a file cannot be loaded, that is logged once, and the node types are unchanged."""
        files = self.node_files
        if files is None or files.is_current():
            return
        async with self._refreshing:
            try:
                if await THREADS.call(files.refresh):
                    self._reloaded(files)
            except LanemeshError as error:
                files.report(error)

    def _reloaded(self, files: NodeFiles) -> None:
        self.node_types.replace([*self._services, *files.services])
        log.info("loaded again: %s", ", ".join(map(str, files.paths)))
        if self.on_reload is not None:
            self.on_reload()

    @property
    def active_instances(self) -> int:
        """Components that it runs now, or is placing."""
        return sum(run.instances for run in self.runs.values())

    def config_of(self, instance: node_pb2.Instance) -> BaseModel:
        """The config of an instance.

        Raises:
            LanemeshError: there is no such node type, it names a file outside of the roots, or it is invalid ("bad-config").
        """
        node = self.node_class(instance.provider)
        text = instance.config_json or "{}"
        if self.files is not None and may_name(node.Config):
            self.files.check(json.loads(text), schema_of(node.Config), instance.component)
        try:
            return node.Config.model_validate_json(text)
        except ValidationError as error:
            raise _bad_config(instance, error) from None

    def node_class(self, provider: str) -> type[Node]:
        """The class of a node type. If there is none, raises LanemeshError, which lists the node types."""
        try:
            return self.node_types.node_class(provider)
        except KeyError:
            known = ", ".join(self.node_types) or "none"
            message = f'the node server "{self.name}" has no node type "{provider}"; it has {known}'
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-provider", message=message)) from None

    @property
    def pool(self) -> ConnectionPool:
        """Connections to other node servers, created on first use."""
        if self._pool is None:
            from lanemesh._grpc.connections import ConnectionPool

            self._pool = ConnectionPool(security=self.security)
        return self._pool

    @property
    def short_lanes(self) -> ShortLanes:
        """The calls that carry short lanes to other node servers, created on first use."""
        if self._short_lanes is None:
            from lanemesh.lanes.transport.short_lanes import ShortLanes

            self._short_lanes = ShortLanes(self.pool)
        return self._short_lanes

    @property
    def gpu_link(self) -> ArbiterLink:
        """The link to the GPU arbiter, created on first use."""
        if self._gpu is None:
            from lanemesh.gpu import connect

            self.gpu_link = connect(self.gpu_arbiter or None)
            assert self._gpu is not None
        return self._gpu

    @gpu_link.setter
    def gpu_link(self, link: ArbiterLink) -> None:
        self._gpu = link
        link.models.on_change = self.gpu_changed.set
        self.gpu_changed.set()

    @property
    def opened_gpu_link(self) -> ArbiterLink | None:
        """The link to the GPU arbiter; None if nothing has used it yet."""
        return self._gpu

    @property
    def channel_link(self) -> ChannelLink:
        """The link to the broker of channels: that of this process if the orchestrator is here, otherwise that of the orchestrator
        it has joined. Raises LanemeshError if there is neither."""
        if self._channels is None:
            if not self.orchestrator:
                message = f'the node server "{self.name}" has no channels, because it has not joined an orchestrator'
                raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="no-channels", message=message))
            from lanemesh.channels.remote import RemoteChannels

            self._channels = RemoteChannels(self.pool, self.orchestrator)
        return self._channels

    @channel_link.setter
    def channel_link(self, link: ChannelLink) -> None:
        self._channels = link

    def session(self, client: ClientLink | None = None, *, reusable: bool = False) -> HostSession:
        """The host's side of one `Host` stream.

        Args:
            client: the link of boundary nodes to the run's client.
            reusable: the session hosts one run after the other; otherwise its responses end with its first run.
        """
        return HostSession(self, client, reusable=reusable)

    def accept(self, opening: lane_pb2.LaneOpen) -> tuple[Edge, HostedRun]:
        """The consumer end that a lane requests, and its run.

        Raises:
            LanemeshError: no such run or edge, another type, a wrong key, or the edge has a lane already.
        """
        run = self.runs.get((opening.run_id, opening.incarnation))
        if run is None:
            raise _refused(Code.NOT_FOUND, "unknown-run", opening, f'the run "{opening.run_id}" is not hosted here')
        return run.accept(opening, lambda code, reason, why: _refused(code, reason, opening, why)), run

    def find_helper(self, run_id: str, component: str) -> HelperInstance | None:
        """The helper that a control call addresses; None if it is not here."""
        parts = (run for (hosted, _), run in self.runs.items() if hosted == run_id)
        return next((part.helpers[component] for part in parts if component in part.helpers), None)

    @contextlib.contextmanager
    def ending_at_close(self, end: Callable[[], None]) -> Iterator[None]:
        """Calls `end` if the host closes within the block: a call that belongs to no run ends with it."""
        self._at_close.add(end)
        try:
            yield
        finally:
            self._at_close.discard(end)

    def drain(self) -> None:
        """Takes no new runs, and releases all preloads."""
        self.draining = True
        for session in [*self.warm, *self.spare]:
            session.hang_up("the node server drains")

    async def close(self) -> None:
        """Cancels every run and frees all resources."""
        for session in [*self.warm, *self.spare]:
            await session.close("the node server stops")
        endings = ((run, run.cancel("the node server stops")) for run in list(self.runs.values()))
        await asyncio.gather(*(within(CLOSE_SECONDS, f"{run.run_id} to end here", ending) for run, ending in endings))
        for end in list(self._at_close):
            end()
        await self.resources.close()
        if self._short_lanes is not None:
            await self._short_lanes.close()
        if self._gpu is not None:
            await self._gpu.close()
        if self._pool is not None:
            await self._pool.close()


def lacks(missing: Sequence[str]) -> str:
    """The error of a node server that lacks features which a run needs, with the remedy, as a phrase after its name."""
    names = " and ".join(f'"{name}"' for name in missing)
    return (
        f"it does not support the feature{'s' if len(missing) > 1 else ''} {names}, which the run needs there. Install a version "
        "of its software that does"
    )


def _refused(code: Code, reason: str, opening: lane_pb2.LaneOpen, why: str) -> LanemeshError:
    message = f'the lane "{opening.edge_id}" of run "{opening.run_id}" is rejected: {why}'
    return LanemeshError(Fault(code=code, reason=reason, message=message, details={"lane": opening.edge_id}))


class _Outlet:
    """The responses of one run on a session. They end with `finished`: what is sent later belongs to no other run."""

    def __init__(self, session: HostSession) -> None:
        self.finished = False
        """`finished` has left the queue of the session."""
        self._session = session

    async def send(self, response: node_pb2.HostResponse) -> None:
        """Queues a frame for the orchestrator; waits while it is behind."""
        await self._session.send(response, self)

    def try_send(self, response: node_pb2.HostResponse) -> bool:
        """Queues a frame for the orchestrator if it is not behind. Returns whether it did."""
        return self._session.try_send(response, self)


class HostSession:
    """The session of one orchestrator for a run, or for one run after the other, for every transport: requests in, responses out.

    `responses` ends after `finished`, unless the session is reusable and the host does not drain. `close` cancels unfinished work:
    the end of the session ends the run here.
    """

    def __init__(self, host: NodeHost, client: ClientLink | None, *, reusable: bool = False) -> None:
        self._host = host
        self._server = host.name
        """The name by which the orchestrator knows this server."""
        self._client = client
        self._reusable = reusable
        self._run: HostedRun | None = None
        self._outlet = _Outlet(self)
        """Takes the responses of the present run."""
        self._warm: Preload | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: asyncio.Queue[tuple[_Outlet | None, node_pb2.HostResponse] | None] = asyncio.Queue(MAX_UPDATES)
        self._merges = False
        """Responses that wait are sent in one frame."""
        self._next: node_pb2.HostResponse | None = None
        """Taken from the queue, and too large for the present frame."""
        self._queue_ended = False
        self._over = False
        self.ended_spare = False
        """It ended while it hosted nothing."""
        self._closing: asyncio.Task[None] | None = None

    async def responses(self) -> AsyncGenerator[node_pb2.HostResponse, None]:
        """The responses of the host, until the session ends. Those that wait are merged, if the orchestrator can read that."""
        while (response := await self._take_response()) is not None:
            if self._merges:
                await self._merge_waiting(response)
            yield response

    async def _take_response(self) -> node_pb2.HostResponse | None:
        """The next response; None at the end of the session."""
        response, self._next = self._next, None
        while response is None and not self._queue_ended and not (self.ended_spare and self._queue.empty()):
            entry = await self._queue.get()
            if entry is None:
                self._queue_ended = True
                return None
            outlet, response = entry
            if outlet is not None and outlet.finished:
                response = None
            elif outlet is not None:
                outlet.finished = response.HasField("finished")
        return response

    async def _merge_waiting(self, frame: node_pb2.HostResponse) -> None:
        """Adds the responses that wait to a frame. While a run finishes, its last responses are awaited: they come at once. While
        its lanes close they come soon, and are awaited for `CLOSING_SECONDS`."""
        size, last, ends_at = frame.ByteSize(), frame, 0.0
        while not last.HasField("finished"):
            if self._queue.empty() and (self._run is None or not self._run.is_finishing):
                if self._run is None or not self._run.is_closing:
                    return
                ends_at = ends_at or asyncio.get_running_loop().time() + CLOSING_SECONDS
                try:
                    async with asyncio.timeout_at(ends_at):
                        response = await self._take_response()
                except TimeoutError:
                    return
            else:
                response = await self._take_response()
            if response is None:
                return
            size += response.ByteSize()
            if size > MAX_FRAME_BYTES:
                self._next = response
                return
            last = frame.more.add()
            last.CopyFrom(response)

    @property
    def is_over(self) -> bool:
        """Whether it hosts no further run."""
        return self._over

    def handle(self, request: node_pb2.HostRequest) -> None:
        """Handles one frame. Its work is done in tasks of the session."""
        match request.WhichOneof("frame"):
            case "place":
                self._host.spare.discard(self)
                self._begin(self._place(request.place))
            case "connect":
                self._begin(self._connect())
            case "start":
                self._begin_start(self._run)
            case "cancel" if self._run is not None:
                self._begin(self._run.cancel(request.cancel.reason))
            case "release_helpers" if self._run is not None:
                self._run.release_helpers()
            case "grow" if self._run is not None:
                self._run.grow(request.grow)
            case "probe" if self._run is not None:
                self._begin(self._run.probe(request.probe.id))
            case "detach" if self._run is not None:
                self._begin(self._outlet.send(node_pb2.HostResponse(detached=self._run.detach(request.detach))))
            case "reroute" if self._run is not None:
                self._run.reroute(request.reroute)
            case "decide" if self._run is not None:
                self._run.decide(request.decide)

    async def close(self, reason: str = "the orchestrator disconnected") -> None:
        """Cancels unfinished work and waits for its end. It may be called several times, and a caller may be cancelled."""
        await asyncio.shield(self.hang_up(reason))

    def hang_up(self, reason: str) -> asyncio.Task[None]:
        """Starts to close. The server of the session sees its end, and awaits `close`."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(reason), name="close a run's session")
        return self._closing

    async def _close(self, reason: str) -> None:
        if self in self._host.spare:
            self._end_spare()
        self._over = True
        if self._run is not None:
            await self._run.cancel(reason)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._warm is not None:
            self._warm.release()
        self._forget()
        if not self.ended_spare:
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)

    def _end_spare(self) -> None:
        """Ends the session, which hosts nothing, after its queued responses: `finished` may be among them."""
        self._host.spare.discard(self)
        self._over = self.ended_spare = True
        if self._queue.empty():
            self._queue.put_nowait(None)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a run's phase failed", exc_info=task.exception())

    async def send(self, response: node_pb2.HostResponse, outlet: _Outlet | None = None) -> None:
        """Queues a frame for the orchestrator; waits while it is behind. `outlet` is that of the run that it belongs to; it is
        dropped if that run has finished."""
        if not self._over:
            await self._queue.put((outlet, response))

    def try_send(self, response: node_pb2.HostResponse, outlet: _Outlet | None = None) -> bool:
        """Queues a frame for the orchestrator if it is not behind. Returns whether it did."""
        if self._over or self._queue.full():
            return False
        self._queue.put_nowait((outlet, response))
        return True

    async def _place(self, place: node_pb2.Place) -> None:
        host = self._host
        await host.refresh_or_keep()
        self._server = place.server or host.name
        faults: list[Fault] = []
        earlier = host.runs.get((place.run_id, place.incarnation))
        if earlier is not None and earlier.cancelling:  # an attempt to place it that was abandoned
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await earlier.gone.wait()
        if self._run is not None or self._warm is not None or (place.run_id, place.incarnation) in host.runs:
            faults.append(self._fault(Code.ALREADY_EXISTS, "run-exists", f'the run "{place.run_id}" is already hosted'))
        elif host.draining:
            faults.append(self._fault(Code.UNAVAILABLE, "draining", "it is draining and accepts no new runs"))
        elif missing := unsupported(place.features, host.features):
            faults.append(self._fault(Code.FAILED_PRECONDITION, "missing-feature", lacks(missing)))
        elif place.keep_warm:
            faults = await self._answered(self._keep_warm(place))
        elif host.max_instances and host.active_instances + len(place.instances) > host.max_instances:
            runs = f"it runs {host.active_instances} of at most {host.max_instances} components"
            full = f"{runs}, and {len(place.instances)} more were requested"
            faults.append(self._fault(Code.RESOURCE_EXHAUSTED, "server-full", full))
        else:
            faults = await self._answered(self._place_run(place))
        placed = node_pb2.Placed(faults=[fault.to_proto() for fault in faults])
        await self.send(node_pb2.HostResponse(placed=placed))

    async def _place_run(self, place: node_pb2.Place) -> list[Fault]:
        host = self._host
        self._merges = place.merges_frames
        self._run = host.runs[place.run_id, place.incarnation] = HostedRun(
            host, place, self._outlet.send, self._outlet.try_send, self._client
        )
        host.idle.clear()
        return await self._run.place()

    async def _keep_warm(self, place: node_pb2.Place) -> list[Fault]:
        from lanemesh.server.host.preload import Preload  # few servers need it

        self._warm = Preload(self._host, place)
        self._host.warm.add(self)
        return await self._warm.load()

    async def _answered(self, phase: Awaitable[list[Fault]]) -> list[Fault]:
        """The result of a phase, or its error as a fault: the orchestrator waits for an answer."""
        try:
            return await phase
        except Exception as error:
            if not isinstance(error, LanemeshError):
                log.exception("a run's phase failed")
            return [Fault.from_exception(error, server=self._server)]

    async def _connect(self) -> None:
        if self._run is None or self._run.phase is not Phase.PLACED:
            faults = [self._misplaced("`connect` came before `place` was answered, or twice")]
        else:
            faults = await self._answered(self._run.connect())
        connected = node_pb2.Connected(faults=[fault.to_proto() for fault in faults])
        await self.send(node_pb2.HostResponse(connected=connected))

    def _begin_start(self, run: HostedRun | None) -> None:
        """Starts the nodes of a run that may start. Otherwise the run ends with a fault."""
        if run is not None and run.can_start:
            run.begin()  # in the order of the frames: a `detach` may follow
            self._begin(self._start(run))
        elif run is not None and run.phase is Phase.STARTED:
            self._begin(run.fail(self._misplaced("`start` came twice")))
        elif run is None or run.phase is not Phase.REFUSED:  # otherwise its only `finished` follows
            if run is not None:
                run.phase = Phase.REFUSED
            self._begin(self._refuse_start(run))

    async def _start(self, run: HostedRun) -> None:
        await self._finish(run, await self._answered(run.execute()))

    async def _refuse_start(self, run: HostedRun | None) -> None:
        fault = self._misplaced("`start` came before `connected`")
        if run is not None:
            await run.cancel(fault.message)
        await self._finish(run, [fault])

    async def _finish(self, run: HostedRun | None, faults: Iterable[Fault]) -> None:
        """Sends the last frame of a run, and forgets the run. None: there is no run, but one may still come."""
        finished = node_pb2.Finished(faults=[fault.to_proto() for fault in faults])
        await self.send(node_pb2.HostResponse(finished=finished), self._outlet if run is not None else None)
        if run is None:
            return
        self._forget()
        if not self._reusable:
            self._run = None
            await self._queue.put(None)
        else:
            self._await_place()

    def _await_place(self) -> None:
        """The run has finished: the session may host another one."""
        self._run, self._outlet = None, _Outlet(self)
        if self._host.draining:
            self._end_spare()
        elif not self._over:
            self._host.spare.add(self)

    def _forget(self) -> None:
        self._host.warm.discard(self)
        if self._run is not None:
            self._host.runs.pop((self._run.run_id, self._run.incarnation), None)
            self._run.gone.set()
        if not self._host.runs:
            self._host.idle.set()

    def _misplaced(self, why: str) -> Fault:
        return self._fault(Code.FAILED_PRECONDITION, "not-placed", why)

    def _fault(self, code: Code, reason: str, why: str) -> Fault:
        return Fault(code=code, reason=reason, message=f'the node server "{self._server}": {why}')


def _bad_config(instance: node_pb2.Instance, error: ValidationError) -> LanemeshError:
    """The error of a config that its node type refuses. It quotes no values, which may be secret."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = "; ".join(
        f"{'.'.join(map(str, ('config', *problem['loc'])))}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in problems[:MAX_PROBLEMS]
    )
    message = f"{instance.component}: {shown}. `lanemesh nodes {instance.provider}` lists the settings"
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-config", message=message))
