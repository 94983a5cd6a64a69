"""List inputs: everything that comes, collected until the end of the stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.items import ABSENT
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.node.ports import InputSpec
from lanemesh.node.waits import Wait, Waits

MAX_LIST_ITEMS = 100_000
"""Most items that a list input collects."""
MAX_LIST_BYTES = 64 * 1024 * 1024
"""Most bytes that a list input collects: 64 MiB."""


async def collect_lists(component: str, inbox: Inbox, specs: Mapping[str, InputSpec], waits: Waits) -> dict[str, Any]:
    """The values of every list input in arrival order, once all of them have ended. `waits` is told what is waited for.

    Raises:
        LanemeshError: a list is longer than its ceiling, or a value is not of the declared type.
        LaneFault: a producer failed.
    """
    names = [name for name, spec in specs.items() if spec.is_list]
    if not names:
        return {}
    lists: dict[str, list[Any]] = {name: [] for name in names}
    held = 0
    while True:
        port = inbox.first_waiting(names)
        if port is not None:
            item = port.take()
            if item.value is ABSENT:
                continue
            held += item.size
            lists[port.name].append(specs[port.name].check(item.value, component))
            if len(lists[port.name]) > MAX_LIST_ITEMS or held > MAX_LIST_BYTES:
                raise _too_long(f"{component}.{port.name}", len(lists[port.name]), held)
            continue
        for name in names:
            inbox.port(name).raise_fault()
        if all(inbox.port(name).ended for name in names):
            return lists
        going = [name for name in names if not inbox.port(name).ended]
        with waits.waiting(Wait(all_inputs=tuple(going))):  # an item is not enough: each of them has to end
            await inbox.changed(going)


def _too_long(where: str, items: int, held: int) -> LanemeshError:
    return LanemeshError(
        Fault(
            code=Code.RESOURCE_EXHAUSTED,
            reason="list-too-long",
            message=f"the list input {where} collected {items:,} items and {held:,} bytes; its limit "
            f"is {MAX_LIST_ITEMS:,} items and {MAX_LIST_BYTES:,} bytes. Use run(), which takes items when they arrive",
        )
    )
