"""Commands of the GPU arbiter: `gpu serve`, `gpu status`, `gpu watch`, `gpu explain` and `gpu simulate`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanemesh.times import measured, seconds_of, span

from lanemesh_orchestrator.cli.commands.nodes import print_rich
from lanemesh_orchestrator.cli.commands.plugins import part
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import check_address
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.streams import is_terminal
from lanemesh_orchestrator.cli.output.visible import cells, visible

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from lanemesh.v1 import gpu_pb2

_STATES = ("", "waiting", "held", "yielded", "resuming", "kept")
"""The states of leases, by number."""


def gpu_serve(*, host: str, port: int, insecure: bool, journal: Path | None, metrics: int | None) -> ExitCode:
    """Serves the GPUs of this machine until SIGTERM or Ctrl-C."""

    def on_ready(address: str) -> None:
        print(f"the GPU arbiter listens at {address}", file=sys.stderr, flush=True)

    asyncio.run(part("gpu-serve")(host, port, insecure=insecure, on_ready=on_ready, journal=journal, metrics=metrics))
    return ExitCode.COMPLETED


def gpu_status(*, arbiter: str | None, as_json: bool) -> ExitCode:
    """Prints the devices of an arbiter, or of this machine, with their memory, models, leases and waiting requests."""
    from lanemesh.gpu import connect

    if arbiter is not None:
        check_address("--arbiter", arbiter)

    async def read() -> tuple[list[gpu_pb2.DeviceStatus], list[gpu_pb2.LeaseStatus]]:
        link = connect(arbiter)
        try:
            return await link.status(), await link.leases()
        finally:
            await link.close()

    devices, leases = asyncio.run(read())
    if as_json:
        print(json_text({"devices": _dicts(devices), "leases": _dicts(leases)}, indent=2))
    elif not devices:
        where = f"The arbiter at {arbiter} has" if arbiter else "This machine has"
        print(f'{where} no GPUs. To simulate some: LANEMESH_GPUS="sim:0=24GiB"')
    else:
        for table in tables(devices, leases):
            print_rich(table)
    return ExitCode.COMPLETED


def gpu_watch(*, arbiter: str, as_json: bool) -> ExitCode:
    """Shows the devices and leases of an arbiter, and every change of them, until Ctrl-C or the end of the arbiter."""
    check_address("--arbiter", arbiter)
    return asyncio.run(_watch(arbiter, as_json=as_json))


def gpu_explain(*, arbiter: str, lease: str, run: str, component: str, as_json: bool) -> ExitCode:
    """Prints why requests wait."""
    from lanemesh.gpu import connect
    from lanemesh.v1 import gpu_pb2

    check_address("--arbiter", arbiter)

    async def read() -> list[gpu_pb2.LeaseExplanation]:
        link = connect(arbiter)
        try:
            return await link.explain(gpu_pb2.ExplainRequest(lease_id=lease, run_id=run, component=component))
        finally:
            await link.close()

    found = asyncio.run(read())
    if as_json:
        print(json_text(_dicts(found), indent=2))
        return ExitCode.COMPLETED
    if not found:
        print("No such request waits for a GPU.")
    for each in found:
        print(visible("\n".join(explained(each))))
    return ExitCode.COMPLETED


def gpu_simulate(*, file: Path, as_json: bool) -> ExitCode:
    """Replays a trace of requests with the arbiter's decisions and in strict order, and prints what came of it."""
    from lanemesh.gpu.simulation import MAX_OPTIMUM, Trace, compare, fewest_loads

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}. Name a file with a trace: docs/gpu.md") from None
    trace = Trace.parse(text)
    replays = compare(trace)
    fewest = fewest_loads(trace) if len(trace.requests) <= MAX_OPTIMUM else None
    if as_json:
        print(json_text({"fewest_loads": fewest, **{name: asdict(replay) for name, replay in replays.items()}}))
        return ExitCode.COMPLETED
    rows = [
        [
            *(name, str(replay.loads), str(replay.unloads), measured(sum(replay.waits) / max(len(replay.waits), 1))),
            *(measured(replay.wait_at(0.99)), measured(max(replay.waits, default=0.0)), measured(replay.ended)),
            *(f"{100 * replay.worked / replay.ended:.0f} %" if replay.ended else "", str(replay.refused)),
        ]
        for name, replay in replays.items()
    ]
    if fewest is not None:
        rows.append(["fewest loads", str(fewest), *[""] * 7])
    print_rich(_table(("ORDER", "LOADS", "UNLOADS", "MEAN WAIT", "P99", "LONGEST", "ENDED", "WORK", "REFUSED"), rows))
    return ExitCode.COMPLETED


def explained(found: gpu_pb2.LeaseExplanation) -> list[str]:
    """An explanation as lines."""
    from lanemesh.gpu.frames import holder_text

    status = found.lease
    if not status.position:
        return [f"{holder_text(status.holder)} does not wait: its lease of {status.device} is {_STATES[status.state]}"]
    eta = f", about {span(seconds_of(status.eta))} more" if status.HasField("eta") else ""
    waited = span(seconds_of(status.age))
    lines = [f"{holder_text(status.holder)} waits at position {status.position} for {waited}{eta}, because"]
    lines += [f"    {fact}" for fact in found.facts]
    lines += [f"    {_held(holder)}" for holder in found.holders]
    return lines


def tables(devices: Sequence[gpu_pb2.DeviceStatus], leases: Sequence[gpu_pb2.LeaseStatus]) -> list[Any]:
    """The devices, their models, the leases, and the requests that wait, each as a table of rich. Of the last three, those
    that are not empty."""
    having = [lease for lease in leases if not lease.position and lease.state != len(_STATES) - 1]
    waiting = [lease for lease in leases if lease.position]
    models = [(device.device.id, model) for device in devices for model in device.models]
    made = [_table(("DEVICE", "NAME", "MEMORY", "FREE", "LEASED", "MODELS", "OTHER"), map(_device_cells, devices))]
    if models:
        rows = [
            [
                device,
                model.model,
                _size(model.memory_bytes),
                _model_state(model),
                f"{seconds_of(model.reload_time):g} s",
            ]
            for device, model in models
        ]
        made.append(_table(("DEVICE", "MODEL", "MEMORY", "STATE", "RELOAD"), rows))
    if having:
        rows = [
            [
                *(lease.device, _STATES[lease.state], _holder(lease.holder), span(seconds_of(lease.age))),
                *(_size(lease.peak_bytes) if lease.peak_bytes else "all", lease.purpose or lease.model, lease.lease_id),
            ]
            for lease in having
        ]
        made.append(_table(("DEVICE", "STATE", "HOLDER", "FOR", "MEMORY", "DOES", "LEASE"), rows))
    if waiting:
        rows = [
            [
                *(str(lease.position), _holder(lease.holder), span(seconds_of(lease.age))),
                *(span(seconds_of(lease.eta)) if lease.HasField("eta") else "?", lease.reason),
            ]
            for lease in waiting
        ]
        made.append(_table(("QUEUE", "WAITS", "FOR", "ABOUT", "REASON"), rows))
    return made


async def _watch(arbiter: str, *, as_json: bool) -> ExitCode:
    from lanemesh.gpu import connect

    link = connect(arbiter)
    with Interrupts() as interrupts:
        try:
            if as_json or not is_terminal(sys.stdout):
                async for state in link.watch():
                    if as_json:
                        print(json_text(_dict(state)), flush=True)
                    else:
                        for table in tables(state.devices, state.leases):
                            print_rich(table)
                        print(flush=True)
            else:
                await _live(link)
        except asyncio.CancelledError:
            if not interrupts.interrupted:
                raise
            return ExitCode.INTERRUPTED
        finally:
            await link.close()
    return ExitCode.COMPLETED


async def _live(link: Any) -> None:
    from rich.console import Console, Group
    from rich.live import Live

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        async for state in link.watch():
            live.update(Group(*tables(state.devices, state.leases)), refresh=True)


def _table(columns: Sequence[str], rows: Any) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*cells(row, fold=False))
    return table


def _device_cells(status: gpu_pb2.DeviceStatus) -> list[str]:
    memory = status.memory
    other = memory.foreign + memory.excess + memory.lingering
    return [
        *(status.device.id, status.device.name, _size(status.device.memory_bytes), _size(memory.free)),
        *(_size(memory.leased), _size(memory.models), _size(other) if memory.observed else "unknown"),
    ]


def _model_state(model: gpu_pb2.ModelStatus) -> str:
    if model.unloading:
        return "is being unloaded"
    return f"idle for {span(seconds_of(model.idle))}" if model.HasField("idle") else "in use"


def _held(lease: gpu_pb2.LeaseStatus) -> str:
    does = lease.purpose or lease.model
    age = span(seconds_of(lease.age))
    return f"{lease.device} is held by {_holder(lease.holder)} for {age}" + (f": {does}" if does else "")


def _holder(holder: gpu_pb2.LeaseHolder) -> str:
    about = [f"on {holder.server}"] if holder.server else []
    about += [f"run {holder.run_id}"] if holder.run_id else []
    name = holder.component or "somebody"
    return f"{name} ({', '.join(about)})" if about else name


def _size(size: int) -> str:
    from lanemesh.gpu.devices import size_text

    return size_text(size)


def _dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [_dict(message) for message in messages]


def _dict(message: Message) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)
