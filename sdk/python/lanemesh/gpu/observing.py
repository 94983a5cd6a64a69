"""What devices show: the memory that each process has, read from NVML or from simulated devices."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger("lanemesh.gpu")

OBSERVE_SECONDS = 1.0
"""Time between two readings of the devices."""
QUICK_SECONDS = 0.05
"""Time between two readings while memory is awaited: of unloaded models, and of ended leases."""
PROMPT_SECONDS = 0.002
"""Time to the first reading after a model was unloaded or a lease has ended uncertainly: drivers free memory at once."""
MAX_ANCESTORS = 8
"""How many generations of parents are searched for the process that has a lease."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The memory in use on a device at one time."""

    total: int
    """Bytes of all processes and of the driver."""
    by_process: Mapping[int, int] = field(default_factory=dict)
    """Bytes by process id."""


class Observer(Protocol):
    """Reads what devices show."""

    def read(self) -> Mapping[str, Reading]:
        """The memory in use on each device that can be read. A device that has vanished is missing. May take milliseconds; called
        in a worker thread."""


class SimulatedObserver:
    """Reads simulated devices."""

    def __init__(self, devices: Collection[str]) -> None:
        self._devices = devices

    def read(self) -> Mapping[str, Reading]:
        from lanemesh.gpu.simulated import simulated_memory

        memory = simulated_memory()
        return {device: _reading(memory.used(device)) for device in self._devices}


class NvmlObserver:
    """Reads NVIDIA devices. Processes of other containers count as foreign."""

    def __init__(self, nvml: Any, devices: Collection[str]) -> None:
        """`nvml` is the module `pynvml`, initialised."""
        self._nvml = nvml
        self._devices = devices
        self._failed: set[str] = set()

    def read(self) -> Mapping[str, Reading]:
        readings = {}
        for device in self._devices:
            try:
                readings[device] = self._read(int(device.rpartition(":")[2]))
            except self._nvml.NVMLError as error:
                if device not in self._failed:
                    self._failed.add(device)
                    log.error("GPU %s cannot be read any more: %s", device, error)
        return readings

    def _read(self, index: int) -> Reading:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        by_process: dict[int, int] = {}
        for process in [
            *nvml.nvmlDeviceGetComputeRunningProcesses(handle),
            *nvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
        ]:
            by_process[process.pid] = max(by_process.get(process.pid, 0), process.usedGpuMemory or 0)
        return Reading(int(nvml.nvmlDeviceGetMemoryInfo(handle).used), by_process)


def find_observer(devices: Collection[str]) -> Observer | None:
    """The observer of these devices; None if nothing shows their memory.

    Simulated devices are observed if `LANEMESH_GPU_STATE` names a folder in which processes share them.
    """
    if not devices:
        return None
    if all(device.startswith("cuda:") for device in devices):
        return _nvml_observer(devices)
    return SimulatedObserver(devices) if os.environ.get("LANEMESH_GPU_STATE") else None


def _nvml_observer(devices: Collection[str]) -> Observer | None:
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, OSError):
        return None
    except Exception as error:
        log.warning("NVML cannot be used, so the memory of GPUs is not observed: %s", error)
        return None
    return NvmlObserver(pynvml, devices)


def attribute(
    reading: Reading,
    owners: Collection[str],
    declared: Callable[[str], int],
    ancestors: Callable[[int], list[int]] | None = None,
) -> tuple[dict[str, int], int]:
    """The bytes of each owner of leases, and those of all other processes together.

    Args:
        reading: what the device shows.
        owners: names of owners, each of which begins with the id of its process: "4711-ab12".
        declared: bytes that an owner has declared. If a process has several owners, each gets what it has declared, and the first
            one the rest.
        ancestors: the process ids of a process and of its parents: memory of a child process is that of its owner.
    """
    of_process: dict[int, list[str]] = {}
    for owner in sorted(owners):
        number = owner.partition("-")[0]
        if number.isdecimal():
            of_process.setdefault(int(number), []).append(owner)
    used: dict[str, int] = {}
    left: dict[int, int] = {}
    for process, size in reading.by_process.items():
        known = next((each for each in (ancestors or _ancestors)(process) if each in of_process), None)
        if known is not None:
            left[known] = left.get(known, 0) + size
    for process, size in left.items():
        names = of_process[process]
        for owner in names[1:]:
            used[owner] = min(declared(owner), size)
            size -= used[owner]
        used[names[0]] = size
    return used, max(reading.total - sum(left.values()), 0)


def _ancestors(process: int) -> list[int]:
    """A process and its parents, as far as this system shows them."""
    found = [process]
    for _ in range(MAX_ANCESTORS):
        try:
            status = Path(f"/proc/{found[-1]}/stat").read_text()
        except OSError:
            break
        parent = int(status.rpartition(")")[2].split()[1])
        if parent <= 1:
            break
        found.append(parent)
    return found


def _reading(by_process: Mapping[int, int]) -> Reading:
    return Reading(sum(by_process.values()), {process: size for process, size in by_process.items() if process})
