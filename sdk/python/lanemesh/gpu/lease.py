"""A lease for user code: a context manager that yields while the SDK itself waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast

from lanemesh._aio.threads import THREADS
from lanemesh.gpu.devices import size_of, size_text
from lanemesh.gpu.errors import lease_error
from lanemesh.gpu.links import ArbiterLink
from lanemesh.gpu.memory_use import begin_peak, free_cache, peak_since
from lanemesh.gpu.models import LoadedModel, ModelHooks, Unload
from lanemesh.gpu.session import LeaseSession, Phase
from lanemesh.v1 import gpu_pb2

T = TypeVar("T")

YIELD_AFTER = 0.05
"""Seconds that a wait of the SDK must last before a lease that others want is yielded."""
RELEASE_TIMEOUT = 2.0
"""Maximum wait in seconds for the arbiter's response to a release, which is sent in any case."""


class Scope(Protocol):
    """The observer that counts the leases in use."""

    @property
    def settings(self) -> str:
        """The node type with its config that the leases are for; empty: none."""

    def on_queued(self, lease: Lease, queued: gpu_pb2.LeaseQueued | None) -> None:
        """A lease waits at a place in the queue; None: no more."""

    def on_learned(self, text: str) -> None:
        """The arbiter grants more than was requested, for the reason in the text."""

    def on_asked(self, lease: Lease) -> None:
        """A lease is requested."""

    def on_held(self, lease: Lease) -> None:
        """A lease is in use from now on."""

    def on_ended(self, lease: Lease) -> None:
        """A lease is no longer in use or requested."""


class Lease:
    """The right to use a GPU, or a part of its memory, or several GPUs. Created by `GpuClient.lease`; used once.

    `async with` in async code; a plain `with` in a synchronous body, which runs in a worker thread. Entering raises
    `LeaseTimeout`, `NoSuchDevice` or `ArbiterUnreachable`; leaving raises `LeaseLost` if the lease did not last.
    """

    def __init__(
        self, link: ArbiterLink, request: gpu_pb2.LeaseAcquire, scope: Scope, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self._link = link
        self._request = request
        self._scope = scope
        self._loop = loop
        self._session: LeaseSession | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._pins = 0
        self._overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self._model: LoadedModel | None = None
        self._peak_seen = 0
        self._used_until: asyncio.Event | None = None

    @property
    def device(self) -> gpu_pb2.Device:
        """The device: `lease.device.id` is such as "cuda:0". Empty until granted; a lease keeps it through yields."""
        return self._session.granted.device if self._session else gpu_pb2.Device()

    @property
    def devices(self) -> tuple[gpu_pb2.Device, ...]:
        """All devices of a lease of several; empty until granted."""
        return tuple(share.device for share in self._session.granted.shares) if self._session else ()

    @property
    def fencing_token(self) -> int:
        """Grows with every grant of the device, so also when the lease is taken again after a yield. 0 at first."""
        return self._session.granted.fencing_token if self._session else 0

    @property
    def valid(self) -> bool:
        """The device is certainly this holder's. Turns False before the arbiter can give it to anyone else."""
        return self._session is not None and self._session.valid

    @property
    def memory_bytes(self) -> int:
        """Bytes of the device that may be in use at a time: what was requested, or what earlier leases for the model had, if that
        is more. 0: all of the device."""
        return self._session.granted.shares[0].memory_bytes if self._session and self._session.granted.shares else 0

    def check(self) -> None:
        """Raises `LeaseLost` unless the device is certainly this holder's. To be called before work that others must not meet."""
        if self._session is None or not self._session.valid:
            session = self._session
            if session is not None and session.error is not None:
                raise session.error
            raise lease_error(
                "expired", "The lease of the GPU is not held now: it was not entered, has ended or expired."
            )

    def report_use(self, size: int) -> None:
        """Reports the bytes of the device that are in use. The most that were reported are what later leases for the model get, if
        it is more than they request. On CUDA, the peak of PyTorch is reported without it if the process had no other lease of the
        device."""
        self._peak_seen = max(self._peak_seen, size)

    async def keep(
        self,
        load: Callable[[], Awaitable[T] | T],
        unload: Unload | None = None,
        *,
        size: int | str = 0,
        offload: Unload | None = None,
        restore: Unload | None = None,
    ) -> T:
        """The model of the lease, which stays loaded afterwards until others need its memory.

        Args:
            load: loads it on `device`, if it is not loaded there; async, or plain, which then runs in a worker thread.
            unload: frees its memory, when the arbiter asks for that: at most 20 seconds, and not while a lease uses the model. Drop
                all references to the model when the lease ends, or it cannot be freed.
            size: bytes that it has, if they are not the `memory` of the lease.
            offload: moves it to host memory while its leases have yielded and others need the memory of the device: at most 20
                seconds. The model stays the same object.
            restore: moves it back to `device`, before the user of the lease goes on.

        Returns:
            The result of `load`, by this lease or an earlier one.

        Raises:
            RuntimeError: the lease has no `model`, has several devices, or keeps another one already; or there is only one of
                `offload` and `restore`.
            LeaseLost: the lease has been lost.
            Exception: raised by `load`.
        """
        if not self._request.model or self._request.count > 1:
            raise RuntimeError(
                "Only a lease with a model, of one device, keeps one: context.gpu.lease(memory=, model=)."
            )
        if (offload is None) is not (restore is None):
            raise RuntimeError(
                "A model that is offloaded is restored: pass both offload= and restore= to lease.keep, or none."
            )
        self.check()
        if self._model is None:
            store, kept = self._link.models, size_of(size) or self._request.memory_bytes
            hooks, settings = ModelHooks(load, unload, offload, restore), self._scope.settings
            self._model = await store.acquire(self, self._request.model, self.device.id, kept, hooks, settings=settings)
        return cast("T", self._model.loading.result())

    def keep_sync(
        self,
        load: Callable[[], T],
        unload: Unload | None = None,
        *,
        size: int | str = 0,
        offload: Unload | None = None,
        restore: Unload | None = None,
    ) -> T:
        """`keep` in a synchronous body."""
        return self._from_thread(self.keep(load, unload, size=size, offload=offload, restore=restore))

    def again(self) -> gpu_pb2.LeaseAcquire:
        """The request for a second attempt after out of memory: for the device that it had, alone there, and without other idle
        models."""
        again = gpu_pb2.LeaseAcquire()
        again.CopyFrom(self._request)
        again.exclusive = again.evicts = True
        if again.count <= 1:
            again.device = self.device.id
        return again

    @property
    def is_second(self) -> bool:
        """It is for a second attempt after out of memory."""
        return self._request.evicts

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """Inside of it the lease is not yielded, even if the SDK waits long and others request the device."""
        self._pins += 1
        try:
            yield
        finally:
            self._pins -= 1

    async def __aenter__(self) -> Self:
        await self._acquire()
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._used_until is None or self._used_until.is_set():
            await self._release(check=error is None)
        else:
            self._scope.on_ended(self)
            self._link.models.continue_beyond(self._release_when_unused(self._used_until))

    def used_until(self, ended: asyncio.Event) -> None:
        """Its user was cancelled and goes on in a thread until this event: the lease is released then, not when it is left."""
        self._used_until = ended

    async def _release_when_unused(self, ended: asyncio.Event) -> None:
        await ended.wait()
        await self._release(check=False)

    @asynccontextmanager
    async def leaving(self) -> AsyncIterator[None]:
        """Leaves a lease that was entered by itself."""
        try:
            yield
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        await self.__aexit__(None, None, None)

    def __enter__(self) -> Self:
        self._from_thread(self._acquire())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._from_thread(self._release(check=error is None))

    # For the client

    def waits_in(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether a wait in this task is one of the lease's user, which then does not compute."""
        return self._owner is None or self._owner is task or self._owner.done()

    def begin_wait(self) -> None:
        """The SDK waits for something else from now on: past 50 ms the lease is yielded if others want the device."""
        self.end_wait()
        if self._session is not None and self._session.phase is Phase.HELD:
            self._timer = asyncio.get_running_loop().call_later(YIELD_AFTER, self._on_overdue)

    def end_wait(self) -> None:
        """Ends a wait of the SDK. A yielded lease needs `resume` before its user continues."""
        self._overdue = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def resume(self) -> None:
        """Takes a yielded device again, ahead of newcomers, under a new token, and its model back from host memory. Raises
        `LeaseTimeout`, `LeaseLost`, or a `LeaseError` if the model could not be offloaded or restored."""
        session = self._session
        if session is None:
            return
        if session.phase is Phase.YIELDED:
            session.resume()
        if session.phase is Phase.RESUMING:
            await session.until_held()
        elif session.error is not None:
            raise session.error
        if self._model is not None:
            await self._link.models.return_to(self, self._model)

    def abandon(self) -> None:
        """Ends a wait to enter, which raises a `LeaseError`. A lease in use stays so: only its holder releases it."""
        if self._session is not None and self._session.phase is Phase.ASKED:
            self._session.end()

    async def _acquire(self) -> None:
        if self._session is not None:
            raise RuntimeError("A lease can be used once; create another one with gpu.lease().")
        self._session = LeaseSession(
            self._link,
            self._request,
            on_queued=lambda queued: self._scope.on_queued(self, queued),
            on_wanted=self._yield_if_wanted,
            on_offload=self._offload,
        )
        self._scope.on_asked(self)
        try:
            self._session.ask()
            await self._session.until_held()
        except BaseException:
            self._session.end()
            self._scope.on_ended(self)
            raise
        self._scope.on_held(self)
        self._link.models.begin_use(self)
        for device in self.devices:
            begin_peak(device.id)
        asked = max(self._request.peak_bytes, self._request.memory_bytes)
        if asked and self.memory_bytes > asked:
            self._scope.on_learned(
                f'requested {size_text(asked)} of {self.device.id} for the model "{self._request.model}" and got '
                f"{size_text(self.memory_bytes)}, which earlier leases for it had; declare that as peak"
            )

    async def _release(self, *, check: bool) -> None:
        session = self._session
        if session is None:
            return
        lost = session.error
        if lost is None and session.phase is Phase.HELD and not session.valid:
            lost = session.lost("the arbiter has not confirmed it in time")
        self.end_wait()
        self._scope.on_ended(self)
        if self._link.models.end_use(self):
            for device in self.devices:
                self.report_use(peak_since(device.id))
        try:
            for device in self.devices:
                if device.id.startswith("cuda:"):
                    await THREADS.call(free_cache, device.id)
        finally:
            if self._model is not None:
                self._link.models.release(self, self._model, session, peak_seen=self._peak_seen)
                self._model = None
            else:
                session.end(peak_seen=self._peak_seen)
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await session.until_stream_over()
        if check and lost is not None:
            raise lost

    def _on_overdue(self) -> None:
        self._overdue = True
        self._yield_if_wanted()

    def _yield_if_wanted(self) -> None:
        session = self._session
        if self._overdue and not self._pins and session is not None and session.wanted and session.phase is Phase.HELD:
            for device in self.devices:
                free_cache(device.id)  # its user waits, so the device has nothing to finish
            session.pause(offloads=self._model is not None and self._link.models.leave_for_now(self, self._model))

    def _offload(self, number: int) -> None:
        if self._session is not None and self._model is not None:
            self._link.models.offload(self._model, number, self._session.offloaded)

    def _from_thread(self, step: Coroutine[Any, Any, T]) -> T:
        if self._loop is None or asyncio._get_running_loop() is not None:
            step.close()
            raise RuntimeError("Write `async with context.gpu.lease()` here; a plain `with` is for synchronous bodies.")
        return asyncio.run_coroutine_threadsafe(step, self._loop).result()
