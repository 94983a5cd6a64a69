"""Leases of a real NVIDIA device: its memory is observed, models are kept and freed, and out of memory is recovered from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from lanemesh.gpu import EmbeddedLink, GpuArbiter, GpuClient, GpuOutOfMemory, Lease, find_devices
from lanemesh.gpu.observing import NvmlObserver, find_observer
from lanemesh.v1 import gpu_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MIB = 1 << 20
SOON = 30.0


@pytest.fixture
def devices() -> list[gpu_pb2.Device]:
    pytest.importorskip("pynvml", reason="there is no nvidia-ml-py: pip install 'lanemesh[gpu]'")
    found = find_devices({})
    if not found:
        pytest.skip("NVML finds no device here")
    return found


@pytest.fixture
def torch() -> Any:
    module = pytest.importorskip("torch", reason="there is no PyTorch")
    if not module.cuda.is_available():
        pytest.skip("this PyTorch finds no CUDA device")
    return module


@pytest.fixture
async def gpu(devices: list[gpu_pb2.Device]) -> AsyncIterator[GpuClient]:
    link = EmbeddedLink(GpuArbiter(devices, observer=find_observer([device.id for device in devices])))
    yield GpuClient(link, gpu_pb2.LeaseHolder(component="test"))
    await link.close()


def test_nvml_shows_the_memory_of_devices(devices: list[gpu_pb2.Device]) -> None:
    observer = find_observer([device.id for device in devices])
    assert isinstance(observer, NvmlObserver)
    readings = observer.read()
    for device in devices:
        assert 0 <= readings[device.id].total <= device.memory_bytes


async def test_a_model_is_kept_and_its_memory_is_free_after_its_unloading(gpu: GpuClient, torch: Any) -> None:
    def load() -> Any:
        return torch.zeros(512 * MIB, dtype=torch.uint8, device="cuda:0")

    async with gpu.lease("cuda:0", memory="512MiB", model="m") as lease:
        assert (await lease.keep(load, lambda model: model.untyped_storage().resize_(0))).numel() == 512 * MIB
    assert torch.cuda.memory_allocated(0) >= 512 * MIB
    async with gpu.lease("cuda:0", memory=1, evicts=True, wait_timeout=SOON):
        assert torch.cuda.memory_allocated(0) < 512 * MIB


async def test_the_peak_of_a_lease_is_learned(gpu: GpuClient, torch: Any) -> None:
    async with gpu.lease("cuda:0", memory="64MiB", model="learns"):
        block = torch.zeros(256 * MIB, dtype=torch.uint8, device="cuda:0")
        del block
    async with gpu.lease("cuda:0", memory="64MiB", model="learns") as lease:
        assert lease.memory_bytes >= 256 * MIB


async def test_out_of_memory_of_the_device_is_tried_twice(gpu: GpuClient, torch: Any) -> None:
    attempts = 0

    async def work(lease: Lease) -> None:
        nonlocal attempts
        attempts += 1
        torch.zeros(4 * lease.device.memory_bytes, dtype=torch.uint8, device="cuda:0")

    with pytest.raises(GpuOutOfMemory):
        async with asyncio.timeout(2 * SOON):
            await gpu.attempt(work, "cuda:0", memory="64MiB")
    assert attempts == 2
