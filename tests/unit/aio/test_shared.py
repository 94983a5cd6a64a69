"""Shared values: one load for all users, freed when the last one has gone."""

from __future__ import annotations

import asyncio

import pytest
from lanemesh._aio.shared import MAX_LOADS, SharedCache


class Loads:
    """Makes a new object at each load, when `go` is set, and notes what was freed."""

    def __init__(self, *, idle_seconds: float = 0.0) -> None:
        self.made: list[object] = []
        self.freed: list[object] = []
        self.outdated: set[object] = set()
        self.go = asyncio.Event()
        self.go.set()
        self.cache = SharedCache[str, object](
            self._free, idle_seconds=idle_seconds, is_current=lambda value: value not in self.outdated
        )

    async def acquire(self) -> object:
        return await self.cache.acquire("k", self._load)

    async def _load(self) -> object:
        await self.go.wait()
        self.made.append(object())
        return self.made[-1]

    async def _free(self, _: str, loading: asyncio.Task[object]) -> None:
        self.freed.append(await loading)


async def test_users_share_one_load_and_the_last_one_frees_it() -> None:
    loads = Loads()
    first, second = await asyncio.gather(loads.acquire(), loads.acquire())
    assert first is second
    assert loads.cache.release("k", first) is None
    unload = loads.cache.release("k", first)
    assert unload is not None
    await unload
    assert (len(loads.made), loads.freed) == (1, [first])
    assert await loads.acquire() is not first


async def test_a_load_outlives_a_cancelled_user_and_is_freed_with_the_last_one() -> None:
    loads = Loads()
    loads.go.clear()
    one, other = asyncio.create_task(loads.acquire()), asyncio.create_task(loads.acquire())
    await asyncio.sleep(0)
    one.cancel()
    loads.go.set()
    value = await other
    assert loads.freed == []
    await (loads.cache.release("k", value) or asyncio.sleep(0))
    assert loads.freed == [value]


async def test_a_load_without_remaining_waiters_is_freed_when_it_has_ended() -> None:
    loads = Loads()
    loads.go.clear()
    only = asyncio.create_task(loads.acquire())
    await asyncio.sleep(0)
    only.cancel()
    await asyncio.wait([only])
    loads.go.set()
    await loads.cache.close()
    assert loads.freed == loads.made
    assert len(loads.made) == 1


async def test_a_failed_load_is_raised_to_all_who_wait_and_forgotten() -> None:
    tries = 0

    async def fail_once() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("no such file")
        return "value"

    async def free(_: str, loading: asyncio.Task[str]) -> None:
        await loading

    cache = SharedCache[str, str](free)
    for error in await asyncio.gather(
        cache.acquire("k", fail_once), cache.acquire("k", fail_once), return_exceptions=True
    ):
        assert isinstance(error, OSError)
    assert await cache.acquire("k", fail_once) == "value"
    with pytest.raises(OSError, match="again"):
        await cache.acquire("other", _fails)


async def _fails() -> str:
    raise OSError("again")


async def test_an_idle_value_is_used_again_until_the_cache_is_closed() -> None:
    loads = Loads(idle_seconds=600)
    value = await loads.acquire()
    assert loads.cache.release("k", value) is None
    assert await loads.acquire() is value
    loads.cache.release("k", value)
    assert loads.freed == []
    await loads.cache.close()
    assert loads.freed == [value]


async def test_an_outdated_value_stays_with_its_users_and_is_freed_at_once_without_them() -> None:
    loads = Loads(idle_seconds=600)
    old = await loads.acquire()
    loads.outdated.add(old)
    new = await loads.acquire()
    assert new is not old
    unload = loads.cache.release("k", old)
    assert unload is not None
    await unload
    assert loads.freed == [old]
    loads.cache.release("k", new)
    loads.outdated.add(new)
    assert await loads.acquire() not in (old, new)
    await loads.cache.close()
    assert loads.freed[:2] == [old, new]


async def test_a_load_that_began_before_an_edit_is_repeated_once_for_those_who_wait_for_it() -> None:
    made: list[int] = []
    freed: list[int] = []
    version = 1
    loading, go = asyncio.Event(), asyncio.Event()

    async def load() -> int:
        value = version
        loading.set()
        await go.wait()
        made.append(value)
        return value

    async def free(_: str, load: asyncio.Task[int]) -> None:
        freed.append(await load)

    cache = SharedCache[str, int](free, idle_seconds=600, is_current=lambda value: value == version)
    before = asyncio.create_task(cache.acquire("k", load))
    await loading.wait()
    version = 2
    after = asyncio.create_task(cache.acquire("k", load))
    await asyncio.sleep(0)
    go.set()
    assert (await before, await after) == (2, 2)
    assert made == [1, 2]
    await cache.close()
    assert sorted(freed) == [1, 2]


async def test_a_value_that_is_never_current_is_loaded_a_bounded_number_of_times() -> None:
    loads = Loads()
    cache = SharedCache[str, object](loads._free, is_current=lambda _: False)
    value = await cache.acquire("k", loads._load)
    assert len(loads.made) == MAX_LOADS
    await (cache.release("k", value) or asyncio.sleep(0))
    await cache.close()
    assert sorted(map(id, loads.freed)) == sorted(map(id, loads.made))


async def test_error_a_value_whose_state_cannot_be_found_out_is_freed() -> None:
    loads = Loads()

    def fail(_: object) -> bool:
        raise OSError("no such folder")

    cache = SharedCache[str, object](loads._free, is_current=fail)
    with pytest.raises(OSError, match="no such folder"):
        await cache.acquire("k", loads._load)
    await cache.close()
    assert loads.freed == loads.made
