"""The arbiter in a process: the core's decisions with a clock, a timer and the delivery of frames.

It needs no gRPC: in one process the lease client calls it directly, and the arbiter's server connects gRPC streams to it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from lanemesh._aio.signal import Signal
from lanemesh._aio.threads import THREADS
from lanemesh.gpu import frames
from lanemesh.gpu.core import TTL, ArbiterCore, Frames
from lanemesh.gpu.devices import find_devices
from lanemesh.gpu.errors import LeaseError
from lanemesh.gpu.journal import Journal
from lanemesh.gpu.metrics import metrics_text
from lanemesh.gpu.observing import (
    OBSERVE_SECONDS,
    PROMPT_SECONDS,
    QUICK_SECONDS,
    Observer,
    Reading,
    attribute,
    find_observer,
)
from lanemesh.gpu.queries import explanations, lease_statuses
from lanemesh.v1 import gpu_pb2

WATCH_SECONDS = 0.1
"""Least time between two reports of a watch."""
TIMER_SLACK = 0.001
"""How late a deadline may be noticed, in seconds, so that not every step sets the timer anew."""
MAX_ERROR = 500
"""Most characters of an error of a holder that are logged."""

log = logging.getLogger("lanemesh.gpu")

OnFrame = Callable[[gpu_pb2.LeaseResponse | None], None]
"""Takes the frames of one lease stream, and None once the arbiter has no more for it."""


class GpuArbiter:
    """Leases the devices of this machine. It belongs to one event loop at a time and takes no step outside of it."""

    def __init__(
        self,
        devices: Iterable[gpu_pb2.Device],
        *,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
        journal: Journal | None = None,
    ) -> None:
        """`ttl`: seconds until a lease without a heartbeat expires. `observer` reads the memory of devices; None: memory is free
        when its holder has reported it as free. `journal` keeps leases and tokens for a restart; it is closed with the arbiter."""
        # Tokens must not fall when the arbiter starts anew, and no device is granted once per millisecond for long.
        self._core = ArbiterCore(devices, ttl=ttl, first_token=time.time_ns() // 1_000_000)
        self._clock = clock
        self._journal = journal
        if journal is not None:
            self._core.restore(clock(), journal.state)
        self._streams: dict[str, ArbiterStream] = {}
        self.changes = 0
        """Number of steps so far."""
        self.changed = Signal()
        """Fires after each step, which may have changed devices or leases."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._observer = observer
        self._reading: _Observation | None = None
        self._marks_read: Mapping[str, int] = {}
        """The marks of the devices when the next reading was planned."""

    def open(self, on_frame: OnFrame, *, local: bool = False) -> ArbiterStream:
        """A stream for one lease.

        Args:
            on_frame: takes each frame. With `local` it is called by the loop, never from within `send`. Otherwise it is called at
                once, perhaps from within a call here, and must only queue the frame.
            local: the holder is in this process. It cannot outlive the arbiter, so keepalives are not needed.
        """
        self.adopt_loop()
        if self._observer is not None and self._reading is None:
            self._take_readings(self._observer.read(), self._marks())  # before the first grant
        return ArbiterStream(self, on_frame, local)

    def adopt_loop(self) -> None:
        """Moves to the running loop, in which deadlines are noticed from then on, such as those of leases from before a restart.
        Holders of a closed loop cannot run on, so their leases are released."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise RuntimeError("The GPU arbiter of this process runs in another event loop; use one loop per process.")
        self._loop, self._timer, self._reading = loop, None, None
        self._arm()
        for lease_id in list(self._streams):
            del self._streams[lease_id]
            self._deliver(self._core.release(self._clock(), lease_id))

    def status(self) -> list[gpu_pb2.DeviceStatus]:
        """The devices with their leases and waiting requests."""
        return self._core.status(self._clock())

    def leases(self, run_id: str = "") -> list[gpu_pb2.LeaseStatus]:
        """Leases that are held, yielded or kept, and then requests in the order of the queue; of one run if it is given."""
        return lease_statuses(self._core.view, self._clock(), run_id)

    def explain(self, lease_id: str = "", run_id: str = "", component: str = "") -> list[gpu_pb2.LeaseExplanation]:
        """Why requests wait that meet all conditions."""
        return explanations(self._core.view, self._clock(), lease_id=lease_id, run_id=run_id, component=component)

    def metrics(self) -> str:
        """What it has decided and what its devices have, in the text format of Prometheus."""
        return metrics_text(self._core.counts, self.status(), len(self._core.view.queue))

    async def watch(self) -> AsyncIterator[gpu_pb2.WatchResponse]:
        """The devices and leases now, and after changes, at most ten times a second, until the arbiter is closed."""
        while not self._closed:
            changes = self.changes
            yield gpu_pb2.WatchResponse(devices=self.status(), leases=self.leases())
            await asyncio.sleep(WATCH_SECONDS)
            if changes == self.changes and not self._closed:
                await self.changed.wait()

    def observe(self, device: str, used: Mapping[str, int], foreign: int) -> None:
        """What a device shows: bytes used by each process that owns leases, and by all others together."""
        self.adopt_loop()
        self._deliver(self._core.observe(self._clock(), device, used, foreign))

    @property
    def owners(self) -> frozenset[str]:
        """The processes that have leases or models."""
        return frozenset(lease.demand.owner for lease in self._core.view.leases.values() if lease.demand.owner)

    def close(self) -> None:
        """Ends every lease and every wait with the reason "shutdown"."""
        self._closed = True
        self._deliver(self._core.shutdown())
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, stream: ArbiterStream, frame: gpu_pb2.LeaseRequest) -> None:
        kind, core, now, lease_id = frame.WhichOneof("frame"), self._core, self._clock(), stream.lease_id
        if kind in ("acquire", "reclaim"):
            if stream.begun:
                raise ValueError(
                    f"A lease stream has one acquire or reclaim, as its first frame; this {kind} is a second one."
                )
            stream.begun = True
            self._begin(stream, frame, now)
        elif kind is not None and not stream.begun:
            raise ValueError(f"A lease stream begins with acquire or reclaim, not with {kind}.")
        elif self._streams.get(lease_id) is not stream:
            return  # It was refused, has ended, or continues on another stream: late frames have no effect.
        elif kind == "keepalive":
            self._deliver(core.keepalive(now, lease_id, frame.keepalive.bytes_used))
        elif kind == "yield":
            self._deliver(core.pause(now, lease_id, offloads=getattr(frame, "yield").offloads))
        elif kind == "offloaded":
            answer = frame.offloaded
            self._deliver(core.offloaded(now, lease_id, answer.number, certain=not answer.error))
            if answer.error:
                log.warning("the model of lease %s was not offloaded: %s", lease_id, answer.error[:MAX_ERROR])
        elif kind == "resume":
            self._deliver(core.resume(now, lease_id))
        elif kind == "release":
            done = frame.release
            self._deliver(
                core.release(
                    now,
                    lease_id,
                    resident_bytes=done.resident_bytes,
                    peak_seen=done.peak_bytes_seen,
                    certain=not done.error,
                )
            )
            if done.error:
                log.warning("the memory of lease %s may still be in use: %s", lease_id, done.error[:MAX_ERROR])

    def _begin(self, stream: ArbiterStream, frame: gpu_pb2.LeaseRequest, now: float) -> None:
        if self._closed:
            stream.deliver(frames.revoked("shutdown", "The GPU arbiter is stopping."))
            return
        try:
            if frame.HasField("acquire"):
                lease_id = uuid.uuid4().hex
                responses = self._core.acquire(now, lease_id, frame.acquire, local=stream.local)
            else:
                lease_id = frame.reclaim.lease_id
                responses = self._core.reclaim(now, lease_id, frame.reclaim.fencing_token, local=stream.local)
        except LeaseError as error:
            stream.deliver(frames.revoked(error.fault.reason.removeprefix("gpu-"), str(error)))
            return
        earlier = self._streams.get(lease_id)
        if earlier is not None:
            earlier.end()
        stream.lease_id = lease_id
        self._streams[lease_id] = stream
        self._deliver(responses)

    def _lose(self, stream: ArbiterStream) -> None:
        if self._streams.get(stream.lease_id) is stream:
            del self._streams[stream.lease_id]
            self._deliver(self._core.lose(self._clock(), stream.lease_id))

    def _deliver(self, responses: Frames) -> None:
        changes = self._core.take_changes()
        if self._journal is not None:  # before the frames are sent
            self._journal.write(changes, self._core.tokens, self._core.peaks)
        self.changes += 1
        self.changed.fire()
        for lease_id, frame in responses:
            stream = self._streams.get(lease_id)
            if stream is None:
                continue
            if frame.HasField("revoked"):
                del self._streams[lease_id]
            stream.deliver(frame)
        self._arm()
        self._observe_later()

    def _arm(self) -> None:
        """Sets the one timer to the core's next deadline, unless it fires before: then it is set anew."""
        deadline = self._core.next_deadline()
        if deadline is None or self._loop is None or self._closed:
            return
        at = self._loop.time() + max(deadline - self._clock(), 0.0)
        if self._timer is not None:
            if self._timer.when() <= at + TIMER_SLACK:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._tick)

    def _marks(self) -> dict[str, int]:
        return {device: memory.marks for device, memory in self._core.memory.items()}

    def _take_readings(self, readings: Mapping[str, Reading], marks: Mapping[str, int]) -> None:
        """Takes what the devices show, and reads them again after a while, as long as there are leases or models."""
        core, now = self._core, self._clock()
        for device, memory in core.memory.items():
            if device in readings:
                owners = self.owners | memory.lingering.keys()
                used, foreign = attribute(readings[device], owners, memory.declared)
                self._deliver(core.observe(now, device, used, foreign, marks[device]))
            else:
                self._deliver(core.vanish(now, device))
        self._observe_later()

    def _observe_later(self) -> None:
        if self._observer is None or self._closed or self._loop is None:
            return
        awaits = any(memory.awaits_memory for memory in self._core.memory.values())
        if not awaits and not self._streams:
            return
        seconds = QUICK_SECONDS if awaits else OBSERVE_SECONDS
        if awaits and self._marks() != self._marks_read:
            seconds = PROMPT_SECONDS
        if self._reading is not None:
            if self._reading.is_read_within(seconds):
                return
            self._reading.cancel()
        self._marks_read = self._marks()
        self._reading = _Observation(self._loop, seconds, self._observer, self._marks, self._on_readings)

    def _on_readings(self, readings: Mapping[str, Reading] | None, marks: Mapping[str, int]) -> None:
        self._reading = None
        if readings is None:
            self._observe_later()
        elif not self._closed:
            self._take_readings(readings, marks)

    def _tick(self) -> None:
        self._timer = None
        self._deliver(self._core.tick(self._clock()))


class _Observation:
    """The next reading of the devices: after some time, in a worker thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        observer: Observer,
        marks: Callable[[], Mapping[str, int]],
        on_readings: Callable[[Mapping[str, Reading] | None, Mapping[str, int]], None],
    ) -> None:
        """`marks` are those of the devices now. `on_readings` gets what they show, or None if they could not be read, and the
        marks when that began."""
        self._loop = loop
        self._observer = observer
        self._marks = marks
        self._on_readings = on_readings
        self._marks_at_begin: Mapping[str, int] = {}
        self._timer = loop.call_later(seconds, self._begin)
        self._begun = False
        self._cancelled = False

    def is_read_within(self, seconds: float) -> bool:
        """It is read in time."""
        return self._begun or self._timer.when() <= self._loop.time() + seconds

    def cancel(self) -> None:
        """Another one takes its place."""
        self._cancelled = True
        self._timer.cancel()

    def _begin(self) -> None:
        self._begun = True
        self._marks_at_begin = self._marks()
        THREADS.begin(self._read)

    def _read(self, _: object) -> Callable[[], object]:
        readings: Mapping[str, Reading] | None = None
        try:
            readings = self._observer.read()
        except Exception:
            log.exception("the memory of the GPUs could not be read")

        def deliver() -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._deliver, readings)

        return deliver

    def _deliver(self, readings: Mapping[str, Reading] | None) -> None:
        if not self._cancelled:
            self._on_readings(readings, self._marks_at_begin)


class ArbiterStream:
    """The arbiter's end of one lease stream."""

    def __init__(self, arbiter: GpuArbiter, on_frame: OnFrame, local: bool) -> None:
        self.local = local
        self.begun = False
        """Its first frame has come."""
        self.lease_id = ""
        self.is_revoked = False
        """Its lease has ended, or was refused."""
        self._arbiter = arbiter
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()

    def send(self, frame: gpu_pb2.LeaseRequest) -> None:
        """Takes a frame of the holder. Raises `ValueError` for an unexpected one."""
        self._arbiter._take(self, frame)

    def lose(self) -> None:
        """Reports that the holder has disconnected: the lease continues until its TTL ends."""
        self._arbiter._lose(self)

    def deliver(self, frame: gpu_pb2.LeaseResponse) -> None:
        """Delivers a frame to the holder."""
        self._report(frame)
        if frame.HasField("revoked"):
            self.is_revoked = True
            self.end()

    def end(self) -> None:
        """Reports to the holder that no more frames follow."""
        self._report(None)

    def _report(self, frame: gpu_pb2.LeaseResponse | None) -> None:
        if self._loop.is_closed():
            return
        if self.local:
            self._loop.call_soon(self._on_frame, frame)
        else:
            self._on_frame(frame)


_embedded: GpuArbiter | None = None
_creating = threading.Lock()


def embedded_arbiter() -> GpuArbiter:
    """The arbiter of this process, created at its first use from the devices of that time. May be called in any thread."""
    global _embedded
    with _creating:
        if _embedded is None:
            devices = find_devices()
            _embedded = GpuArbiter(devices, observer=find_observer([device.id for device in devices]))
        return _embedded
