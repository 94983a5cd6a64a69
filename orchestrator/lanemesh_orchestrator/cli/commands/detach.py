"""`lanemesh run --detach`: starts a run on a mesh and leaves it alone."""

from __future__ import annotations

import asyncio
import sys

from lanemesh.pipeline_faults import PipelineInvalid

from lanemesh_orchestrator.cli.commands.run import RunOptions, find_source
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, InvalidPipeline
from lanemesh_orchestrator.cli.input.documents import parse_settings, pipeline_of
from lanemesh_orchestrator.cli.input.hosts import open_host
from lanemesh_orchestrator.cli.input.inputs import Inputs
from lanemesh_orchestrator.cli.interrupts import Interrupts


def detach(options: RunOptions) -> ExitCode:
    """Starts a run with all its inputs, and prints its id. Raises `CommandError` if it cannot be started."""
    if options.host.mesh is None:
        raise CommandError("--detach needs --mesh: a run in this process, or spread from it, ends with this process.")
    for option, given in (("--watch", options.watch), ("--json", options.json), ("--output", options.outputs)):
        if given:
            raise CommandError(f"--detach and {option} cannot both be given: `lanemesh watch RUN` shows the run later.")
    try:
        run_id = asyncio.run(_main(options))
    except asyncio.CancelledError:
        return ExitCode.INTERRUPTED
    print(run_id)
    print(f"follow it with: lanemesh watch {run_id} --mesh {options.host.mesh}", file=sys.stderr)
    return ExitCode.COMPLETED


async def _main(options: RunOptions) -> str:
    pipeline, settings = await pipeline_of(options.pipe, options.host), parse_settings(options.settings)
    options.input.check()
    with Interrupts():
        async with open_host(options.host) as host:
            inputs = Inputs(options.input, await find_source(host, pipeline, settings, options.input, options.source))
            given = [value async for value in inputs]
            try:
                run = await host.start(
                    pipeline.document,
                    inputs=given,
                    settings=settings,
                    timeout=options.timeout,
                    trace=options.trace,
                    variables=pipeline.variables,
                    session=options.session,
                    source=options.source,
                )
            except PipelineInvalid as error:
                raise InvalidPipeline(pipeline.name, pipeline.text, error.faults) from None
            return run.id
