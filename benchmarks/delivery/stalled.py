"""A client that stops reading: what each process grows, how far the source gets ahead, and whether it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from chain.systems import System, WrongResult
from chain.work import PROGRESS, Work
from delivery.memory import growth, resident_mib
from delivery.systems import deliver, started

NAMES = ("bare-coalesced", "client", "client-store", "lanemesh-spread", "lanemesh-embedded")
ENDLESS = 1_000_000_000
WARM_UP = 20_000
"""Items of a whole run before."""
READ = 5_000
"""Items that the client reads before it stands still, and after it, to see that none was lost."""


@dataclass(frozen=True, kw_only=True)
class Stall:
    """What became of a run whose client stopped reading."""

    system: str
    grown_mib: dict[str, float]
    """The most that each process has grown since the client stopped."""
    ahead: int
    """Items that the source had made at the end and the client had not taken."""
    still_emitted: int
    """Items that the source made in the last half of the time; 0 if it stood still."""

    @property
    def most_grown_mib(self) -> float:
        """Of the process that has grown most."""
        return max(self.grown_mib.values())


async def stall(name: str, seconds: float) -> Stall:
    """Reads some items of a run, does not read for so many seconds, and reads on.

    Raises:
        WrongResult: an item was lost or came twice.
    """
    async with started([name]) as systems:
        await deliver(systems[name], WARM_UP)
        with NamedTemporaryFile() as file:
            file.write(PROGRESS.pack(0))
            file.flush()
            return await _stalled(systems[name], Path(file.name), seconds)


async def _stalled(system: System, progress: Path, seconds: float) -> Stall:
    work = Work(items=ENDLESS, every=1, progress=str(progress))
    async with aclosing(_numbered(system, work)) as numbers:
        for _ in range(READ):
            await anext(numbers)
        before = resident_mib()
        grown: dict[str, float] = dict.fromkeys(before, 0.0)
        stopped, halfway = time.monotonic(), None
        while (elapsed := time.monotonic() - stopped) < seconds:
            await asyncio.sleep(min(1.0, seconds - elapsed))
            for process, mib in growth(before, resident_mib()).items():
                grown[process] = max(mib, grown.get(process, 0.0))
            if halfway is None and time.monotonic() - stopped >= seconds / 2:
                halfway = _made(progress)
        made = _made(progress)
        for _ in range(READ):
            await anext(numbers)
    return Stall(system=system.name, grown_mib=grown, ahead=made - READ, still_emitted=made - (halfway or 0))


async def _numbered(system: System, work: Work) -> AsyncGenerator[int, None]:
    """How many items have come, with each of them. Raises WrongResult at one that is not the next."""
    taken = 0
    async with aclosing(system.results(work)) as results:
        async for text in results:
            taken += 1
            if text != f"{taken} TOKEN {taken - 1}":
                raise WrongResult(f"{system.name} delivered {text!r:.80} as item {taken}")
            yield taken


def _made(progress: Path) -> int:
    """How many items the source has made."""
    (made,) = PROGRESS.unpack(progress.read_bytes())
    return int(made)
