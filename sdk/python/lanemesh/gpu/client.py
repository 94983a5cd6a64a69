"""The client behind `context.gpu`: requests leases, and yields them while the SDK itself waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from lanemesh._aio.signal import NOTHING
from lanemesh.faults import Fault
from lanemesh.gpu.devices import size_of, size_text
from lanemesh.gpu.errors import lease_error
from lanemesh.gpu.lease import Lease
from lanemesh.gpu.links import ArbiterLink
from lanemesh.gpu.memory import RELOAD_SECONDS
from lanemesh.gpu.memory_use import free_cache, is_out_of_memory
from lanemesh.gpu.requests import WAIT_TIMEOUT
from lanemesh.rendering import text_of
from lanemesh.times import duration
from lanemesh.v1 import gpu_pb2

T = TypeVar("T")

OnWaiting = Callable[[gpu_pb2.LeaseQueued | None], None]
"""Called with a waiter's position in the queue and the leases that it waits for; None when it no longer waits."""
log = logging.getLogger("lanemesh.gpu")

Warn = Callable[[str], object]
"""Logs a line for the users of the component."""


class GpuClient:
    """The leases of one component, or of one firing of it. Cheap to create; it connects at the first request."""

    __slots__ = ("_asked", "_holder", "_link", "_loop", "_on_waiting", "_queued", "_warn", "held", "settings")

    def __init__(
        self,
        link: ArbiterLink,
        holder: gpu_pb2.LeaseHolder,
        *,
        on_waiting: OnWaiting | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        warn: Warn | None = None,
        settings: str = "",
    ) -> None:
        """`on_waiting` gets the foremost position of the leases that wait. `loop` is the event loop that serves synchronous bodies;
        the running one unless given. `settings` is the digest of the component's node type and config; empty: unknown."""
        self._link = link
        self._holder = holder
        self._on_waiting = on_waiting
        self._loop = loop or asyncio._get_running_loop()
        self._warn = warn
        self.settings = settings
        """The node type with its config that uses the models of the leases."""
        self._asked: set[Lease] = set()
        self._queued: dict[Lease, gpu_pb2.LeaseQueued] = {}
        self.held: tuple[Lease, ...] = ()
        """The leases in use now. While there are none, the SDK need not call `waiting`."""

    def firing(self) -> GpuClient:
        """A client of the same holder for one firing: its waits yield its own leases only."""
        return GpuClient(
            self._link,
            self._holder,
            on_waiting=self._on_waiting,
            loop=self._loop,
            warn=self._warn,
            settings=self.settings,
        )

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
        model: str = "",
        reload_seconds: float = RELOAD_SECONDS,
        purpose: str = "",
        evicts: bool = False,
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
            model: the model that has the `memory`: `lease.keep` keeps it loaded. The name is unique in this process.
            reload_seconds: how long it takes to load the model again. Of idle models, a large one that loads quickly and was not
                used for long is unloaded first.
            purpose: what it is for, in a few words, for `lanemesh gpu status`.
            evicts: all other idle models of the device are unloaded first.

        Raises:
            ValueError: a size is no size, or negative; or there is a model without memory.
        """
        if model and not memory:
            raise ValueError(
                f'the lease for the model "{model}" needs its memory: lease(model="{model}", memory="6GiB")'
            )
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
            model=model,
            owner=self._link.models.owner,
            reload_time=duration(reload_seconds),
            purpose=purpose,
            evicts=evicts,
        )
        return Lease(self._link, request, self, self._loop)

    async def attempt(self, work: Callable[[Lease], Awaitable[T]], device: str = "", **request: Any) -> T:
        """Work under a lease, once more if the device runs out of memory.

        The second attempt has the device alone, after all other idle models were unloaded from it.

        Args:
            work: gets the lease; it must be repeatable.
            device: as in `lease`.
            request: as in `lease`.

        Returns:
            The result of the work.

        Raises:
            GpuOutOfMemory: the second attempt ran out of memory as well.
            LeaseError: a lease was not granted, or was lost.
            Exception: raised by the work.
        """
        lease = self.lease(device, **request)
        while True:
            try:
                async with lease:
                    return await work(lease)
            except Exception as error:
                lease = self.again(lease, error)

    def again(self, lease: Lease, error: Exception) -> Lease:
        """The lease for a second attempt of work whose first one ran out of memory.

        Raises:
            GpuOutOfMemory: it was the second attempt.
            Exception: the error itself, if it is another one.
        """
        if not is_out_of_memory(error) or not lease.device.id:
            raise error
        # Its frames refer to memory of the device. They are not cleared: others may wait for the same load, and their frames are
        # in the traceback of the one error as well.
        error.__traceback__ = None
        where, had = lease.device, size_text(lease.memory_bytes) if lease.memory_bytes else "all of it"
        if lease.is_second:
            message = (
                f"GPU {where.id} ({size_text(where.memory_bytes)}) ran out of memory twice, the second time with no other "
                f"lease and no other idle model there: {text_of(error)}. The lease was of {had}. Use a larger device, or a smaller "
                "model or input; `lanemesh gpu status` shows what other processes have."
            )
            raise lease_error("out-of-memory", message, device=where.id) from None
        free_cache(where.id)
        self._warn_of(
            f"ran out of memory of {where.id} with a lease of {had} ({Fault.from_exception(error).message}). Other idle models are "
            "unloaded, and it is tried once more alone on the device"
        )
        return Lease(self._link, lease.again(), self, self._loop)

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

    def on_queued(self, lease: Lease, queued: gpu_pb2.LeaseQueued | None) -> None:
        """Called by leases; see `Scope`."""
        if queued is not None:
            self._queued[lease] = queued
        elif self._queued.pop(lease, None) is None:
            return
        if self._on_waiting is not None:
            self._on_waiting(min(self._queued.values(), key=lambda each: each.position, default=None))

    def on_learned(self, text: str) -> None:
        """Called by leases; see `Scope`."""
        self._warn_of(text)

    def _warn_of(self, text: str) -> None:
        if self._warn is not None:
            self._warn(text)
        else:
            log.warning("%s: %s", self._holder.component or "a GPU lease", text)

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
