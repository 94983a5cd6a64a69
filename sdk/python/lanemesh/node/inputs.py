"""The consumer side of a node: its inbox as its class declares it, and what `run` reads from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from lanemesh.faults import Code, EndOfInput, Fault
from lanemesh.items import ABSENT, Item, LaneType
from lanemesh.lanes.inbox.assembler import JOINS
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.node.node import Kind, Node
from lanemesh.node.ports import InputSpec

OnTaken = Callable[[str, Item], Awaitable[None]]
"""Told of items: by which input they came, and what they are."""


def inbox_of(node_class: type[Node]) -> Inbox:
    """An inbox with the inputs that a node class declares.

    Inputs of `run` that take any lane are there once they are connected, since there may be several in the place of one.
    """
    specs = node_class.inputs_
    drives = node_class.kind_ is Kind.RUN
    inbox = Inbox(name for name, spec in specs.items() if spec.lane_type is not None or not drives)
    for name, spec in specs.items():
        if spec.assembled and spec.lane_type is not None:
            inbox.assemble(name, JOINS[spec.lane_type])
    return inbox


def left_out(inbox: Inbox) -> str:
    """What there is to say about wholes that no firing was for; empty if there are none."""
    counts = {name: port.statistics().failed_groups for name, port in inbox.ports.items()}
    shown = ", ".join(f"{count} on {name}" for name, count in counts.items() if count)
    return f"wholes left out, since their producers failed or were cancelled: {shown}" if shown else ""


class Inputs:
    """What a `run` node reads from.

    Every way of reading ends when the inputs have ended and nothing waits. If a producer failed, it raises LaneFault after the
    items that came before; with `raising=False` it reads on to the end, and `fault` tells.
    """

    def __init__(
        self,
        component: str,
        inbox: Inbox,
        specs: Mapping[str, InputSpec],
        on_taken: OnTaken | None = None,
    ) -> None:
        """`on_taken`, if given, is told of every item before the node sees it, of those without a value too."""
        self._component = component
        self._inbox = inbox
        self._specs = specs
        self._on_taken = on_taken

    @property
    def names(self) -> list[str]:
        """The inputs, in the order in which the node declares them."""
        return list(self._inbox.ports)

    def stream(self, port: str, *, raising: bool = True) -> AsyncGenerator[Any, None]:
        """The values of one input, in arrival order."""
        spec = self._specs.get(port)
        if self._on_taken is not None:
            return self._values(port, raising)
        if spec is None or spec.lane_type is not LaneType.DATA:
            return self._inbox.stream(port, raising=raising)
        return self._checked(spec, port, raising)

    iter_input = stream

    async def _checked(self, spec: InputSpec, port: str, raising: bool) -> AsyncGenerator[Any, None]:
        async for value in self._inbox.stream(port, raising=raising):
            yield spec.check(value, self._component)

    async def _values(self, port: str, raising: bool) -> AsyncGenerator[Any, None]:
        spec = self._specs.get(port)
        async for _, item in self._items([port], raising):
            if item.value is not ABSENT:
                yield item.value if spec is None else spec.check(item.value, self._component)

    async def _items(self, ports: Iterable[str] | None, raising: bool) -> AsyncGenerator[tuple[str, Item], None]:
        async for port, item in self._inbox.iter_items(ports, raising=raising):
            if self._on_taken is not None:
                await self._on_taken(port, item)
            yield port, item

    async def iter_any(self, *, raising: bool = True) -> AsyncGenerator[tuple[str, Any], None]:
        """Pairs of input and value, in arrival order across all inputs."""
        async for port, item in self.iter_items(raising=raising):
            if item.value is ABSENT:
                continue
            spec = self._specs.get(port)
            yield port, item.value if spec is None else spec.check(item.value, self._component)

    def iter_items(self, *, raising: bool = True) -> AsyncGenerator[tuple[str, Item], None]:
        """Pairs of input and item, with group and metadata, in arrival order across all inputs. An item that only ends a group
        has the value `lanemesh.items.ABSENT`."""
        if self._on_taken is not None:
            return self._items(None, raising)
        return self._inbox.iter_items(raising=raising)

    def fault(self, port: str) -> Fault | None:
        """The first fault with which a producer of an input ended; None if none has."""
        return self._inbox.port(port).fault

    async def first(self, port: str) -> Any:
        """The first value of one input; what the node declares as its default if none comes.

        Raises:
            LaneFault: the producer failed before it sent anything.
            EndOfInput: none came and the input has no default. It is a LookupError as well.
        """
        async with aclosing(self.stream(port)) as values:
            async for value in values:
                return value
        spec = self._specs.get(port)
        if spec is None or spec.required:
            message = f'the input "{port}" of {self._component} ended without an item'
            details = {"component": self._component, "port": port}
            raise EndOfInput(Fault(code=Code.OUT_OF_RANGE, reason="end-of-input", message=message, details=details))
        return spec.default
