"""The models that a process keeps loaded on devices after its leases, until the arbiter asks for their memory.

A model is loaded once per device and shared by the leases for it. It is unloaded when the arbiter asks for it, or when no stream
goes on for it. A lease that wants it meanwhile waits until it is unloaded, and loads it again.
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
from lanemesh.gpu.memory_use import free_cache

UNLOAD_TIMEOUT = 20.0
"""Seconds that the unloading of a model may take before it is abandoned. The arbiter chooses others after 30 s."""

MAX_SETTINGS = 64
"""Most node types with their configs that are remembered as users of a model."""

log = logging.getLogger("lanemesh.gpu")

Unload = Callable[[Any], Awaitable[None] | None]
"""Frees the memory of a model. A plain function runs in a worker thread."""


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


@dataclass(slots=True, eq=False)
class LoadedModel:
    """A model on a device, from the beginning of its load to the end of its unloading."""

    name: str
    device: str
    size: int
    """Bytes."""
    unload: Unload | None
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
        self,
        user: object,
        name: str,
        device: str,
        size: int,
        load: Callable[[], Any],
        unload: Unload | None,
        *,
        settings: str = "",
    ) -> LoadedModel:
        """The model for a lease, loaded by it or by an earlier one. `settings`: the node type with its config that uses it; empty:
        none. Raises what `load` raises."""
        while (model := self._models.get((name, device))) is not None and model.leaving:
            await model.changed.wait()
        if model is None:
            loading = asyncio.ensure_future(_called(load))
            model = self._models[name, device] = LoadedModel(name, device, size, unload, loading)
        model.users.add(user)
        try:
            await asyncio.shield(model.loading)
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
        if not model.users and (model.leaving or not model.keepers):
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
        error = ""
        work = asyncio.ensure_future(_freed(model))
        _, late = await asyncio.wait({work}, timeout=UNLOAD_TIMEOUT)
        if late:
            work.cancel()
            abandon(work)
            error = f'unloading the model "{model.name}" from {model.device} took longer than {UNLOAD_TIMEOUT:g} s'
        elif work.cancelled():
            error = f'unloading the model "{model.name}" from {model.device} was cancelled'
        elif (raised := work.exception()) is not None:
            error = f'unloading the model "{model.name}" from {model.device} failed: {type(raised).__name__}: {raised}'
        if error:
            log.error("%s. Its memory is granted to others when the device shows it as free", error)
            self.failed_unloads = [*self.failed_unloads[-9:], error]
        del self._models[model.name, model.device]
        for session in list(model.keepers):
            session.end(error=error)
        model.changed.fire()


async def _freed(model: LoadedModel) -> None:
    """Unloads a model, whose load may still be under way."""
    if not model.loading.done():
        model.loading.cancel()
        await asyncio.wait({model.loading})
    if not model.is_loaded:
        return
    value, unload = model.loading.result(), model.unload
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
    """The result of a function; a plain one runs in a worker thread."""
    result = function(*arguments) if inspect.iscoroutinefunction(function) else await THREADS.call(function, *arguments)
    return await result if inspect.isawaitable(result) else result
