"""What nodes load: once per class and config, shared, kept warm, freed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from lanemesh import Node
from lanemesh.node.runtime import resources as resources_module
from lanemesh.node.runtime.resources import Reloadable, Resources
from pydantic import BaseModel


class Model(Node):
    """Loads a name."""

    class Config(BaseModel):
        name: str = "m"

    loaded: ClassVar[list[str]] = []
    unloaded: ClassVar[list[str]] = []
    gate: ClassVar[asyncio.Event]
    fails: ClassVar[bool] = False

    @classmethod
    async def load(cls, config: Any) -> str:
        cls.loaded.append(config.name)
        await cls.gate.wait()
        if cls.fails:
            raise RuntimeError("no such model")
        return str(config.name)

    @classmethod
    async def unload(cls, resource: Any) -> None:
        cls.unloaded.append(resource)


@pytest.fixture(autouse=True)
async def fresh() -> None:
    Model.loaded, Model.unloaded, Model.fails = [], [], False
    Model.gate = asyncio.Event()
    Model.gate.set()


def config(name: str = "m") -> Any:
    return Model.Config(name=name)


async def test_happy_loaded_once_per_config_for_all_who_ask_at_once() -> None:
    resources = Resources()
    names = await asyncio.gather(*(resources.acquire(Model, config(name)) for name in "aabab"))
    assert names == list("aabab")
    assert sorted(Model.loaded) == ["a", "b"]
    await resources.close()
    assert sorted(Model.unloaded) == ["a", "b"]


async def test_the_packages_of_a_class_are_imported_before_it_loads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_the_model.py").write_text("")

    class Needing(Model):
        """Needs a package."""

        python_packages = ("of_the_model",)

        @classmethod
        async def load(cls, config: Any) -> str:
            assert "of_the_model" in sys.modules
            return str(config.name)

    resources = Resources()
    assert await resources.acquire(Needing, config()) == "m"
    await resources.close()


async def test_unused_resources_are_unloaded_after_a_while() -> None:
    resources = Resources(idle_seconds=0.02)
    await asyncio.gather(resources.acquire(Model, config()), resources.acquire(Model, config()))
    resources.release(Model, config())
    await asyncio.sleep(0.05)
    assert Model.unloaded == []  # one still uses it
    resources.release(Model, config())
    await resources.acquire(Model, config())  # in time
    await asyncio.sleep(0.05)
    assert Model.unloaded == []
    resources.release(Model, config())
    await asyncio.sleep(0.05)
    assert (Model.loaded, Model.unloaded) == (["m"], ["m"])
    await resources.acquire(Model, config())
    assert Model.loaded == ["m", "m"]
    await resources.close()


async def test_error_a_failed_load_is_reported_to_all_and_retried() -> None:
    resources = Resources()
    Model.fails = True
    results = await asyncio.gather(*(resources.acquire(Model, config()) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in results] == ["no such model"] * 3
    Model.fails = False
    assert await resources.acquire(Model, config()) == "m"
    assert Model.loaded == ["m", "m"]
    await resources.close()


async def test_a_load_that_fails_after_everyone_left_is_not_the_next_ones_error() -> None:
    resources = Resources()
    Model.gate.clear()
    Model.fails = True
    leaving = asyncio.create_task(resources.acquire(Model, config()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    Model.gate.set()
    await asyncio.sleep(0.01)
    Model.fails = False
    assert await resources.acquire(Model, config()) == "m"
    await resources.close()


async def test_shutdown_does_not_wait_for_a_load() -> None:
    resources = Resources()
    Model.gate.clear()
    waiting = asyncio.create_task(resources.acquire(Model, config()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.wait_for(resources.close(), 10)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert Model.unloaded == []


async def test_a_load_without_waiters_is_abandoned_in_the_end() -> None:
    resources = Resources(idle_seconds=0.01)
    Model.gate.clear()
    leaving = asyncio.create_task(resources.acquire(Model, config()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loading = next(task for task in asyncio.all_tasks() if task.get_name() == f"load {Model.provider}")
    leaving.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([loading])
        await resources.close()
    assert loading.cancelled()
    assert Model.unloaded == []


async def test_an_unload_that_hangs_is_abandoned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Model):
        @classmethod
        async def unload(cls, resource: Any) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(resources_module, "UNLOAD_SECONDS", 0.01)
    resources = Resources()
    await resources.acquire(Stuck, config())
    async with asyncio.timeout(10):
        await resources.close()
    assert "abandoned the unloading of a resource of stuck: it took longer than 0.01 s" in caplog.text


class _File(Reloadable):
    def __init__(self) -> None:
        self.changed = False

    def is_current(self) -> bool:
        return not self.changed


class _OfFile(Model):
    @classmethod
    async def load(cls, config: Any) -> Any:
        return _File()


async def test_a_changed_file_is_loaded_anew_and_its_users_keep_the_old_resource() -> None:
    resources = Resources()
    old = await resources.acquire(_OfFile, config())
    old.changed = True
    new = await resources.acquire(_OfFile, config())
    assert new is not old
    assert await resources.acquire(_OfFile, config()) is new
    resources.release(_OfFile, config(), new)
    assert Model.unloaded == []
    resources.release(_OfFile, config(), old)
    await asyncio.gather(*resources._cache._unloads)
    assert Model.unloaded == [old]
