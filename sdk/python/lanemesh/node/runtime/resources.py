"""Resources that nodes load once per node server, such as models: shared by runs, kept for a while, and freed at the end."""

from __future__ import annotations

import asyncio
import logging
import traceback
from abc import ABC, abstractmethod
from typing import Any

from pydantic_core import to_json

from lanemesh._aio.shared import SharedCache
from lanemesh.node.callables import call_hook
from lanemesh.node.context import Context
from lanemesh.node.firing.batch_bodies import BatchBody, Batchers
from lanemesh.node.node import Node
from lanemesh.node.packages import are_imported, import_packages
from lanemesh.redaction import hidden_in_log, revealed

IDLE_SECONDS = 300.0
"""How long an unused resource stays loaded, or continues to load."""
UNLOAD_SECONDS = 10.0
"""How long the unloading of one resource may take before it is abandoned."""

log = logging.getLogger("lanemesh.resources")

Key = tuple[type[Node], str]


class Reloadable(ABC):
    """A resource that was made from files that may change."""

    @abstractmethod
    def is_current(self) -> bool:
        """Whether the files are unchanged. Called whenever a run acquires the resource; must not block for long."""


class Resources:
    """The resources of one node server, by node class and config."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._cache = SharedCache[Key, Any](_unload, idle_seconds=idle_seconds, is_current=_is_current)
        self.batchers = Batchers()
        """The batches of the classes that have them."""

    async def acquire(self, node: type[Node], config: Any) -> Any:
        """The result of the class's `load` for a config: loaded now, or by an earlier run. A `Reloadable` resource whose files have
        changed is loaded again; runs that have the old one keep it. Raises the errors of `load`."""
        if not loads(node):
            await _import_packages(node)
            return None
        return await self._cache.acquire(_key(node, config), lambda: _load(node, config), f"load {node.provider}")

    def release(self, node: type[Node], config: Any, resource: Any = None) -> None:
        """Releases the `resource` that `acquire` returned. It is unloaded after 300 s without use, a superseded one at once."""
        if not loads(node):
            return
        self._cache.release(_key(node, config), resource)

    def batch_body(self, node: Node, context: Context) -> BatchBody:
        """The body of a component whose class has a `batch`: its firings share the batches of all components with this class,
        config and resource. `node` has its config and resource until `release_batch_body`."""
        return self.batchers.of(node, _key(type(node), node.config)[1], context)

    def release_batch_body(self, node: Node) -> None:
        """The component of this node has ended."""
        self.batchers.release(node, _key(type(node), node.config)[1])

    async def close(self) -> None:
        """Unloads every resource, each within 10 s, and cancels those that still load."""
        await self.batchers.close()
        await self._cache.close()


async def _load(node: type[Node], config: Any) -> Any:
    """The result of the class's `load`."""
    await _import_packages(node)
    return await call_hook(node.load, config)


async def _import_packages(node: type[Node]) -> None:
    """Imports the packages of a class, not at once with those of another one."""
    if not are_imported(node.python_packages):
        await call_hook(import_packages, node.python_packages)


async def _unload(key: Key, loading: asyncio.Task[Any]) -> None:
    node = key[0]
    loading.cancel()  # no caller waits for it any more; this has no effect if it has loaded
    freeing = asyncio.create_task(_free(node, loading), name=f"unload {node.provider}")
    _, late = await asyncio.wait([freeing], timeout=UNLOAD_SECONDS)
    if late:  # a body that ignores its cancellation is not awaited
        freeing.cancel()
        log.error(
            "abandoned the unloading of a resource of %s: it took longer than %g s", node.provider, UNLOAD_SECONDS
        )


async def _free(node: type[Node], loading: asyncio.Task[Any]) -> None:
    try:
        await call_hook(node.unload, await loading)
    except asyncio.CancelledError:
        pass  # it was never loaded
    except Exception:
        log.error("could not unload a resource of %s\n%s", node.provider, hidden_in_log(traceback.format_exc()))


def _is_current(resource: Any) -> bool:
    return not isinstance(resource, Reloadable) or resource.is_current()


def loads(node: type[Node]) -> bool:
    """Whether a class has a `load` or an `unload` of its own."""
    hooks: tuple[Any, Any] = node.load, node.unload
    own: tuple[Any, Any] = Node.load, Node.unload
    return any(getattr(hook, "__func__", hook) is not base.__func__ for hook, base in zip(hooks, own, strict=True))


def _key(node: type[Node], config: Any) -> Key:
    """The key of a resource. Configs that differ only in a secret have different keys."""
    return node, to_json(revealed(config.model_dump())).decode()
