"""The client behind `context.gpu`: requests leases, and yields them while the SDK itself waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from lanemesh._aio.signal import NOTHING
from lanemesh.gpu.devices import size_of
from lanemesh.gpu.lease import Lease
from lanemesh.gpu.links import ArbiterLink
from lanemesh.gpu.requests import WAIT_TIMEOUT
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

OnWaiting = Callable[[gpu_pb2.LeaseQueued | None], None]
"""Called with a waiter's position in the queue and the leases that it waits for; None when it no longer waits."""


class GpuClient:
    """The leases of one component, or of one firing of it. Cheap to create; it connects at the first request."""

    __slots__ = ("_asked", "_holder", "_link", "_loop", "_on_waiting", "held")

    def __init__(
        self,
        link: ArbiterLink,
        holder: gpu_pb2.LeaseHolder,
        *,
        on_waiting: OnWaiting | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`loop` is the event loop that serves synchronous bodies; the running one unless given."""
        self._link = link
        self._holder = holder
        self._on_waiting = on_waiting
        self._loop = loop or asyncio._get_running_loop()
        self._asked: set[Lease] = set()
        self.held: tuple[Lease, ...] = ()
        """The leases in use now. While there are none, the SDK need not call `waiting`."""

    def firing(self) -> GpuClient:
        """A client of the same holder for one firing: its waits yield its own leases only."""
        return GpuClient(self._link, self._holder, on_waiting=self._on_waiting, loop=self._loop)

    def lease(
        self,
        device: str = "",
        *,
        memory: int | str = 0,
        peak: int | str = 0,
        count: int = 1,
        exclusive: bool = False,
        wait_timeout: float = WAIT_TIMEOUT,
        priority: int = 0,
        preempts: bool = False,
    ) -> Lease:
        """A lease of a GPU or of a part of its memory, for `async with` (in a synchronous body: `with`).

        Args:
            device: an id such as "cuda:0"; empty: any.
            memory: bytes of each device that stay allocated while the lease is yielded, as a number or a text such as "6GiB".
                Leases with memory share a device while they fit. 0: the lease has the device for itself.
            peak: most bytes of each device in use at a time; 0: `memory`.
            count: number of devices, which are granted together or not at all.
            exclusive: no other lease on the devices, although the memory is given.
            wait_timeout: seconds to wait at most.
            priority: of several waiters the one of the highest priority is served first; a level is worth a minute of waiting.
            preempts: holders of a lower priority are asked to yield, and lose their leases after 5 seconds.

        Raises:
            ValueError: a size is no size, or negative.
        """
        request = gpu_pb2.LeaseAcquire(
            holder=self._holder,
            device=device,
            wait_timeout=duration(wait_timeout),
            priority=priority,
            count=count,
            memory_bytes=size_of(memory),
            peak_bytes=size_of(peak),
            exclusive=exclusive,
            preempts=preempts,
        )
        return Lease(self._link, request, self, self._loop)

    def abandon_waits(self) -> None:
        """Ends every wait for a lease, for the sake of synchronous bodies, which cancellation does not reach."""
        for lease in list(self._asked):
            lease.abandon()

    def waiting(self) -> AbstractAsyncContextManager[None]:
        """Wraps each wait of the SDK for user code: an emit, a wait for input, a control call.

        When the wait lasts over 50 ms and others want a device held here, that lease is yielded; leaving the context takes it again
        before user code continues, which may raise `LeaseTimeout` or `LeaseLost`. Costs nothing while no lease is held. Only leases
        of the task that waits are yielded: another task may be computing under its own.
        """
        if not self.held:
            return NOTHING
        task = asyncio.current_task()
        leases = [lease for lease in self.held if lease.waits_in(task)]
        return _Waiting(sorted(leases, key=lambda lease: lease.device.id)) if leases else NOTHING

    def on_queued(self, queued: gpu_pb2.LeaseQueued | None) -> None:
        """Called by leases; see `Scope`."""
        if self._on_waiting is not None:
            self._on_waiting(queued)

    def on_asked(self, lease: Lease) -> None:
        """Called by leases; see `Scope`."""
        self._asked.add(lease)

    def on_held(self, lease: Lease) -> None:
        """Called by leases; see `Scope`."""
        self._asked.discard(lease)
        self.held = (*self.held, lease)

    def on_ended(self, lease: Lease) -> None:
        """Called by leases; see `Scope`."""
        self._asked.discard(lease)
        self.held = tuple(other for other in self.held if other is not lease)


class _Waiting:
    """One wait under leases that may be yielded. They are taken again in the order of their devices: no deadlock."""

    __slots__ = ("_leases",)

    def __init__(self, leases: list[Lease]) -> None:
        self._leases = leases

    async def __aenter__(self) -> None:
        for lease in self._leases:
            lease.begin_wait()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lease in self._leases:
            lease.end_wait()
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            return  # User code cleans up next, and the lease's own exit releases it.
        for lease in self._leases:
            await lease.resume()
