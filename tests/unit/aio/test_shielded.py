"""Work that a cancellation of its caller does not reach."""

import asyncio

import pytest
from lanemesh._aio.tasks import shielded


async def test_work_ends_although_its_caller_is_cancelled() -> None:
    first, second, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await first.wait()
        await asyncio.sleep(0)
        await second.wait()
        done.set()

    caller = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    first.set()
    second.set()
    await done.wait()


async def test_a_cancellation_at_the_end_of_a_wait_is_not_lost() -> None:
    ready, done = asyncio.get_running_loop().create_future(), asyncio.Event()

    async def work() -> None:
        await ready
        done.set()

    caller = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    ready.set_result(None)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await done.wait()


async def test_the_caller_gets_the_error_of_the_work() -> None:
    broken = asyncio.get_running_loop().create_future()
    caught: list[BaseException] = []

    async def work() -> None:
        try:
            await broken
        except ValueError as error:
            caught.append(error)
            raise

    caller = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    broken.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await caller
    assert len(caught) == 1


async def test_what_the_work_waits_for_may_be_cancelled() -> None:
    """The caller is not cancelled: the work handles the cancellation of what it waits for."""
    inner = asyncio.get_running_loop().create_future()
    caught = asyncio.Event()

    async def work() -> None:
        try:
            await inner
        except asyncio.CancelledError:
            caught.set()

    caller = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    inner.cancel()
    await caller
    assert caught.is_set()


async def test_a_later_error_of_work_without_a_caller_is_dropped() -> None:
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    broken = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await broken

    caller = asyncio.create_task(shielded(work()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    broken.set_exception(ValueError("nothing waits for it"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert errors == []
