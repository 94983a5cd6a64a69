"""The systems whose every item reaches the client: meshes as users run them, and their hand-written peers, started and warm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from chain import mesh
from chain.bare import BareCoalesced, BareOne, bare_chain
from chain.in_process import InProcess
from chain.systems import System, WrongResult
from chain.work import Work
from delivery.served import ServedChain, served


@dataclass(frozen=True)
class Compared:
    """A system of Lanemesh, and what it is compared with."""

    name: str
    peer: str
    """The system that does the same work by hand."""
    least: float
    """The share of the peer's items a second that it has to reach."""


COMPARED = (
    Compared("client", "bare-coalesced", 0.4),
    Compared("client-store", "bare-coalesced", 0.2),
    Compared("lanemesh-spread", "bare-coalesced", 0.6),
    Compared("lanemesh-embedded", "in-process", 0.3),
)
NAMES = (*(each.name for each in COMPARED), "bare-coalesced", "bare-one", "in-process")


@asynccontextmanager
async def started(names: Collection[str]) -> AsyncIterator[dict[str, System]]:
    """The named systems; leaving ends their processes."""
    systems: list[System] = []
    async with AsyncExitStack() as stack:
        if not {"bare-one", "bare-coalesced"}.isdisjoint(names):
            channel = await stack.enter_async_context(bare_chain())
            systems += [BareOne(channel), BareCoalesced(channel)]
        if "in-process" in names:
            systems.append(InProcess())
        for name, store in (("client", False), ("client-store", True)):
            if name in names:
                systems.append(ServedChain(name, await stack.enter_async_context(served(store=store))))
        if "lanemesh-spread" in names:
            systems.append(await stack.enter_async_context(mesh.spread()))
        if "lanemesh-embedded" in names:
            systems.append(await stack.enter_async_context(mesh.embedded()))
        yield {system.name: system for system in systems if system.name in names}


async def deliver(system: System, items: int) -> None:
    """Runs the chain once; the client takes every item. Raises WrongResult if one was lost."""
    taken, last = 0, ""
    async for text in system.results(Work(items=items, every=1)):
        taken, last = taken + 1, text
    if taken != items or last != f"{items} TOKEN {items - 1}":
        raise WrongResult(
            f"{system.name} was given {items} items, and delivered {taken}, the last of them {last!r:.80}"
        )
