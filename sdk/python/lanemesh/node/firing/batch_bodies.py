"""The bodies of components whose class has a `batch`: those with an equal class, config and resource share their batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any

from lanemesh.node.context import Context
from lanemesh.node.firing.batching import Batcher
from lanemesh.node.node import Node

log = logging.getLogger("lanemesh.batches")

_Key = tuple[type[Node], str, int]
"""A node class, a config, and the identity of a resource."""


class BatchBody:
    """Runs the firings of one component in the batches of its node class."""

    def __init__(self, batcher: Batcher, node: Node, context: Context) -> None:
        self.abandoned = ""
        node.context = context
        self._batcher = batcher

    def process(self, node: Any) -> Awaitable[Any]:
        """The result of one firing."""
        return self._batcher.result(node, self._abandon, self)

    def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """Not used: a node with `batch` has no `gen_process`."""
        raise NotImplementedError

    def _abandon(self) -> None:
        self.abandoned = "its synchronous body did not stop and was abandoned"


class Batchers:
    """The batchers of one node server, by node class, config and resource. Each exists while it has components or batches."""

    def __init__(self) -> None:
        self._batchers: dict[_Key, tuple[Batcher, set[int]]] = {}

    @property
    def waiting(self) -> int:
        """Firings that wait for a batch."""
        return sum(batcher.waiting for batcher, _ in self._batchers.values())

    @property
    def count(self) -> int:
        """How many batchers exist."""
        return len(self._batchers)

    def of(self, node: Node, config: str, context: Context) -> BatchBody:
        """The body of a component. Release it when the component has ended.

        Args:
            node: the component's node, with its config and resource.
            config: text that equal configs share.
            context: the component's context, which the copies of its node get.
        """
        key = (type(node), config, id(node.resource))
        if key not in self._batchers:
            of_all = type(node)()
            of_all.config, of_all.resource = node.config, node.resource
            self._batchers[key] = (Batcher(of_all, partial(self._remove_unused, key)), set())
        batcher, users = self._batchers[key]
        users.add(id(node))
        return BatchBody(batcher, node, context)

    def release(self, node: Node, config: str) -> None:
        """The component of this node has ended. Has no effect if it has no body here."""
        key = (type(node), config, id(node.resource))
        if key in self._batchers:
            self._batchers[key][1].discard(id(node))
            self._remove_unused(key)

    def _remove_unused(self, key: _Key) -> None:
        """Removes a batcher without components and batches."""
        found = self._batchers.get(key)
        if found is None or found[1] or found[0].is_running:
            return
        del self._batchers[key]
        if lost := found[0].lost_attributes():
            log.warning(lost)

    async def close(self) -> None:
        """Cancels the batches that still run, and waits 5 s for them at most."""
        await asyncio.gather(*(batcher.close() for batcher, _ in [*self._batchers.values()]))
