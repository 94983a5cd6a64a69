"""What a node server has on GPUs, as it reports it to its orchestrator, which places components by it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from lanemesh._aio.threads import THREADS
from lanemesh.faults import LanemeshError
from lanemesh.model_users import MAX_DEVICES, MAX_MODELS, MAX_SETTINGS
from lanemesh.v1 import registry_pb2

if TYPE_CHECKING:
    from lanemesh.server.host.host import NodeHost

REPORT_SECONDS = 1.0
"""Least time between two reports."""
REFRESH_SECONDS = 5.0
"""Longest time after which the devices are looked at again: other processes may use them."""

log = logging.getLogger("lanemesh.registration")


async def watch_gpus(host: NodeHost, on_report: Callable[[registry_pb2.GpuReport], object]) -> None:
    """Calls `on_report` when what a host has on GPUs has changed, at most once a second, until it is cancelled. A host that has
    nothing at first reports nothing."""
    reported = registry_pb2.GpuReport()
    try:
        await _open_own(host)
    except LanemeshError as error:
        log.warning("this server does not report its GPUs to the orchestrator, because it found none: %s", error)
    while True:
        host.gpu_changed.clear()
        report = gpu_report(host)
        if report != reported:
            reported = report
            on_report(report)
        await asyncio.sleep(REPORT_SECONDS)
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                await host.gpu_changed.wait()
        except TimeoutError:
            pass


def gpu_report(host: NodeHost) -> registry_pb2.GpuReport:
    """The models that the host has loaded, and the devices of its own arbiter."""
    link = host.opened_gpu_link
    if link is None:
        return registry_pb2.GpuReport()
    models = [
        registry_pb2.LoadedGpuModel(
            device=model.device, memory_bytes=model.size, settings=sorted(model.settings)[:MAX_SETTINGS]
        )
        for model in link.models.loaded[:MAX_MODELS]
    ]
    devices = [
        registry_pb2.GpuCapacity(
            device=status.device.id,
            memory_bytes=status.device.memory_bytes,
            free_bytes=status.memory.free,
            leases=len(status.leases),
        )
        for status in link.own_devices()[:MAX_DEVICES]
    ]
    return registry_pb2.GpuReport(models=models, devices=devices)


async def _open_own(host: NodeHost) -> None:
    """Finds the devices of a host that has no other arbiter, if it has node types that use them. It may take seconds."""
    if host.gpu_arbiter or not any(manifest.HasField("gpu") for manifest in host.manifests()):
        return
    from lanemesh.gpu import embedded_arbiter

    if host.opened_gpu_link is None:
        await THREADS.call(embedded_arbiter)
        _ = host.gpu_link
