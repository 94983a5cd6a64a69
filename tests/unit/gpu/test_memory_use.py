"""Memory that PyTorch caches is returned to the device before others get it. A stand-in for PyTorch notes when that is."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import pytest
from lanemesh.gpu import EmbeddedLink, GpuArbiter, GpuClient
from lanemesh.v1 import gpu_pb2


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        empty_cache=lambda: found.append("cache freed"),
        reset_peak_memory_stats=lambda _: None,
        max_memory_reserved=lambda _: 0,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    return found


async def use(gpu: GpuClient, events: list[str]) -> None:
    async with gpu.lease():
        events.append("next granted")


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "yielded"])
async def test_cached_memory_is_freed_before_the_next_one_has_the_device(events: list[str], leaves: bool) -> None:
    arbiter = GpuArbiter([gpu_pb2.Device(id="cuda:0", memory_bytes=1)])
    link = EmbeddedLink(arbiter)
    gpu, other = (GpuClient(link, gpu_pb2.LeaseHolder(component=name)) for name in ("first", "next"))
    async with gpu.lease():
        waiting = asyncio.create_task(use(other, events))
        await arbiter.changed.wait()  # it is in the queue
        assert len(arbiter.status()[0].waiting) == 1
        if not leaves:
            async with gpu.waiting():
                await waiting
    await waiting
    assert events[:2] == ["cache freed", "next granted"]
    await link.close()
