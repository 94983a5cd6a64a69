"""The holder's side of the lease protocol, whatever becomes of the stream below: asking, fencing, yielding, reclaiming.

A remote holder trusts a lease only as far as the arbiter has confirmed it: until the TTL after the *sending* of the
latest frame that was answered, a request or a keepalive. The arbiter counts the TTL from that frame's arrival or later, so
the holder fences itself before anyone else can be granted the device. A grant that comes a third of the TTL or more after
its request is usable once a keepalive sent after it was answered: it may have been under way for any time.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from lanemesh._aio.backoff import Backoff
from lanemesh._aio.signal import Signal
from lanemesh.gpu import frames
from lanemesh.gpu.errors import LeaseError, lease_error
from lanemesh.times import duration, seconds_of, span
from lanemesh.v1 import gpu_pb2

if TYPE_CHECKING:
    from lanemesh.gpu.links import ArbiterLink, LeaseStream

UNREACHABLE_AFTER = 10.0
"""Seconds without a response after which a first request fails."""
WAIT_GRACE = 10.0
"""Seconds after the wait time-out when the client stops waiting for the arbiter to end the wait."""
RETRY_SECONDS = (0.05, 2.0)
"""Bounds of the first pause and of every pause before a lost stream is opened again."""


class Phase(Enum):
    """Where a lease is in its life, as its holder sees it."""

    NEW = "new"
    ASKED = "asked"
    HELD = "held"
    YIELDED = "yielded"
    RESUMING = "resuming"
    KEPT = "kept"
    """The lease has ended, and the stream goes on for the model that stays loaded."""
    ENDED = "ended"


class LeaseSession:
    """One lease from the request to its end, over as many streams as it takes. One event loop; only `until_*` wait."""

    def __init__(
        self,
        link: ArbiterLink,
        request: gpu_pb2.LeaseAcquire,
        *,
        on_queued: Callable[[gpu_pb2.LeaseQueued | None], None],
        on_wanted: Callable[[], None],
        on_offload: Callable[[int], None],
    ) -> None:
        """`on_queued` gets a position in the queue, and None when it no longer waits; `on_wanted` is called when others want the
        devices; `on_offload` when the model of a yielded lease shall be offloaded, with the number for `offloaded`, perhaps
        several times."""
        self.phase = Phase.NEW
        self.granted = gpu_pb2.LeaseGranted()
        self.wanted = 0
        self.error: LeaseError | None = None
        self._link = link
        self._request = request
        self._on_queued = on_queued
        self._on_wanted = on_wanted
        self._on_offload = on_offload
        self._yield = frames.YIELD
        """The frame of the latest yield."""
        self._on_unload: Callable[[], None] = _nothing
        self._on_over: Callable[[], None] = _nothing
        self._kept: gpu_pb2.LeaseRelease | None = None
        """The release with which the model was left loaded, until the arbiter has answered it."""
        self._owed: gpu_pb2.LeaseRequest | None = None
        """The last release, until the arbiter has answered it: it is sent again if its stream is lost."""
        self._loop = asyncio.get_running_loop()
        self._wait_timeout = seconds_of(request.wait_timeout)
        self._asked_at = self._loop.time()
        self._queued: gpu_pb2.LeaseQueued | None = None
        self._changed = Signal()
        # The stream, and its state.
        self._stream: LeaseStream | None = None
        self._reclaiming = False
        self._heard = False
        self._lost_since: float | None = None
        self._backoff = Backoff(*RETRY_SECONDS)
        self._retry: asyncio.TimerHandle | None = None
        # The fence: the send times of unanswered keepalives, and the validity that the responses prove.
        self._unanswered: deque[float] = deque()
        self._requested_at = -math.inf
        """When the latest request was sent: for the lease, to continue it, or to resume."""
        self._valid_until = -math.inf
        self._beat: asyncio.TimerHandle | None = None

    @property
    def valid(self) -> bool:
        """The device is certainly this holder's. May be read in any thread."""
        return self.phase is Phase.HELD and self._loop.time() < self._valid_until

    # Calls of the holder

    def ask(self) -> None:
        """Requests the lease."""
        self.phase = Phase.ASKED
        self._open()

    def pause(self, *, offloads: bool = False) -> None:
        """Yields the device. `offloads`: the model can be offloaded meanwhile."""
        self.phase, self._yield = Phase.YIELDED, frames.YIELD_AND_OFFLOAD if offloads else frames.YIELD
        self._unanswered.clear()
        self._stop_beat()
        self._send(self._yield)

    def offloaded(self, number: int, error: str = "") -> None:
        """Reports that the model was offloaded, as the request with this number asked, or why that has failed."""
        if self.phase in (Phase.YIELDED, Phase.RESUMING):
            self._send(frames.offloaded(number, error))

    def resume(self) -> None:
        """Requests a yielded device again."""
        self._asked_at = self._loop.time()
        self._resume()

    def end(self, *, peak_seen: int = 0, error: str = "") -> None:
        """Releases whatever there is, at once and without waiting.

        Args:
            peak_seen: most bytes that were in use on a device; 0: unknown.
            error: why memory may still be in use; empty: it is not.
        """
        if self.phase not in (Phase.NEW, Phase.ENDED):
            release = gpu_pb2.LeaseRequest(release=gpu_pb2.LeaseRelease(peak_bytes_seen=peak_seen, error=error))
            if self.granted.lease_id:
                self._owed = release
            self._send(release)
            self._end()

    def keep(
        self, resident_bytes: int, *, peak_seen: int, on_unload: Callable[[], None], on_over: Callable[[], None]
    ) -> None:
        """Releases a lease whose model stays loaded with these bytes. The stream goes on for the model, unless another one does.

        Args:
            resident_bytes: bytes of the model on each device, above 0.
            peak_seen: most bytes that were in use on a device; 0: unknown.
            on_unload: called when the model shall be unloaded, perhaps several times; `end` reports that it is.
            on_over: called once when the stream does not go on, or no more.
        """
        self._stop_beat()
        self.phase, self._on_unload, self._on_over = Phase.KEPT, on_unload, on_over
        self._kept = gpu_pb2.LeaseRelease(resident_bytes=resident_bytes, peak_bytes_seen=peak_seen)
        self._send(gpu_pb2.LeaseRequest(release=self._kept))
        if self._stream is None and self._retry is None:
            self._end()

    async def until_held(self) -> None:
        """Waits for the device. Raises a `LeaseError` if it is not granted."""
        try:
            async with asyncio.timeout_at(self._asked_at + self._wait_timeout + WAIT_GRACE):
                while self.phase in (Phase.ASKED, Phase.RESUMING):
                    await self._changed.wait()
        except TimeoutError:
            blockers = frames.leases_text(self._queued.holders if self._queued else ())
            waited = span(self._loop.time() - self._asked_at)
            message = f"Waited {waited} for a GPU, and its arbiter {self._link.where} does not respond. Last report: {blockers}."
            raise lease_error("wait-timeout", message) from None
        finally:
            self._on_queued(None)
        if self.error is not None:
            raise self.error
        if self.phase is Phase.ENDED:
            raise lease_error("cancelled", "The wait for a GPU was cancelled.")

    async def until_stream_over(self) -> None:
        """Waits until the arbiter has answered the end, or that the stream goes on for the model."""
        while self._stream is not None and (self.phase is not Phase.KEPT or self._kept is not None):
            await self._changed.wait()

    # Frames of the arbiter

    def _on_frame(self, stream: LeaseStream, frame: gpu_pb2.LeaseResponse | None) -> None:
        if stream is not self._stream:
            return
        if frame is None:
            self._on_stream_over(stream.lost_because)
            return
        if self.phase is Phase.ENDED:
            if frame.HasField("revoked"):
                self._owed = None
            return
        self._heard, self._lost_since = True, None
        self._backoff.reset()
        kind = frame.WhichOneof("frame")
        if kind == "granted":
            self._on_granted(frame.granted)
        elif kind == "queued":
            self._reclaiming, self._queued = False, frame.queued
            self._on_queued(frame.queued)
        elif kind == "wanted":
            self.wanted = frame.wanted.waiting
            self._on_wanted()
        elif kind == "kept":
            self._kept, self._reclaiming = None, False
            self._changed.fire()
        elif kind == "unload":
            self._on_unload()
        elif kind == "yielded" and self._reclaiming:
            self._reclaiming = False
            if self.phase is Phase.KEPT and self._kept is not None:
                self._send(gpu_pb2.LeaseRequest(release=self._kept))
            else:
                if self._yield is frames.YIELD_AND_OFFLOAD:  # An arbiter that was started again does not know that.
                    self._send(self._yield)
                if self.phase is not Phase.YIELDED:  # A resume was lost with the stream before this one.
                    self._resume()
        elif kind == "offload":
            self._on_offload(frame.offload.number)
        elif kind == "revoked":
            device = self.granted.device.id or self._request.device
            self._fail(lease_error(frame.revoked.reason, frame.revoked.message, device=device))

    def _resume(self) -> None:
        self.phase, self._requested_at = Phase.RESUMING, self._loop.time()
        self._send(frames.RESUME)

    def _on_granted(self, granted: gpu_pb2.LeaseGranted) -> None:
        reclaimed, self._reclaiming = self._reclaiming, False
        anew, self.granted = granted.fencing_token != self.granted.fencing_token, granted
        if self.phase is Phase.KEPT:
            if reclaimed and self._kept is not None:  # The release was lost with the stream before this one.
                self._send(gpu_pb2.LeaseRequest(release=self._kept))
        elif self.phase is Phase.YIELDED:
            if reclaimed:  # The yield was lost with the stream before this one.
                self._send(self._yield)
        elif anew and self._stream is not None and self._stream.local:
            self._confirm(math.inf)
        elif anew:
            self._unanswered.clear()
            ttl = seconds_of(granted.ttl)
            if self._loop.time() - self._requested_at < ttl / 3:
                self._schedule_beat()
                self._confirm(self._requested_at + ttl)
            else:
                self._keep_alive()
        elif self._unanswered:
            self._confirm(self._unanswered.popleft() + seconds_of(granted.ttl))
            if self._beat is None:
                self._schedule_beat()

    def _confirm(self, valid_until: float) -> None:
        self._valid_until = valid_until
        if self.phase is not Phase.HELD:
            self.phase, self._queued = Phase.HELD, None
            self._changed.fire()

    def _keep_alive(self) -> None:
        self._unanswered.append(self._loop.time())
        self._send(frames.KEEPALIVE)
        self._schedule_beat()

    def _schedule_beat(self) -> None:
        self._stop_beat()
        self._beat = self._loop.call_later(max(seconds_of(self.granted.ttl) / 3, 0.01), self._keep_alive)

    def _stop_beat(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
            self._beat = None

    # The stream

    def _open(self) -> None:
        """Opens a stream and requests a new lease, or continues the existing one."""
        self._retry, self.wanted, self._reclaiming = None, 0, bool(self.granted.lease_id)
        self._unanswered.clear()
        self._requested_at = self._loop.time()
        # Each stream has a callback of its own, so that late frames of an earlier stream are not attributed to the current one.
        opened: list[LeaseStream] = []
        self._stream = self._link.open(lambda frame: self._on_frame(opened[0], frame))
        opened.append(self._stream)
        if self._reclaiming:
            reclaim = gpu_pb2.LeaseReclaim(lease_id=self.granted.lease_id, fencing_token=self.granted.fencing_token)
            self._unanswered.append(self._requested_at)
            self._stream.send(gpu_pb2.LeaseRequest(reclaim=reclaim))
            if self._owed is not None:
                self._stream.send(self._owed)
                self._stream.close()
            return
        remaining = self._asked_at + self._wait_timeout - self._loop.time()
        self._request.wait_timeout.CopyFrom(duration(remaining))
        self._stream.send(gpu_pb2.LeaseRequest(acquire=self._request))

    def _send(self, frame: gpu_pb2.LeaseRequest) -> None:
        if self._stream is not None:
            self._stream.send(frame)

    def _on_stream_over(self, why: str) -> None:
        self._stream = None
        self._stop_beat()
        self._changed.fire()
        if self.phase is Phase.ENDED and self._owed is None:
            return
        now = self._loop.time()
        self._lost_since = now if self._lost_since is None else self._lost_since
        give_up_at, error = self._patience(self._lost_since, why)
        if now >= give_up_at or (self.phase is Phase.ENDED and self._link.is_closed):
            self._owed = None  # the lease ends by its TTL
            if self.phase is not Phase.ENDED:
                self._fail(error)
            return
        pause = self._backoff.next()
        self._retry = self._loop.call_at(min(now + pause, give_up_at), self._open)

    def _patience(self, lost_since: float, why: str) -> tuple[float, LeaseError]:
        """Until when a lost stream is tried anew, and the error after that."""
        cannot = f"the GPU arbiter {self._link.where} cannot be reached ({why})"
        if self.granted.lease_id:
            return lost_since + seconds_of(self.granted.ttl), self.lost(cannot)
        until = self._asked_at + (self._wait_timeout if self._heard else min(UNREACHABLE_AFTER, self._wait_timeout))
        message = f"No GPU could be leased: {cannot}. Is it running? `lanemesh gpu serve` starts one."
        return until, lease_error("arbiter-unreachable", message)

    def lost(self, why: str) -> LeaseError:
        """The error that the lease was lost."""
        device = self.granted.device.id
        message = (
            f"The lease of GPU {device} was lost: {why}. Work since then may have shared the GPU with another holder."
        )
        return lease_error("expired", message, device=device)

    def _fail(self, error: LeaseError) -> None:
        self.error, self._owed = error, None
        self._end()

    def _end(self) -> None:
        self.phase = Phase.ENDED
        self._stop_beat()
        if self._retry is not None and self._owed is None:
            self._retry.cancel()
        if self._stream is not None:
            self._stream.close()
        self._changed.fire()
        self._on_over()


def _nothing() -> None:
    """The callback of a stream that does not go on for a model."""
