"""Requests to offload a model that reach its process late."""

from __future__ import annotations

import asyncio

from lanemesh.gpu.models import LoadedModel, ModelHooks, ModelStore


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
