"""What tests of lanes tell puppets to do. They are sent to other processes by name, and so are plain functions."""

from __future__ import annotations

import asyncio
import copy
from contextlib import aclosing
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any

import psutil
from lanemesh.faults import Code, Fault, LaneFault, LanemeshError
from lanemesh.items import ABSENT, Envelope, Group, Item
from lanemesh.lanes.inbox.inbox import EdgeStatistics

from rigs.lane_nodes import Leave, Stage


async def emit(stage: Stage, value: Any, port: str = "out", envelope: Envelope | None = None) -> bool:
    """Emits one value."""
    return await stage.outputs.emit(port, value, envelope)


async def emit_each(stage: Stage, values: list[Any], port: str = "out") -> int:
    """Emits several values. Returns how many were wanted."""
    stage.notes[port] = 0
    for value in values:
        if not await stage.outputs.emit(port, value):
            break
        stage.notes[port] += 1
    return int(stage.notes[port])


async def emit_numbers(stage: Stage, count: int, port: str = "out") -> int:
    """Emits "0", "1", ... Returns how many were wanted."""
    sent = stage.notes[port] = 0
    while sent < count and await stage.outputs.emit(port, str(sent)):
        sent = stage.notes[port] = sent + 1
    return sent


async def emit_copies(stage: Stage, value: Any, count: int, port: str = "out") -> int:
    """Emits one value again and again. Returns how often it was wanted."""
    sent = stage.notes[port] = 0
    while sent < count and await stage.outputs.emit(port, value):
        sent = stage.notes[port] = sent + 1
    return sent


async def emitted(stage: Stage, port: str = "out") -> int:
    """How many items have left the producer's `emit`."""
    return int(stage.notes.get(port, 0))


async def complete(stage: Stage, port: str = "out") -> None:
    """Ends an output."""
    await stage.outputs.complete(port)


async def leave(stage: Stage) -> None:
    """Returns from `run`."""
    raise Leave


async def fail(stage: Stage, fault: Fault | None = None) -> None:
    """Fails: with a fault, or with an error of the node's own."""
    error = LanemeshError(fault) if fault is not None else ZeroDivisionError("the node's own fault")
    raise Leave from error


async def emit_then_fail(stage: Stage, count: int, fault: Fault | None) -> None:
    """Emits "0", "1", ... and fails right behind."""
    await emit_numbers(stage, count)
    await fail(stage, fault)


async def take(stage: Stage, count: int, port: str = "values") -> list[Any]:
    """Takes that many values; fewer if the port ends before."""
    taken: list[Any] = []
    async with aclosing(stage.inputs.stream(port)) as values:
        while len(taken) < count:
            try:
                taken.append(await anext(values))
            except StopAsyncIteration:
                break
            stage.notes["taken"] = stage.notes.get("taken", 0) + 1
    return taken


async def take_number_of(stage: Stage, count: int, port: str = "values") -> int:
    """Takes that many values, and tells only how many there were."""
    taken = 0
    async with aclosing(stage.inputs.stream(port)) as values:
        async for _ in values:
            taken += 1
            if taken == count:
                break
    return taken


async def take_all(stage: Stage, port: str = "values") -> list[Any]:
    """Takes every value until the end."""
    return [value async for value in stage.inputs.stream(port)]


async def check_numbers(stage: Stage, port: str = "values") -> int:
    """Takes every value until the end; each must be its own number. Returns how many there were."""
    number = 0
    async for value in stage.inputs.stream(port):
        assert value == str(number)
        number += 1
    return number


async def take_until_fault(stage: Stage, port: str = "values") -> tuple[list[Any], Fault | None]:
    """Takes every value until the end. Returns them, and the fault with which the lane ended; None if it ended well."""
    taken: list[Any] = []
    try:
        async for value in stage.inputs.stream(port):
            taken.append(value)
    except LaneFault as error:
        return taken, error.fault
    return taken, None


async def take_pairs_until_fault(stage: Stage) -> tuple[list[Any], Fault | None]:
    """Takes every value of every port until the end, as `take_until_fault` does of one."""
    taken: list[Any] = []
    try:
        async for _, value in stage.inputs.iter_any():
            taken.append(value)
    except LaneFault as error:
        return taken, error.fault
    return taken, None


async def take_though_cancelled(stage: Stage, port: str = "values") -> None:
    """Goes on taking when it is cancelled, and notes the fault with which the lane ended."""
    try:
        await take_all(stage, port)
    except asyncio.CancelledError:
        stage.note("cancelled", True)
        stage.note("fault", await fault_of(stage, port))
        raise


async def fault_of(stage: Stage, port: str = "values") -> Fault | None:
    """Waits until the one lane of a port has ended. Returns its fault."""
    (edge,) = stage.inbox.port(port).edges
    await ended(stage, port)
    return edge.fault


async def noted(stage: Stage, what: str) -> Any:
    """Waits until the body has noted something, and returns it."""
    while what not in stage.notes:
        await stage.noting.wait()
    return stage.notes[what]


async def edges(stage: Stage) -> dict[str, EdgeStatistics]:
    """The consumer ends of its lanes."""
    return {edge.id: edge.statistics() for edge in stage.inbox.edges()}


async def arrived(stage: Stage, count: int, port: str = "values") -> None:
    """Waits until that many items have arrived at a port."""
    while sum(edge.arrived for edge in stage.inbox.port(port).edges) < count:
        await stage.inbox.watch()


async def ended(stage: Stage, port: str = "values") -> None:
    """Waits until every lane of a port has ended."""
    while not all(edge.ended for edge in stage.inbox.port(port).edges):
        await stage.inbox.watch()


async def resident_bytes(stage: Stage) -> int:
    """Memory that its process occupies."""
    return int(psutil.Process().memory_info().rss)


async def nothing(stage: Stage) -> None:
    """Comes back, which takes a round through the process's event loop."""
    await asyncio.sleep(0)


async def emit_and_change(stage: Stage, value: Any) -> None:
    """Emits a list or an object, and changes it as soon as `emit` returns."""
    await stage.outputs.emit("out", value)
    change(value)


async def take_and_change(stage: Stage) -> tuple[Any, bool]:
    """Takes one value. Returns a copy of it as it came, and whether it could be changed in place."""
    (value,) = await take(stage, 1)
    came = copy.deepcopy(value)
    return came, change(value)


def change(value: Any) -> bool:
    """Changes whatever can be changed in a value, however deep; returns whether anything could."""
    changed = False
    if isinstance(value, dict):
        changed = bool(sum(map(change, value.values())))
        try:
            value["changed"] = True
            changed = True
        except TypeError:
            pass
    elif isinstance(value, (list, tuple)):
        changed = bool(sum(map(change, value)))
        if isinstance(value, list):
            value.append("changed")
            changed = True
    elif isinstance(value, bytearray):
        value[:] = b"changed"
        changed = True
    elif is_dataclass(value):
        for field in fields(value):
            changed |= change(getattr(value, field.name))
            try:
                setattr(value, field.name, None)
                changed = True
            except FrozenInstanceError:
                pass
    return changed


async def take_items(stage: Stage, count: int) -> list[Item]:
    """Takes that many items, with their envelopes, from any port."""
    items: list[Item] = []
    async with aclosing(stage.inputs.iter_items()) as pairs:
        while len(items) < count:
            items.append((await anext(pairs))[1])
    return items


async def broken(stage: Stage) -> Fault | None:
    """Waits until the one lane that leaves here takes nothing any more. Returns its fault."""
    (sender,) = stage.outputs.senders
    stopped = asyncio.Event()
    sender.when_stopped(stopped.set)
    await stopped.wait()
    return sender.fault


async def pass_on(stage: Stage) -> None:
    """Emits every value it takes."""
    async for value in stage.inputs.stream("values"):
        if not await stage.outputs.emit("out", value):
            break


async def emit_then_raise(stage: Stage) -> None:
    """Emits "0", "1", ... for ever; what stops it ends the node."""
    try:
        await emit_numbers(stage, 10**9)
    except LaneFault as error:
        stage.leaving = error
        raise


async def take_pairs(stage: Stage, count: int) -> list[tuple[str, Any]]:
    """Takes that many pairs of port and value in the order of their arrival; fewer if all ports end before."""
    pairs: list[tuple[str, Any]] = []
    async with aclosing(stage.inputs.iter_any()) as values:
        while len(pairs) < count:
            try:
                pairs.append(await anext(values))
            except StopAsyncIteration:
                break
    return pairs


async def take_quietly(stage: Stage, port: str = "values") -> tuple[list[Any], Fault | None]:
    """Takes every value until the end, whatever the end is. Returns them, and the fault that was asked for then."""
    return [value async for value in stage.inputs.stream(port, raising=False)], stage.inputs.fault(port)


async def take_watching_limits(stage: Stage, port: str = "values") -> tuple[list[Any], int]:
    """Takes every value until the end. Returns them, and the most that ever waited on one edge."""
    taken: list[Any] = []
    most = 0
    async for value in stage.inputs.stream(port):
        taken.append(value)
        most = max(most, max(edge.buffered_items for edge in stage.inbox.port(port).edges))
    return taken, most


async def end_again(stage: Stage, edge: str) -> None:
    """Waits until an edge has ended, and ends it again."""
    (one,) = [one for one in stage.inbox.edges() if one.id == edge]
    while not one.ended:
        await stage.inbox.watch()
    one.end(Fault(code=Code.UNKNOWN, reason="late", message="only the first end counts"))


async def stop_all(stage: Stage) -> None:
    """Closes the inbox."""
    stage.inbox.stop("had enough")


async def cancel_takers(stage: Stage, count: int) -> int:
    """Begins to take several times over, and cancels all of them once they wait. Returns how many there were."""
    takers = [asyncio.create_task(take(stage, 1)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert stage.inbox.port("values").statistics().waiters == count
    for taker in takers:
        taker.cancel()
    results = await asyncio.gather(*takers, return_exceptions=True)
    return sum(isinstance(result, asyncio.CancelledError) for result in results)


async def cancel_emits(stage: Stage, count: int) -> int:
    """Begins to emit several times over, and cancels all of them in the midst. Returns how many were cancelled."""
    emitters = [asyncio.create_task(emit(stage, "never")) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    for emitter in emitters:
        emitter.cancel()
    results = await asyncio.gather(*emitters, return_exceptions=True)
    return sum(isinstance(result, asyncio.CancelledError) for result in results)


async def emit_pieces(stage: Stage, pieces: list[tuple[Any, Group]], port: str = "out") -> None:
    """Emits pieces of groups, as a node of its own making would."""
    for value, group in pieces:
        await stage.outputs.emit(port, value, Envelope(group=group))


async def take_grouped(stage: Stage, port: str = "values") -> list[tuple[str, str]]:
    """Takes everything until the end, whatever the end is. Returns values with the ids of their groups; the outcome where a
    group ends without a value."""
    taken: list[tuple[str, str]] = []
    async for _, item in stage.inputs.iter_items(raising=False):
        group = item.envelope.group if item.envelope is not None else None
        ends = item.value is ABSENT and group is not None
        taken.append((group.outcome.name if ends and group else item.value, group.id if group else ""))
    return taken


async def take_until_error(stage: Stage, port: str) -> str:
    """Takes until the inbox itself raises. Returns what that says, and ends the body with it."""
    try:
        await take_all(stage, port)
    except LanemeshError as error:
        stage.leaving = error
        return str(error)
    return ""


async def emit_until_told(stage: Stage) -> str:
    """Emits "0", "1", ... until the consumer's fault is raised. Returns what that says."""
    try:
        await emit_numbers(stage, 10**9)
    except LaneFault as error:
        return str(error)
    return ""
