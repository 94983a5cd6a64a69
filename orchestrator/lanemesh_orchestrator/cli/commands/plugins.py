"""Commands that other packages implement: `models list`, `models get`, `gpu serve`, `gpu status`.

The orchestrator imports no services. Their functions for the command line are found by the entry-point group `lanemesh.commands`:
`models-get` is `get(name, *, report) -> Path`, `models-list` is `known() -> list[dict[str, str]]` with `name`, `summary`,
`requirement` and `path` (empty unless installed), `gpu-serve` is the coroutine function `serve(host, port, *, insecure, on_ready)`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from lanemesh.times import seconds_of

from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import check_address

if TYPE_CHECKING:
    from lanemesh.v1 import gpu_pb2

GROUP = "lanemesh.commands"
"""The entry-point group."""


def part(name: str) -> Any:
    """The function of an installed package with a name. Raises `CommandError` if there is none."""
    from importlib.metadata import entry_points

    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise CommandError(
            f"No installed package has the plugin {name} ({GROUP}). Install Lanemesh again: pip install lanemesh",
            ExitCode.FAILED,
        )
    return found[0].load()


def models_get(name: str) -> ExitCode:
    """Installs a model's package."""
    part("models-get")(name, report=lambda line: print(line, file=sys.stderr, flush=True))
    return ExitCode.COMPLETED


def models_list(*, as_json: bool) -> ExitCode:
    """Prints the models that have a name: whether each is installed, and where, or how to install it."""
    models = part("models-list")()
    if as_json:
        import json

        print(json.dumps(models, indent=2, ensure_ascii=False))
        return ExitCode.COMPLETED
    for model in models:
        where = model["path"] or f"not installed; install it with: lanemesh models get {model['name']}"
        print(f"{model['name']}  {model['summary']}\n    {where}")
    return ExitCode.COMPLETED


def gpu_serve(*, host: str, port: int, insecure: bool) -> ExitCode:
    """Serves the GPUs of this machine until SIGTERM or Ctrl-C."""

    def on_ready(address: str) -> None:
        print(f"the GPU arbiter listens at {address}", file=sys.stderr, flush=True)

    asyncio.run(part("gpu-serve")(host, port, insecure=insecure, on_ready=on_ready))
    return ExitCode.COMPLETED


def gpu_status(*, arbiter: str | None, as_json: bool) -> ExitCode:
    """Prints the devices of an arbiter, or of this machine, with their holders and waiting requests."""
    from lanemesh.gpu import status

    if arbiter is not None:
        check_address("--arbiter", arbiter)
    devices = asyncio.run(status(arbiter))
    if as_json:
        from google.protobuf.json_format import MessageToDict

        print(json_text([MessageToDict(device, preserving_proto_field_name=True) for device in devices], indent=2))
    else:
        print(render_devices(devices, arbiter))
    return ExitCode.COMPLETED


def render_devices(devices: list[gpu_pb2.DeviceStatus], arbiter: str | None) -> str:
    """Devices as lines: description, holder, time held, waiting requests."""
    if not devices:
        where = f"The arbiter at {arbiter} has" if arbiter else "This machine has"
        return f'{where} no GPUs. To simulate some: LANEMESH_GPUS="sim:0=24GiB"'
    lines = []
    for status in devices:
        device = status.device
        lines.append(f"{device.id}  {device.name}  {device.memory_bytes / 2**30:.1f} GiB  {_use(status)}")
        for lease in status.leases:
            verb = "yielded by" if lease.yielded else "held by"
            age = seconds_of(lease.age)
            lines.append(f"    {verb} {_holder(lease.holder)} for {age:.1f} s (lease {lease.lease_id})")
        lines += [f"    {place} in the queue: {_holder(holder)}" for place, holder in enumerate(status.waiting, 1)]
    return "\n".join(lines)


def _use(status: gpu_pb2.DeviceStatus) -> str:
    held = any(not lease.yielded for lease in status.leases)
    return "in use" if held else "free"


def _holder(holder: gpu_pb2.LeaseHolder) -> str:
    about = [f"on {holder.server}"] if holder.server else []
    about += [f"run {holder.run_id}"] if holder.run_id else []
    name = holder.component or "another process"
    return f"{name} ({', '.join(about)})" if about else name
