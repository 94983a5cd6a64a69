"""Requests of one socket that take effect in their order."""

from __future__ import annotations

import asyncio

from lanemesh_orchestrator.gateway.websocket.orders import Orders, order_of
from lanemesh_orchestrator.gateway.websocket.requests import read_request


async def test_a_request_waits_for_all_earlier_ones_of_its_key() -> None:
    orders, key = Orders(), ("run", "input")
    effects: list[str] = []
    released = asyncio.Event()

    async def second() -> None:
        async with orders.turn(key):
            await released.wait()
            effects.append("second")

    async def third() -> None:
        async with orders.turn(key):
            effects.append("third")

    async with asyncio.TaskGroup() as group:
        async with orders.turn(key):
            group.create_task(second())
            await asyncio.sleep(0)
            effects.append("first")
        group.create_task(third())  # while the second one has been given its turn, and has not begun
        async with orders.turn(("other", "input")):
            effects.append("other")
        released.set()
    assert effects == ["first", "other", "second", "third"]


def test_inputs_and_messages_do_not_delay_what_controls_a_run() -> None:
    run = {"run_id": "r"}
    control = order_of(read_request({"type": "cancel", **run}))
    assert control == order_of(read_request({"type": "watch", **run}))
    assert control != order_of(read_request({"type": "input", **run}))
    assert control != order_of(read_request({"type": "publish", "channel": "c", **run}))
    assert order_of(read_request({"type": "ping"})) is None
