"""The consumer side of a node that drives its own inputs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from lanemesh.lanes.inbox import Inbox
from lanemesh.lanes.items import ABSENT, Item, LaneType
from lanemesh.node.ports import InputSpec


class Inputs:
    """What a `run` node reads from. Every way of reading ends when the inputs have ended and nothing waits, and raises
    LaneFault, after the items before it, if a producer failed."""

    def __init__(self, component: str, inbox: Inbox, specs: Mapping[str, InputSpec]) -> None:
        self._component = component
        self._inbox = inbox
        self._specs = specs

    @property
    def names(self) -> list[str]:
        """The inputs, in the order in which the node declares them."""
        return list(self._inbox.ports)

    def stream(self, port: str) -> AsyncGenerator[Any, None]:
        """The values of one input, in arrival order."""
        spec = self._specs.get(port)
        if spec is None or spec.lane_type is not LaneType.DATA:
            return self._inbox.stream(port)
        return self._checked(spec, port)

    iter_input = stream

    async def _checked(self, spec: InputSpec, port: str) -> AsyncGenerator[Any, None]:
        async for value in self._inbox.stream(port):
            yield spec.check(value, self._component)

    async def iter_any(self) -> AsyncGenerator[tuple[str, Any], None]:
        """Pairs of input and value, in arrival order across all inputs."""
        async for port, item in self._inbox.iter_items():
            if item.value is ABSENT:
                continue
            spec = self._specs.get(port)
            yield port, item.value if spec is None else spec.check(item.value, self._component)

    def iter_items(self) -> AsyncGenerator[tuple[str, Item], None]:
        """Pairs of input and item, with group and metadata, in arrival order across all inputs. An item that only ends a group
        has the value `lanemesh.lanes.items.ABSENT`."""
        return self._inbox.iter_items()

    async def first(self, port: str) -> Any:
        """The first value of one input; what the node declares as its default if none comes.

        Raises:
            LaneFault: the producer failed before it sent anything.
            LookupError: none came and the input has no default.
        """
        async with aclosing(self.stream(port)) as values:
            async for value in values:
                return value
        spec = self._specs.get(port)
        if spec is None or spec.required:
            raise LookupError(f'the input "{port}" of {self._component} ended without an item')
        return spec.default
