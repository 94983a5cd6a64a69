"""`lanemesh deploy`, `deployments` and `undeploy`: pipelines that a mesh keeps ready under a name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from lanemesh.client.client import Client
from lanemesh.client.deployment_info import DeploymentInfo
from lanemesh.faults import Code, LanemeshError
from lanemesh.pipeline_faults import PipelineInvalid
from lanemesh.times import age

from lanemesh_orchestrator.cli.commands.nodes import print_rich
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, InvalidPipeline
from lanemesh_orchestrator.cli.input.documents import parse_settings, read_pipeline
from lanemesh_orchestrator.cli.input.encoding import json_text
from lanemesh_orchestrator.cli.input.hosts import check_address
from lanemesh_orchestrator.cli.interrupts import Interrupts
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.visible import cells, visible
from lanemesh_orchestrator.record_json import deployment_json

_T = TypeVar("_T")


def deploy(pipe: str, name: str, settings: Sequence[str], *, mesh: str, timeout: float | None) -> ExitCode:
    """Deploys a pipeline, and prints its servers."""
    if pipe.startswith("@"):
        raise CommandError(f"{pipe} is already deployed. Give the .pipe file of a pipeline.")
    pipeline, given = read_pipeline(pipe), parse_settings(settings)

    async def work(client: Client) -> DeploymentInfo:
        try:
            return await client.deploy(
                name, pipeline.text, settings=given, timeout=timeout, variables=pipeline.variables
            )
        except PipelineInvalid as error:
            raise InvalidPipeline(pipeline.name, pipeline.text, error.faults) from None

    deployed = on_mesh(mesh, work)
    print(visible(f"{name} version {deployed.version} is {deployed.state}: {placements_text(deployed)}"))
    return ExitCode.COMPLETED


def deployments(*, mesh: str, as_json: bool) -> ExitCode:
    """Prints the deployed pipelines."""
    found = on_mesh(mesh, lambda client: client.deployments())
    if as_json:
        print(json_text([deployment_json(deployment) for deployment in found], indent=2))
    elif not found:
        print("There are no deployed pipelines. Deploy one with: lanemesh deploy FILE.pipe --name NAME")
    else:
        _print_table(found)
    return ExitCode.COMPLETED


def undeploy(names: Sequence[str], *, mesh: str) -> ExitCode:
    """Removes deployed pipelines. A name that does not exist is reported, and the others are removed."""

    async def work(client: Client) -> ExitCode:
        code = ExitCode.COMPLETED
        for name in dict.fromkeys(names):
            try:
                await client.undeploy(name)
            except LanemeshError as error:
                if len(names) == 1 or error.fault.code not in (Code.NOT_FOUND, Code.INVALID_ARGUMENT):
                    raise
                code = report(error)
            else:
                print(f"{name} is no longer deployed.")
        return code

    return on_mesh(mesh, work)


def placements_text(deployment: DeploymentInfo) -> str:
    """The servers on which components are kept ready: `llm_1 on llm, llm-2`."""
    servers: dict[str, list[str]] = {}
    for placement in deployment.placements:
        servers.setdefault(placement.component, []).append(placement.server)
    return (
        "; ".join(f"{component} on {', '.join(names)}" for component, names in servers.items()) or "in the orchestrator"
    )


def _print_table(found: Sequence[DeploymentInfo]) -> None:
    from rich.table import Table

    table = Table("name", "version", "state", "where", "runs", "age", "", box=None, pad_edge=False, expand=True)
    table.columns[6].ratio, table.columns[6].no_wrap, table.columns[6].overflow = 1, True, "ellipsis"
    for one in found:
        old = age((datetime.now(UTC) - one.created_at).total_seconds())
        place = placements_text(one) if one.placements or not one.detail else ""
        detail = " ".join(one.detail.split())
        texts = (one.name, str(one.version), one.state, place, str(one.active_runs), old)
        table.add_row(*cells(texts), *cells([detail], fold=False))
    print_rich(table)


def on_mesh(mesh: str, work: Callable[[Client], Awaitable[_T]]) -> _T:
    """Does `work` with a client of the orchestrator at an address."""
    check_address("--mesh", mesh)

    async def ask() -> _T:
        with Interrupts():
            async with Client(mesh) as client:
                return await work(client)

    try:
        return asyncio.run(ask())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
