"""Says in words who waits for whom in a run in which nothing has moved for a while. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lanemesh_orchestrator.deadlock.snapshot import EdgeIndex, Link, Snapshot, waits_for_capacity, waits_for_input


def who_waits(links: EdgeIndex, look: Snapshot, *, source: str | None = None) -> Mapping[str, str]:
    """By edge: who waits there for whom, and what that one is doing.

    Only edges whose end the others wait for is not waiting within the run itself are in it: everybody else waits, in the end, for
    one of these. `source` is the component that the client feeds.
    """
    found: dict[str, str] = {}
    for link in links.by_id.values():
        end = look.consumers.get(link.id)
        if end is None or end.ended:
            continue
        if waits_for(look, link.consumer, link, room=False) and not _idle(look, link.producer):
            found[link.id] = f"{waits_for_input(links, link)}, which {_doing(look, link.producer, source)}"
        elif not _idle(look, link.consumer):
            doing = _doing(look, link.consumer, None)
            if waits_for(look, link.producer, link, room=True):
                found[link.id] = f"{waits_for_capacity(link, end)}; {link.consumer} {doing}"
            elif end.items > end.taken:
                waiting = end.items - end.taken
                items = f"{waiting:,} items wait" if waiting > 1 else "1 item waits"
                found[link.id] = f"{items} for {link.consumer}, which {doing}"
    return found


def waits_for(look: Snapshot, component: str, link: Link, *, room: bool) -> bool:
    """Whether an idle component waits for capacity on an edge, or for what comes by it."""
    actor = look.actors.get(component)
    if actor is None:
        return False
    if room:
        return any(link.id in wait.full_edges for wait in actor.waits)
    return any(link.input in (*wait.any_inputs, *wait.all_inputs) for wait in actor.waits)


def _idle(look: Snapshot, component: str) -> bool:
    actor = look.actors.get(component)
    return actor is not None and bool(actor.waits)


def _doing(look: Snapshot, component: str, source: str | None) -> str:
    actor = look.actors.get(component)
    if actor is None:
        return "does not report its state: it is ending, or its server does not answer"
    if actor.outside:
        return f"waits for {actor.outside}"
    if component == source:
        return "waits for the client, or is busy"
    return "is busy, or waits for something outside the run"
