"""Bodies of nodes that use a GPU: each firing runs under a lease, and with the model of the class, if it has one."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from lanemesh.node.context import Context
from lanemesh.node.firing.bodies import Body, ThreadBody
from lanemesh.node.firing.deadline import limit_paused
from lanemesh.node.gpu import Gpu
from lanemesh.node.node import Node
from lanemesh.redaction import revealed

if TYPE_CHECKING:
    from lanemesh.gpu import Lease


class LeasedBody:
    """Runs bodies by another executor, each under a lease of its own."""

    def __init__(self, inner: Body, node: Node, gpu: Gpu, context: Context) -> None:
        """`node` has its config."""
        self._inner = inner
        self._class = type(node)
        self._config = node.config
        self._context = context
        self._request = gpu.request(node.config) | {"purpose": f"firing of {self._class.provider}"}
        if gpu.model or self._class.load_model is not None:
            self._request["model"] = _model_name(gpu.model, self._class, node.config)

    @property
    def abandoned(self) -> str:
        """A message if a body continued after its cancellation."""
        return self._inner.abandoned

    async def process(self, node: Any) -> Any:
        """The result of `process`."""
        gpu = self._context.gpu
        lease = gpu.lease(**self._request)
        while True:
            try:
                await self._enter(lease)
                async with lease.leaving():
                    attempt = await self._with_model(lease, node)
                    if not isinstance(self._inner, ThreadBody):
                        return await self._inner.process(attempt)
                    work = attempt.process = _ThreadWork(attempt.process)
                    try:
                        return await self._inner.process(attempt)
                    except asyncio.CancelledError:
                        if work.goes_on():
                            lease.used_until(work.ended)
                        raise
            except Exception as error:
                lease = gpu.again(lease, error)

    async def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """The values that `gen_process` yields."""
        gpu = self._context.gpu
        lease = gpu.lease(**self._request)
        emitted = False
        while True:
            try:
                await self._enter(lease)
                async with lease.leaving():
                    attempt = await self._with_model(lease, node)
                    work = None
                    if isinstance(self._inner, ThreadBody):
                        work = attempt.gen_process = _ThreadSteps(attempt.gen_process)
                    try:
                        async with aclosing(self._inner.generate(attempt)) as pairs:
                            async for pair in pairs:
                                emitted = True
                                yield pair
                    except (asyncio.CancelledError, GeneratorExit):
                        if work is not None and work.goes_on():
                            lease.used_until(work.ended)
                        raise
            except Exception as error:
                if emitted:
                    raise
                lease = gpu.again(lease, error)
            else:
                return

    async def _enter(self, lease: Lease) -> None:
        with limit_paused():
            await lease.__aenter__()

    async def _with_model(self, lease: Lease, node: Any) -> Any:
        """A copy of the node for one attempt."""
        attempt = copy.copy(node)
        if self._class.load_model is not None:
            load = partial(self._class.load_model, self._config, lease.device.id)
            restore = self._class.restore_model and partial(_restore, self._class, lease.device.id)
            attempt.gpu_model = await lease.keep(
                load, self._class.unload_model, offload=self._class.offload_model, restore=restore
            )
        return attempt


def _restore(node: type[Node], device: str, model: Any) -> Any:
    return node.restore_model(model, device)


class _ThreadWork:
    """The body of one firing in a thread, which no cancellation reaches."""

    def __init__(self, body: Callable[[Context], Any]) -> None:
        self.__qualname__ = body.__qualname__
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._begun = self._cancelled = False
        self.ended = asyncio.Event()
        """It has ended; set in the event loop."""

    def __call__(self, context: Context) -> Any:
        """Runs the body."""
        self._begin()
        try:
            return self._body(context)
        finally:
            self._end()

    def goes_on(self) -> bool:
        """It was cancelled: whether it has begun. Otherwise it does not begin any more."""
        with self._lock:
            self._cancelled = True
            return self._begun

    def _begin(self) -> None:
        with self._lock:
            if self._cancelled:
                raise asyncio.CancelledError
            self._begun = True

    def _end(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.ended.set)


class _ThreadSteps(_ThreadWork):
    """The same of a body that yields. It ends when its thread closes it, which is after its present step."""

    def __call__(self, context: Context) -> Generator[Any, None, None]:
        """Runs the body."""
        self._begin()
        try:
            yield from self._body(context)
        finally:
            self._end()


def _model_name(name: str, node: type[Node], config: Any) -> str:
    """The name of the model of a class with a config. Those of different configs differ."""
    settings = to_json(revealed(config.model_dump()))
    base = name or node.provider
    return base if settings == b"{}" else f"{base} {hashlib.sha256(settings).hexdigest()[:16]}"
