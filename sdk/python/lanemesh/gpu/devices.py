"""Which GPUs are here: simulated ones if `LANEMESH_GPUS` names any, else those that NVML finds, else none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import gpu_pb2

VARIABLE = "LANEMESH_GPUS"
"""The environment variable that names simulated devices, such as `sim:0=24GiB,sim:1=80GiB`."""

_ENTRY = re.compile(r"\s*(?P<id>[a-z][a-z0-9_-]*:\d+)\s*=\s*(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]i?B|B)\s*")
_SIZE = re.compile(r"\s*(?P<number>\d+(\.\d+)?)\s*(?P<unit>[KMGT]i?B|B)\s*")
_UNITS = {"B": 1} | {
    f"{letter}{infix}B": base**power
    for power, letter in enumerate("KMGT", 1)
    for infix, base in (("i", 1024), ("", 1000))
}


class BadDeviceList(LanemeshError, ValueError):
    """`LANEMESH_GPUS` cannot be understood."""


def size_of(size: int | str) -> int:
    """Bytes of a size: a number, or a text with a unit, such as "6GiB" or "500MB".

    Raises:
        ValueError: it is neither, or negative.
    """
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is None:
            raise ValueError(
                f'{size!r} is not a size of memory: write it like "6GiB" or "500MB", or as a number of bytes'
            )
        return int(float(match["number"]) * _UNITS[match["unit"]])
    if size < 0:
        raise ValueError(f"a size of memory is {size}; it must not be negative")
    return size


def size_text(size: int) -> str:
    """Bytes for people: `6.0 GiB`, `512 MiB`, `300 B`."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << power:
            return f"{size / (1 << power):.1f} {unit}" if power == 30 else f"{size / (1 << power):.0f} {unit}"
    return f"{size} B"


def find_devices(environ: Mapping[str, str] | None = None) -> list[gpu_pb2.Device]:
    """The devices of this machine. Raises `BadDeviceList` for a malformed `LANEMESH_GPUS`; if it is empty or unset, NVML is
    queried."""
    simulated = (os.environ if environ is None else environ).get(VARIABLE, "")
    return parse_devices(simulated) if simulated.strip() else nvml_devices()


def parse_devices(text: str) -> list[gpu_pb2.Device]:
    """Simulated devices from `id=memory` entries parted by commas; memory with a unit, such as 24GiB or 500MB."""
    devices: dict[str, gpu_pb2.Device] = {}
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise _bad(f"{entry.strip()!r} is not a device: write it like sim:0=24GiB; separate several by commas.")
        if match["id"] in devices:
            raise _bad(f"{match['id']} is named twice.")
        memory = int(float(match["number"]) * _UNITS[match["unit"]])
        devices[match["id"]] = gpu_pb2.Device(id=match["id"], name="simulated", memory_bytes=memory)
    return list(devices.values())


def nvml_devices() -> list[gpu_pb2.Device]:
    """The devices that NVIDIA's management library finds; none without the extra `gpu` or without a driver.

    Ids are `cuda:N` by NVML's order, which is PCI bus order: CUDA programs agree if CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_nvml_device(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _nvml_device(pynvml: object, index: int) -> gpu_pb2.Device:
    from typing import Any, cast

    nvml = cast("Any", pynvml)
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    return gpu_pb2.Device(
        id=f"cuda:{index}",
        name=name.decode() if isinstance(name, bytes) else name,
        memory_bytes=nvml.nvmlDeviceGetMemoryInfo(handle).total,
    )


def _bad(what: str) -> BadDeviceList:
    fault = Fault(code=Code.INVALID_ARGUMENT, reason="bad-device-list", message=f"{VARIABLE} is invalid: {what}")
    return BadDeviceList(fault)
