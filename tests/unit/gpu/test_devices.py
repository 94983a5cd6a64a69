"""Detection of devices, and errors of an invalid list of devices."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from lanemesh.gpu import BadDeviceList, find_devices
from lanemesh.gpu.devices import nvml_devices
from lanemesh.gpu.observing import NvmlObserver, Reading


def test_simulated_devices_come_from_the_environment() -> None:
    found = find_devices({"LANEMESH_GPUS": "sim:0=24GiB, sim:1 = 1.5 GB,cuda:3=512MiB"})
    assert [(device.id, device.memory_bytes) for device in found] == [
        ("sim:0", 24 * 2**30),
        ("sim:1", 1_500_000_000),
        ("cuda:3", 512 * 2**20),
    ]


@pytest.mark.parametrize(
    "text", ["sim:0", "sim:0=lots", "sim:0=24GiB,", "=1GiB", "sim:0=1GiB,sim:0=2GiB", "sim:0=-1GiB"]
)
def test_the_error_of_a_malformed_list_shows_its_form(text: str) -> None:
    with pytest.raises(BadDeviceList, match="LANEMESH_GPUS is invalid"):
        find_devices({"LANEMESH_GPUS": text})


def test_without_nvml_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_devices({}) == []


def test_without_a_driver_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    def fail() -> None:
        raise NVMLError

    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=NVMLError, nvmlInit=fail))
    assert nvml_devices() == []


def test_devices_of_nvml_are_named_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: b"NVIDIA L4",
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=24 * 2**30),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert [(device.id, device.name, device.memory_bytes) for device in nvml_devices()] == [
        ("cuda:0", "NVIDIA L4", 24 * 2**30),
        ("cuda:1", "NVIDIA L4", 24 * 2**30),
    ]


def test_nvml_shows_memory_by_process_and_a_device_that_vanishes_is_missing() -> None:
    class NVMLError(Exception):
        pass

    def process(pid: int, used: int | None) -> SimpleNamespace:
        return SimpleNamespace(pid=pid, usedGpuMemory=used)

    def memory(handle: int) -> SimpleNamespace:
        if handle == 1:
            raise NVMLError("the GPU is lost")
        return SimpleNamespace(used=900)

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [process(7, 300), process(8, None)],
        nvmlDeviceGetGraphicsRunningProcesses=lambda handle: [process(7, 100), process(9, 50)],
    )
    readings = NvmlObserver(library, ["cuda:0", "cuda:1"]).read()
    assert readings == {"cuda:0": Reading(900, {7: 300, 8: 0, 9: 50})}
