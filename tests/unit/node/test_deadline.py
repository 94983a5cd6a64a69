"""The timeout of a component."""

from __future__ import annotations

import asyncio

import pytest
from lanemesh import LanemeshError
from lanemesh.node.deadline import Deadline, paused


async def test_what_takes_too_long_is_told_with_all_there_is_to_say() -> None:
    deadline = Deadline("slow_1", 0.01, lambda: "it was left alone")
    with pytest.raises(LanemeshError) as caught:
        async with deadline.of("firing"):
            await asyncio.Event().wait()
    assert caught.value.fault.message == "slow_1: one firing took longer than its timeout of 0.01 s; it was left alone"


async def test_a_timeout_of_the_body_itself_is_its_own_error() -> None:
    with pytest.raises(TimeoutError, match="mine"):
        async with Deadline("slow_1", 10).of("firing"):
            raise TimeoutError("mine")


async def test_without_a_timeout_there_is_no_limit() -> None:
    async with Deadline("slow_1", None).of("run") as limit:
        assert limit is None
    with paused(None):
        await asyncio.sleep(0)


async def test_the_clock_stands_still_while_it_is_paused() -> None:
    async with Deadline("slow_1", 5).of("firing") as limit:
        assert limit is not None
        until = limit.when()
        assert until is not None
        with paused(limit):
            assert limit.when() is None
            await asyncio.sleep(0.02)
        again = limit.when()
        assert again is not None
        assert again >= until + 0.015
