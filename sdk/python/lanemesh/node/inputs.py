"""The consumer side of a node: its inbox, as its class declares it, and the inputs of `run`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from lanemesh.faults import Code, EndOfInput, Fault
from lanemesh.items import ABSENT, Item, LaneType
from lanemesh.lanes.inbox.assembler import JOINS, join_any
from lanemesh.lanes.inbox.inbox import Inbox
from lanemesh.lanes.streams import Capacity, OnTaken, Stream, batch_stream, item_stream, picked_stream, value_stream
from lanemesh.node.node import Kind, Node
from lanemesh.node.ports import InputSpec


def inbox_of(node_class: type[Node]) -> Inbox:
    """An inbox with the inputs that a node class declares.

    Inputs of `run` that accept pieces of any lane are added when they are connected, because one declaration may stand for several.
    """
    specs = node_class.inputs_
    drives = node_class.kind_ is Kind.RUN
    fixed = (name for name, spec in specs.items() if spec.lane_type is not None or spec.assembled or not drives)
    inbox = Inbox(fixed)
    for name, spec in specs.items():
        if spec.assembled:
            inbox.assemble(name, JOINS[spec.lane_type] if spec.lane_type is not None else join_any)
    return inbox


def left_out(inbox: Inbox) -> str:
    """A message about wholes that did not fire; empty if there are none."""
    counts = {name: port.statistics().failed_groups for name, port in inbox.ports.items()}
    shown = ", ".join(f"{count} on {name}" for name, count in counts.items() if count)
    return f"wholes dropped, because their producers failed or were cancelled: {shown}" if shown else ""


class Inputs:
    """The inputs that a `run` node reads.

    Every reading method ends when the inputs have ended and no item waits. If a producer failed, it raises LaneFault after the last
    item; with `raising=False` it reads to the end, and `fault` returns the fault. A wait that is cancelled, as by a timeout, takes
    and loses nothing, and the same iterator continues. Once every consumer of the node has stopped its lanes, reading raises
    CancelledError, unless the node has `runs_to_end`.
    """

    def __init__(
        self,
        component: str,
        inbox: Inbox,
        specs: Mapping[str, InputSpec],
        on_taken: OnTaken | None = None,
    ) -> None:
        """`on_taken`, if given, gets every item before the node does, including items without a value."""
        self._component = component
        self._inbox = inbox
        self._specs = specs
        self._on_taken = on_taken
        self._next: dict[str, Stream[Any]] = {}
        """The streams of `next`, by input."""

    @property
    def names(self) -> list[str]:
        """The inputs, in the order in which the node declares them."""
        return list(self._inbox.ports)

    @property
    def connected(self) -> frozenset[str]:
        """The inputs that are connected."""
        return frozenset(name for name, port in self._inbox.ports.items() if port.edges)

    def stream(self, port: str, *, raising: bool = True) -> Stream[Any]:
        """The values of one input, in arrival order."""
        spec = self._specs.get(port)
        if self._on_taken is not None:
            items = item_stream(self._inbox, [port], raising=raising, on_taken=self._on_taken)
            return picked_stream(items, lambda name, item: self._checked(name, item.value))
        if spec is None or spec.lane_type is not LaneType.DATA:
            return self._inbox.stream(port, raising=raising)
        return value_stream(
            self._inbox, self._inbox.port(port), raising=raising, check=spec.check, where=self._component
        )

    iter_input = stream

    def iter_any(self, *, raising: bool = True) -> Stream[tuple[str, Any]]:
        """Pairs of input and value, in arrival order across all inputs."""
        items = item_stream(self._inbox, raising=raising, on_taken=self._on_taken)
        return picked_stream(items, lambda name, item: (name, self._checked(name, item.value)))

    def iter_items(self, *, raising: bool = True) -> Stream[tuple[str, Item]]:
        """Pairs of input and item, with group and metadata, in arrival order across all inputs. An item that only ends a group
        has the value `lanemesh.items.ABSENT`."""
        return item_stream(self._inbox, raising=raising, on_taken=self._on_taken)

    def batches(
        self, capacity: Capacity, *, texts: Collection[str] = (), raising: bool = True
    ) -> Stream[tuple[str, Item | list[str]]]:
        """Pairs of input and what waits there, in arrival order across all inputs: an item, as `iter_items` yields it, or a list
        of short texts without envelopes.

        Args:
            capacity: awaited before items are taken. It returns the numbers of items and of bytes that a list may have at most.
            texts: the inputs whose items are texts, and may come in lists.
            raising: as for `iter_items`.
        """
        return batch_stream(self._inbox, capacity, texts=texts, raising=raising, on_taken=self._on_taken)

    async def next(self, port: str, *, timeout: float | None = None) -> Any:
        """The next value of one input.

        Args:
            port: the input.
            timeout: longest wait in seconds; None: no limit. A wait that times out takes nothing.

        Raises:
            TimeoutError: no value came in time.
            LaneFault: a producer failed, and all its items have been taken.
            EndOfInput: the input has ended. It is also a LookupError.
        """
        if port not in self._next:
            self._next[port] = self.stream(port)
        try:
            async with asyncio.timeout(timeout):
                return await anext(self._next[port])
        except StopAsyncIteration:
            raise self._ended(port) from None

    def waiting(self, port: str) -> list[Any]:
        """The values that have arrived at an input and wait there, in arrival order. Nothing is taken."""
        return [value for _, _, value, _, _ in self._inbox.port(port).entries if value is not ABSENT]

    async def arrival(self, port: str) -> None:
        """Waits until a value arrives at an input, or it ends, while another task of the node reads. Takes nothing. It may also
        return for other reasons, so `waiting` is to be checked."""
        await self._inbox.watch(port)

    def _checked(self, port: str, value: Any) -> Any:
        spec = self._specs.get(port)
        return value if spec is None else spec.check(value, self._component)

    def _ended(self, port: str) -> EndOfInput:
        message = f'the input "{port}" of {self._component} ended without an item'
        details = {"component": self._component, "port": port}
        return EndOfInput(Fault(code=Code.OUT_OF_RANGE, reason="end-of-input", message=message, details=details))

    def fault(self, port: str) -> Fault | None:
        """The first fault with which a producer of an input ended; None if none has."""
        return self._inbox.port(port).fault

    async def first(self, port: str) -> Any:
        """The first value of one input, or its declared default if it has no item.

        Raises:
            LaneFault: the producer failed before its first item.
            EndOfInput: the input has ended without an item and has no default. It is also a LookupError.
        """
        async for value in self.stream(port):
            return value
        spec = self._specs.get(port)
        if spec is None or spec.required:
            raise self._ended(port)
        return spec.default
