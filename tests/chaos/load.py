"""The load: clients that start runs one after the other, and write down what they see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from random import Random
from typing import Any

from lanemesh import Client
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import LanemeshError
from lanemesh.v1 import update_pb2

from chaos.seen import HANG_SECONDS, Remembered, Seen
from rigs.runs import value_of

PAUSE_SECONDS = 0.3
"""Between two attempts of a client whose orchestrator cannot be reached."""
STATES = {
    update_pb2.RUN_STATE_COMPLETED: "completed",
    update_pb2.RUN_STATE_FAILED: "failed",
    update_pb2.RUN_STATE_CANCELLED: "cancelled",
}


def pipeline(ticks: int, pause: float) -> dict[str, Any]:
    """A source that ticks, two relays beside one another, and one more behind both."""

    def relay(name: str, *origins: str) -> dict[str, Any]:
        return {"id": name, "provider": "relay", "input": [{"lane": "text", "from": origin} for origin in origins]}

    config = {"ticks": ticks, "pause": pause}
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "ticker", "provider": "ticker", "config": config, "input": [{"lane": "text", "from": "chat"}]},
            relay("left", "ticker"),
            relay("right", "left"),
            {"id": "out", "provider": "response", "input": [{"lane": "text", "from": "right"}]},
        ],
        "timeout": 60,
    }


class Load:
    """Clients of a mesh. `seen` has every run that they have started, or tried to."""

    def __init__(self, address: str, random: Random) -> None:
        self.seen: list[Seen] = []
        self._address = address
        self._random = random
        self._over = asyncio.Event()

    def stop(self) -> None:
        """Starts no further runs."""
        self._over.set()

    async def client(self) -> None:
        """Runs pipelines one after the other until `stop`, each to its end."""
        while not self._over.is_set():
            seen = Seen(ticks=self._random.randrange(1, 200))
            self.seen.append(seen)
            began = time.monotonic()
            try:
                async with asyncio.timeout(HANG_SECONDS + 10.0):
                    await self._one(seen, began)
            except TimeoutError:
                pass  # its end is not set: it hangs
            except LanemeshError as error:
                seen.end, seen.detail = "broken", str(error)
            seen.seconds = time.monotonic() - began
            if seen.end == "broken":
                await asyncio.sleep(PAUSE_SECONDS)

    async def _one(self, seen: Seen, began: float) -> None:
        document = pipeline(seen.ticks, self._random.choice((0.0, 0.005, 0.02)))
        async with Client(self._address) as client:
            if self._random.random() < 0.5:
                detached = await client.start(document, input="go")
                seen.run_id = detached.id
                await self._follow(wire_updates(detached), seen)
            else:
                await self._follow(wire_updates(client.run(document, input="go")), seen)

    async def _follow(self, updates: AsyncGenerator[update_pb2.Update, None], seen: Seen) -> None:
        async with aclosing(updates):
            async for update in updates:
                note(update, seen)


def note(update: update_pb2.Update, seen: Seen) -> None:
    """Writes down what an update tells."""
    match update.WhichOneof("kind"):
        case "job":
            seen.run_id = update.job.run_id
            seen.end = STATES.get(update.job.state, "")
            seen.detail = update.job.error.message or update.job.reason
        case "output" if update.output.item.WhichOneof("payload"):
            seen.outputs[update.sequence] = value_of(update.output)


async def remembered(client: Client, run_id: str) -> Remembered | None:
    """What history has of a run; None if it has nothing."""
    seen, reason = Seen(ticks=0), ""
    try:
        async with asyncio.timeout(30.0):
            async for update in wire_updates(client.attach(run_id)):
                note(update, seen)
                if update.WhichOneof("kind") == "job":
                    reason = update.job.error.message
    except TimeoutError:
        return Remembered("without an end", reason, seen.outputs)
    except LanemeshError as error:
        if error.fault.reason == "unknown-run":
            return None
        raise
    return Remembered(seen.end or "without an end", reason, seen.outputs)
