"""A minute in the life of an idle lane behind a proxy that cuts silent streams: `python -m rigs.lane_minute`.

A process of its own, so that the minute passes beside other tests.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rigs import lane_acts as acts
from rigs.beside import tell
from rigs.lane_frames import RawLane, Recorder, opening, raw_channel, serving
from rigs.lane_proxies import envoy_before
from rigs.lanes import Child, Wire, rig

IDLE_LIMIT = 30.0
"""Seconds of silence after which the proxy cuts a stream."""
IDLE = 65.0
"""Seconds for which the lane is idle."""


async def silent_lane(address: str) -> dict[str, Any]:
    """Opens a lane on which nobody gives a sign of life, and waits for its end."""
    async with raw_channel(address) as channel:
        lane = RawLane(channel)
        await lane.send(opening("run", "edge"))
        await lane.accepted()
        start = time.monotonic()
        code, _, _ = await lane.status()
        return {"code": code.name, "seconds": time.monotonic() - start}


async def main() -> dict[str, Any]:
    """Lives the minute, and returns what came of it."""
    child = Child()
    recorder = Recorder()
    try:
        async with (
            serving(recorder) as silent,
            envoy_before([child.address, silent], idle_seconds=IDLE_LIMIT) as (proxied, silent_proxied),
            rig(child, address=proxied, tidy=False) as lanes,
            lanes.run(Wire(), Wire(consumer="consumer_b")) as run,
        ):
            cut = asyncio.create_task(silent_lane(silent_proxied))
            await run.producer.act(acts.emit, "before")
            seen = await run.consumer.act(acts.take, 1)
            await asyncio.sleep(IDLE)
            await run.producer.act(acts.emit, "after")
            await run.producer.act(acts.leave)
            taken, fault = await run.consumer.act(acts.take_until_fault)
            whole, other = await run.hand("consumer_b").act(acts.take_until_fault)
            await run.consumer.act(acts.leave)
            await run.hand("consumer_b").act(acts.leave)
            return {
                "taken": [*seen, *taken],
                "taken_b": whole,
                "faults": [str(one) for one in (fault, other, *await run.finished()) if one is not None],
                "silent": await cut,
            }
    finally:
        child.close()


if __name__ == "__main__":
    tell(main)
