"""What an orchestrator knows of its runs that have not ended: the report of a test in which a run did not end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from lanemesh._aio.tasks import standing
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.host_connection import GrpcConnection
from lanemesh_orchestrator.runs.host_handle import HostHandle


async def report(orchestrator: Orchestrator) -> str:
    """The node servers, each run that has not ended, with its hosts and what its nodes wait for, and where each task of this event
    loop waits. Takes a second if a node server does not answer."""
    lines = ["node servers:", *_members(orchestrator)]
    for run in orchestrator.runs.known():
        if not run.ended.is_set():
            lines += _run(run)
            lines.append(f"  its nodes wait: {await run._deadlocks.describe_waits(run._hosts) or 'not, or not known'}")
    return "\n".join([*lines, "tasks:", *sorted(f"  {standing(task)}" for task in asyncio.all_tasks())])


def _members(orchestrator: Orchestrator) -> Iterator[str]:
    for name, member in orchestrator.registry.members.items():
        why = f", unreachable: {member.unreachable}" if member.unreachable else ""
        yield f"  {name} is {member.info.pid} at {member.info.address} with {member.load.instances} components{why}"


def _run(run: ActiveRun) -> list[str]:
    where = "waits for servers" if run._assignment.waiting else update_pb2.RunState.Name(run.state)
    lines = [f"{run.id}: {where}, without an end of {', '.join(sorted(run._router.going)) or 'no component'}"]
    lines += [f"  fault: {fault.message}" for fault in run._verdict._faults]
    if run._recovery is not None:
        missing = ", ".join(run._recovery._missing) or "no component"
        task = run._recovery.task
        lines.append(f"  recovery: {missing} is missing; {standing(task) if task is not None else 'it has not begun'}")
    return [*lines, *map(_host, run._hosts)]


def _host(host: HostHandle) -> str:
    phases = [("placed", host.placed), ("connected", host.connected), ("finished", host.finished)]
    done = [name for name, answer in phases if answer.done()] + (["started"] if host.started else [])
    components = ", ".join(instance.component for instance in host.place.instances)
    silent = asyncio.get_running_loop().time() - host.heard_at
    stream = ""
    if isinstance(host._connection, GrpcConnection):
        used = "used before" if host._connection._stream.used else "new"
        stream = f", its stream is {used}{' and has ended' if host._connection._stream.call.done() else ''}"
    return (
        f"  {host.server}, part {host.place.incarnation} with {components}: {', '.join(done) or 'not placed'}; "
        f"silent for {silent:.1f} s{stream}"
    )
