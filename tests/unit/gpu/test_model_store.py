"""Requests to offload a model that reach its process late, and hooks that raise what nobody expects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from lanemesh._aio.user_errors import NoException
from lanemesh.gpu.errors import LeaseError
from lanemesh.gpu.models import LoadedModel, ModelHooks, ModelStore

from rigs.misbehaving_nodes import NoText, Panic, leak


class Moves:
    """A model with two users, its moves, and what is reported to the arbiter."""

    def __init__(self) -> None:
        self.store = ModelStore()
        self.done: list[str] = []
        self.reports: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.hooks = ModelHooks(lambda: "m", None, self._offload, self._restore)

    async def used(self) -> LoadedModel:
        for user in ("first", "second"):
            model = await self.store.acquire(user, "m", "sim:0", 1, self.hooks)
        return model

    async def _offload(self, _: object) -> None:
        self.done.append("offload")

    async def _restore(self, _: object) -> None:
        self.done.append("restore")
        (model,) = self.store.loaded
        assert model.restoring is not None
        model.restoring.add_done_callback(lambda _: self.offload(model, 1))  # before the user goes on

    def offload(self, model: LoadedModel, number: int) -> None:
        self.store.offload(model, number, lambda *report: self.reports.put_nowait(report))


async def test_a_late_request_does_not_offload_a_model_that_was_just_restored() -> None:
    moves = Moves()
    model = await moves.used()
    for user in ("first", "second"):
        moves.store.leave_for_now(user, model)
    moves.offload(model, 1)
    assert await moves.reports.get() == (1, "")
    await moves.store.return_to("first", model)
    number, error = await moves.reports.get()
    assert (number, moves.done) == (1, ["offload", "restore"])
    assert "is in use" in error
    await moves.store.close()


async def test_a_request_to_offload_a_model_in_use_is_answered() -> None:
    moves = Moves()
    model = await moves.used()
    moves.store.leave_for_now("first", model)
    moves.offload(model, 1)
    assert moves.reports.get_nowait() == (1, 'the model "m" is in use on sim:0')
    await moves.store.close()


def plain(error: BaseException) -> Callable[..., Any]:
    """A plain hook that raises."""

    def hook(*_: object) -> None:
        raise error

    return hook


def asynchronous(error: BaseException) -> Callable[..., Any]:
    """The same, asynchronous."""

    async def hook(*_: object) -> None:
        raise error

    return hook


async def leaks(*_: object) -> None:
    """A hook that awaits what it has cancelled itself."""
    await leak()


BROKEN_HOOKS = {
    "plain panic": plain(Panic("index")),
    "panic": asynchronous(Panic("index")),
    "exit": asynchronous(SystemExit(3)),
    "no text": asynchronous(NoText()),
    "leak": leaks,
}
broken_hooks = pytest.mark.parametrize("hook", BROKEN_HOOKS.values(), ids=BROKEN_HOOKS)


async def works(*_: object) -> Any:
    """A hook that works."""
    return "m"


@broken_hooks
async def test_a_load_that_raises_anything_is_tried_again(hook: Callable[..., Any]) -> None:
    store = ModelStore()
    with pytest.raises((NoException, NoText)):
        await store.acquire("first", "m", "sim:0", 1, ModelHooks(hook))
    await store.acquire("second", "m", "sim:0", 1, ModelHooks(works))
    await store.close()


@broken_hooks
async def test_an_unloading_that_raises_anything_frees_the_place_of_its_model(hook: Callable[..., Any]) -> None:
    store = ModelStore()
    await store.acquire("first", "m", "sim:0", 1, ModelHooks(works, hook))
    await store.close()
    assert "unloading the model" in store.failed_unloads[0]
    await store.acquire("second", "m", "sim:0", 1, ModelHooks(works))
    await store.close()


@broken_hooks
@pytest.mark.parametrize("broken", ["offload", "restore"])
async def test_a_move_that_raises_anything_fails_the_lease_and_frees_the_place(
    hook: Callable[..., Any], broken: str
) -> None:
    store, reports = ModelStore(), asyncio.Queue[tuple[int, str]]()
    hooks = ModelHooks(works, works, **{"offload": works, "restore": works, broken: hook})
    model = await store.acquire("first", "m", "sim:0", 1, hooks)
    store.leave_for_now("first", model)
    store.offload(model, 1, lambda *report: reports.put_nowait(report))
    _, error = await reports.get()
    assert bool(error) is (broken == "offload")
    with pytest.raises((LeaseError, NoException, NoText)):
        await store.return_to("first", model)
    assert "ing the model" in model.broken
    await store.close()
    await store.acquire("second", "m", "sim:0", 1, ModelHooks(works))
    await store.close()
