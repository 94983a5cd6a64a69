"""`lanemesh approve` and `lanemesh refuse`: decide what a component of a run waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanemesh_orchestrator.cli.commands.runs import find, run_on_mesh
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.hosts import HostOptions
from lanemesh_orchestrator.cli.output.visible import visible

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost


def decide(run: str, call: str, host: HostOptions, *, approved: bool, component: str, reason: str = "") -> ExitCode:
    """Decides an approval, and prints the decision. An empty `call` is the only one that is pending."""

    async def work(mesh: RunHost) -> ExitCode:
        found = (await find(mesh, run)).run_id
        call_id, owner = (call, component) if call else await _only(mesh, found, component)
        if approved:
            await mesh.approve(found, call_id, component=owner)
        else:
            await mesh.refuse(found, call_id, reason, component=owner)
        print(visible(f"{found}: {call_id} {'approved' if approved else 'refused'}"))
        return ExitCode.COMPLETED

    return run_on_mesh(host, work)


async def _only(mesh: RunHost, run_id: str, component: str) -> tuple[str, str]:
    pending = [one for one in (await mesh.record(run_id)).approvals if component in ("", one.component)]
    if len(pending) == 1:
        return pending[0].call_id, pending[0].component
    if not pending:
        raise CommandError(f"{run_id} waits for no approval{f' of {component}' if component else ''}.")
    listed = ", ".join(f"{one.call_id} of {one.component}" for one in pending[:10])
    raise CommandError(f"{run_id} waits for {len(pending)} approvals: {listed}. Name the CALL.")
