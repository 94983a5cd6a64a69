"""The models that a process keeps loaded on devices after its leases, until the arbiter asks for their memory.

A model is loaded once per device and shared by the leases for it. It is unloaded when the arbiter asks for it, or when no stream
goes on for it. A lease that wants it meanwhile waits until it is unloaded, and loads it again.

While all leases that use it have yielded, the arbiter may ask to offload it to host memory. The first of them that comes back, or a
new one, restores it. If that fails, or the offloading does, it is used no more, and unloaded.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from lanemesh._aio.signal import Signal
from lanemesh._aio.tasks import abandon
from lanemesh._aio.threads import THREADS
from lanemesh._aio.user_errors import failure_of
from lanemesh.faults import Fault
from lanemesh.gpu.errors import LeaseError, lease_error
from lanemesh.gpu.memory_use import free_cache
from lanemesh.model_users import MAX_SETTINGS

UNLOAD_TIMEOUT = 20.0
"""Seconds that the unloading or offloading of a model may take before it is abandoned. The arbiter chooses others after 30 s."""

log = logging.getLogger("lanemesh.gpu")

Unload = Callable[[Any], Awaitable[None] | None]
"""Frees the memory of a model, or moves it. A plain function runs in a worker thread."""


class Keeper(Protocol):
    """The holder's side of a lease, whose stream goes on for a model: see `LeaseSession`."""

    @property
    def valid(self) -> bool:
        """The device is certainly the holder's."""

    def end(self, *, peak_seen: int = 0, error: str = "") -> None:
        """Ends the lease, or reports that the model has been unloaded."""

    def keep(
        self, resident_bytes: int, *, peak_seen: int, on_unload: Callable[[], None], on_over: Callable[[], None]
    ) -> None:
        """Ends the lease, and goes on for its model."""


@dataclass(frozen=True, slots=True)
class ModelHooks:
    """What loads and moves a model. A plain function runs in a worker thread."""

    load: Callable[[], Any]
    unload: Unload | None = None
    offload: Unload | None = None
    """Moves it to host memory; there is a `restore` then."""
    restore: Unload | None = None


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model on a device, from the beginning of its load to the end of its unloading."""

    name: str
    device: str
    size: int
    """Bytes."""
    hooks: ModelHooks
    loading: asyncio.Task[Any]
    users: set[object] = field(default_factory=set)
    """The leases that use it."""
    keepers: set[Keeper] = field(default_factory=set)
    """The streams that go on for it: one, or two while the arbiter decides."""
    leaving: bool = False
    """It is unloaded as soon as no lease uses it."""
    settings: set[str] = field(default_factory=set)
    """The node types with their configs that use it, see `settings_digest`; at most 64."""
    unloading: asyncio.Task[None] | None = None
    away: set[object] = field(default_factory=set)
    """The leases that use it and have yielded."""
    offloading: asyncio.Task[None] | None = None
    """Moves it to host memory, or has done so."""
    restoring: asyncio.Task[None] | None = None
    """Moves it back."""
    broken: str = ""
    """Why it was not offloaded or restored, in words: it is used no more."""
    changed: Signal = field(default_factory=Signal)

    @property
    def is_loaded(self) -> bool:
        """Its load has succeeded."""
        return self.loading.done() and not self.loading.cancelled() and self.loading.exception() is None


class ModelStore:
    """The models of one process at one arbiter."""

    def __init__(self) -> None:
        self.owner = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        """The name of the process at the arbiter, which begins with its id."""
        self._models: dict[tuple[str, str], LoadedModel] = {}
        self._releases: set[asyncio.Task[None]] = set()
        """Leases whose users were cancelled and go on."""
        self._alone: dict[object, bool] = {}
        """The leases in use, and whether each was the only one since it began."""
        self.failed_unloads: list[str] = []
        """The latest failures to unload, in words."""
        self.on_change: Callable[[], object] = _nothing
        """Called when a model was loaded or is unloaded, and when the use of devices has changed."""

    def begin_use(self, user: object) -> None:
        """A lease is in use from now on."""
        self._alone = dict.fromkeys(self._alone, False) | {user: not self._alone}
        self.on_change()

    def end_use(self, user: object) -> bool:
        """A lease is no longer in use. Returns whether this process had no other one since it began."""
        was_alone = self._alone.pop(user, False)
        self.on_change()
        return was_alone

    @property
    def loaded(self) -> list[LoadedModel]:
        """The models that are loaded."""
        return [model for model in self._models.values() if model.is_loaded and not model.leaving]

    async def acquire(
        self, user: object, name: str, device: str, size: int, hooks: ModelHooks, *, settings: str = ""
    ) -> LoadedModel:
        """The model for a lease, loaded by it or by an earlier one, and on its device.

        `settings` is the node type with its config that uses it; empty: none. Raises what `load` or `restore` raises.
        """
        while (model := self._models.get((name, device))) is not None and model.leaving:
            if model.broken and model.users:  # they may wait for this lease to end
                raise _broken(model)
            await model.changed.wait()
        if model is None:
            loading = asyncio.ensure_future(_called(hooks.load))
            model = self._models[name, device] = LoadedModel(name, device, size, hooks, loading)
        model.users.add(user)
        try:
            await asyncio.shield(model.loading)
            await self.return_to(user, model)
        except BaseException:
            self._leave(model, user)
            raise
        if settings and len(model.settings) < MAX_SETTINGS:
            model.settings.add(settings)
        self.on_change()
        return model

    def release(self, user: object, model: LoadedModel, session: Keeper, *, peak_seen: int) -> None:
        """The lease of a user ends: its session goes on for the model, if that stays."""
        if model.leaving or not session.valid:
            session.end(peak_seen=peak_seen)
        else:
            model.keepers.add(session)
            session.keep(
                model.size,
                peak_seen=peak_seen,
                on_unload=lambda: self._begin_unload(model),
                on_over=lambda: self._on_over(model, session),
            )
        self._leave(model, user)

    def leave_for_now(self, user: object, model: LoadedModel) -> bool:
        """A lease yields. Returns whether its model can be offloaded meanwhile."""
        model.away.add(user)
        return model.hooks.offload is not None and not model.broken

    def offload(self, model: LoadedModel, number: int, report: Callable[[int, str], None]) -> None:
        """Moves a model to host memory that no lease works with, and reports that with the number, and an error if it failed."""
        if not model.users <= model.away:  # a late request, or by an arbiter that has ended a lease whose user goes on
            report(number, model.broken or f'the model "{model.name}" is in use on {model.device}')
            return
        if not model.users:
            return  # it is unloaded, or stays for the stream that goes on for it
        if model.restoring is not None and not model.restoring.done():  # for a user that was cancelled
            model.restoring.add_done_callback(lambda _: self.offload(model, number, report))
            return
        if model.offloading is None:
            model.offloading = asyncio.ensure_future(self._offload(model))
        model.offloading.add_done_callback(lambda _: report(number, model.broken))

    async def return_to(self, user: object, model: LoadedModel) -> None:
        """A lease uses its model again, which is on its device then.

        Raises:
            LeaseError: it was not offloaded or restored.
            Exception: raised by `restore`.
        """
        model.away.discard(user)  # at once: it is not offloaded again before the user goes on
        if model.offloading is not None and not model.broken:
            if model.restoring is None:
                model.restoring = asyncio.ensure_future(self._restore(model))
                model.restoring.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.shield(model.restoring)
        if model.broken:
            raise _broken(model)

    async def _offload(self, model: LoadedModel) -> None:
        assert model.hooks.offload is not None
        work = asyncio.ensure_future(_moved(model, model.hooks.offload))
        self._break(model, await _failure(work, f"offloading {_what(model)}"))

    async def _restore(self, model: LoadedModel) -> None:
        assert model.hooks.restore is not None
        assert model.offloading is not None
        await asyncio.wait({model.offloading})
        if not model.broken:
            try:
                await _called(model.hooks.restore, model.loading.result())
            except BaseException as error:
                self._break(model, f"restoring {_what(model)} failed: {Fault.from_exception(error).message}")
                raise
        model.offloading = model.restoring = None

    def _break(self, model: LoadedModel, error: str) -> None:
        if error:
            log.error("%s. It is used no more, and unloaded", error)
            model.broken, model.leaving = error, True
            if not model.users:  # the user for whom it was restored was cancelled
                self._begin_unload(model)

    def continue_beyond(self, release: Coroutine[Any, Any, None]) -> None:
        """Releases a lease later, whose user was cancelled and goes on; not beyond `close`, after which it ends by its TTL."""
        task = asyncio.ensure_future(release)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def close(self) -> None:
        """Unloads everything; returns after `UNLOAD_TIMEOUT` at the latest."""
        for release in self._releases:
            release.cancel()
        await asyncio.gather(*self._releases, return_exceptions=True)
        models = list(self._models.values())
        for model in models:
            model.users.clear()
            self._begin_unload(model)
        unloading = {model.unloading for model in models if model.unloading is not None}
        if unloading:
            await asyncio.wait(unloading)

    def _leave(self, model: LoadedModel, user: object) -> None:
        model.users.discard(user)
        model.away.discard(user)
        in_host_memory = model.offloading is not None and model.restoring is None
        if not model.users and (model.leaving or not model.keepers or in_host_memory):
            self._begin_unload(model)

    def _on_over(self, model: LoadedModel, session: Keeper) -> None:
        model.keepers.discard(session)
        if not model.users and not model.keepers:
            self._begin_unload(model)

    def _begin_unload(self, model: LoadedModel) -> None:
        model.leaving = True
        self.on_change()
        if model.unloading is None and not model.users:
            model.unloading = asyncio.ensure_future(self._unload(model))

    async def _unload(self, model: LoadedModel) -> None:
        work = asyncio.ensure_future(_freed(model))
        if error := await _failure(work, f"unloading {_what(model)}"):
            log.error("%s. Its memory is granted to others when the device shows it as free", error)
            self.failed_unloads = [*self.failed_unloads[-9:], error]
        del self._models[model.name, model.device]
        for session in list(model.keepers):
            session.end(error=error)
        model.changed.fire()


async def _failure(work: asyncio.Task[None], what: str) -> str:
    """Waits for work with a model, for `UNLOAD_TIMEOUT` at most. Returns why it failed, in words; empty: it did not."""
    _, late = await asyncio.wait({work}, timeout=UNLOAD_TIMEOUT)
    if late:
        work.cancel()
        abandon(work)
        return f"{what} took longer than {UNLOAD_TIMEOUT:g} s"
    if work.cancelled():
        return f"{what} was cancelled"
    raised = work.exception()
    return f"{what} failed: {Fault.from_exception(raised).message}" if raised is not None else ""


def _what(model: LoadedModel) -> str:
    return f'the model "{model.name}" from {model.device}'


def _broken(model: LoadedModel) -> LeaseError:
    return lease_error(
        "offload-failed",
        f"The model cannot be used: {model.broken}. It is loaded again for the next lease. Mend the offload and restore of its "
        "class, or remove both.",
        device=model.device,
    )


async def _moved(model: LoadedModel, offload: Unload) -> None:
    """Moves a model to host memory."""
    await _called(offload, model.loading.result())
    await THREADS.call(free_cache, model.device)


async def _freed(model: LoadedModel) -> None:
    """Unloads a model, which may still be loaded, offloaded or restored."""
    if not model.loading.done():
        model.loading.cancel()
        await asyncio.wait({model.loading})
    if not model.is_loaded:
        return
    if moves := {task for task in (model.offloading, model.restoring) if task is not None}:
        await asyncio.wait(moves)
    value, unload = model.loading.result(), model.hooks.unload
    model.loading = asyncio.get_running_loop().create_task(_none())  # nothing here refers to the value any more
    if unload is not None:
        await _called(unload, value)
    del value
    await THREADS.call(free_cache, model.device)


def _nothing() -> None:
    """Where changes are reported to no one."""


async def _none() -> None:
    """What is left of a load."""


async def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function; a plain one runs in a worker thread. Raises its failures as `Exception`."""
    try:
        is_async = inspect.iscoroutinefunction(function)
        result = function(*arguments) if is_async else await THREADS.call(function, *arguments)
        return await result if inspect.isawaitable(result) else result
    except BaseException as error:
        raise failure_of(error)  # noqa: B904 - it is the same error, or has it as its cause
