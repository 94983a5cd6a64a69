"""L5: resources are loaded and kept without a run."""

from __future__ import annotations

import asyncio

from lanemesh.faults import Code

from lanemesh_orchestrator.conformance.checks import QUIET_SECONDS, check, expect
from lanemesh_orchestrator.conformance.driver import Driver
from lanemesh_orchestrator.conformance.frames import faults_shown, shown
from lanemesh_orchestrator.conformance.l0_host import coded
from lanemesh_orchestrator.conformance.places import instance, place

RULE = "Preload"


@check("L5", "keep-warm", "`place` with keep_warm is answered by `placed`, and holds until the stream ends.", rule=RULE)
async def keep_warm(driver: Driver) -> None:
    driver.needs("conformance_echo")
    host = driver.host()
    await host.place_well(place(driver.run_id(), instance("conformance_echo"), keep_warm=True, features=["preload"]))
    await asyncio.sleep(QUIET_SECONDS)
    expect(len(host.frames) == 1, "`placed` alone", shown(host.frames[-1]))
    expect(not host.is_over, "a stream that goes on", "its end")
    await host.half_close()
    code = await host.status()
    expect(code.name == "OK", "the status OK after the half-close", await host.described())


@check("L5", "keep-warm-fault", "What cannot be loaded is a fault of `placed`.", rule=RULE)
async def keep_warm_fault(driver: Driver) -> None:
    part = place(driver.run_id(), instance("conformance_no_such_type"), keep_warm=True, features=["preload"])
    faults = await driver.host().place(part)
    expect(len(faults) == 1, "one fault", faults_shown(faults))
    coded(faults[0], Code.NOT_FOUND, "unknown-provider", "a fault of `placed`")


@check("L5", "keep-warm-beside", "A run of the same node type goes beside it.", rule=RULE)
async def keep_warm_beside(driver: Driver) -> None:
    driver.needs("conformance_echo")
    await driver.host().place_well(
        place(driver.run_id(), instance("conformance_echo"), keep_warm=True, features=["preload"])
    )
    async with driver.run("conformance_echo") as run:
        await run.input.texts("a")
        await run.output.items(1)
