"""Lanes whose other end freezes or is cut off: `python -m rigs.lane_breaks`.

A process of its own, since it mostly waits: other tests run meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lanemesh.faults import Code, Fault

from rigs import lane_acts as acts
from rigs.beside import tell
from rigs.lane_proxies import Cable
from rigs.lanes import Child, Rig, Running, Wire, rig, standstill

THITHER = Wire(producer="here_a", consumer="there_a")
HITHER = Wire(producer="there_b", consumer="here_b")


@asynccontextmanager
async def fragile(*, tidy: bool = True) -> AsyncIterator[tuple[Child, Rig]]:
    """A rig with a child process of its own, in which components live whose names begin with `there`."""
    child = Child()
    try:
        async with rig(child, there="there", tidy=tidy) as made:
            yield child, made
    finally:
        child.close()


def check_unavailable(fault: Fault | None, wire: Wire) -> None:
    """The fault says that the lane broke, and which."""
    assert fault is not None
    assert fault.code is Code.UNAVAILABLE, fault
    assert fault.secondary
    assert wire.id in fault.message


async def both_ends_see(run: Running) -> None:
    """Waits until a producer and a consumer here see that their lanes broke."""
    check_unavailable(await run.hand("here_a").look(acts.broken), THITHER)
    taken, fault = await run.hand("here_b").act(acts.take_until_fault)
    assert taken == ["before"]
    check_unavailable(fault, HITHER)


async def freeze() -> None:
    """A peer is stopped: both ends of lanes to it see that."""
    async with fragile(tidy=False) as (child, lanes), lanes.run(THITHER, HITHER) as run:
        await run.hand("there_b").act(acts.emit, "before")
        await run.hand("here_b").look(acts.arrived, 1)
        child.signal(signal.SIGSTOP)
        async with asyncio.timeout(20):
            await both_ends_see(run)


async def cut(*, busy: bool) -> None:
    """The wire to a peer is cut, while a lane over it is `busy` or idle: both ends see that."""
    child = Child()
    try:
        async with (
            Cable(child.address) as cable,
            rig(child, address=cable.address, tidy=False) as lanes,
            lanes.run() as run,
        ):
            text = "x" * 100_000 if busy else "x"
            emitting = run.producer.begin(acts.emit_copies, text, 10_000 if busy else 1)
            await run.consumer.look(acts.arrived, 1)
            await standstill(run.producer, run.consumer)
            cable.cut()
            async with asyncio.timeout(20):
                check_unavailable(await run.producer.look(acts.broken), run.wires[0])
                taken, fault = await run.consumer.act(acts.take_until_fault)
                check_unavailable(fault, run.wires[0])
                assert taken
            await asyncio.wait([emitting])
            assert (emitting.exception() is not None) == busy
    finally:
        child.close()


async def main() -> dict[str, Any]:
    """All of them at once."""
    seen = await asyncio.gather(freeze(), cut(busy=False), cut(busy=True))
    return {"seen": len(seen)}


if __name__ == "__main__":
    tell(main)
