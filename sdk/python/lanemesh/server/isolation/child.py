"""The process of an isolated body: `python -P -m lanemesh.server.isolation.child`, started by a node server.

Frames arrive on stdin and are sent on the original stdout; the body prints to stderr. The process ends at the end of stdin, and
so with the server in every case.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import logging
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Iterable
from contextlib import aclosing, nullcontext
from contextvars import copy_context
from io import FileIO
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Never, TypeVar

from lanemesh._aio.exits import end_within, run
from lanemesh._aio.forks import close_in_children, end_children_with_us
from lanemesh._aio.generators import MAX_AHEAD
from lanemesh._aio.parent import take_standard_input
from lanemesh.chat import ToolProgress, ToolResult
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.node.callables import call_hook
from lanemesh.node.context import Context
from lanemesh.node.firing.copier import NodeCopier
from lanemesh.node.node import Kind, Node
from lanemesh.node.progress import REPORTED
from lanemesh.redaction import hidden_in_log, secrets_of
from lanemesh.rendering import text_of
from lanemesh.server.isolation import frames as frames
from lanemesh.server.log_format import quiet_libraries
from lanemesh.server.user_modules import PREFIX, USER_MODULES
from lanemesh.values import ToolCall

T = TypeVar("T")


class Pipe:
    """The connection to the server. Its frames are written whole, from every thread."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._ahead = threading.Semaphore(MAX_AHEAD - 1)
        """Counts the values that the firing may yield, after the next one, before the server takes one."""

    def send(self, frame: Any) -> None:
        """Writes a frame; waits while the server does not read."""
        written = frames.to_bytes(frame)
        with self._lock:
            self._out.write(written)
            self._out.flush()

    def began(self) -> None:
        """The server has sent the next firing."""
        self._ahead = threading.Semaphore(MAX_AHEAD - 1)

    def taken(self, count: int) -> None:
        """The server has taken so many values of the firing."""
        self._ahead.release(count)

    def yielded(self, pair: Any) -> None:
        """Sends a value of the firing; waits until the next one would be at most MAX_AHEAD values ahead of the server."""
        self.send(frames.Yielded(pair))
        self._ahead.acquire()


class IsolatedContext(Context):
    """The context of a body in a separate process."""

    def __init__(self, begin: frames.Begin, pipe: Pipe) -> None:
        super().__init__(
            run_id=begin.run_id,
            component=begin.component,
            provider=begin.provider,
            on_log=lambda level, line: pipe.send(frames.Logged(level, line)),
            traceparent=begin.traceparent,
            session=begin.session,
        )
        self._pipe = pipe

    def progress(self, done: float, total: float = 0, message: str = "") -> Awaitable[None]:
        """Reports progress to the run's clients, like `Context.progress`."""
        self._pipe.send(frames.Progressed(done, total, text_of(message)))
        return REPORTED

    @property
    def approvals(self) -> Never:
        """Raises LanemeshError: no client can reach this process with a decision."""
        self._have(None, "")
        raise AssertionError("unreachable")

    async def report_tool(self, event: str | ToolCall | ToolProgress | ToolResult, *, wave: int = 1) -> None:
        """Reports an event of an agent to the run's clients, like `Context.report_tool`."""
        self._pipe.send(frames.Reported(event, wave))

    def _have(self, thing: T | None, otherwise: str) -> T:
        what = "its body is isolated: its process has no models, tools, GPU leases, channels or other inputs"
        raise LanemeshError(
            Fault(
                code=Code.FAILED_PRECONDITION,
                reason="isolated",
                message=f'{self.component} ({self.provider}): {what}. Remove `isolation: "process"` to use them.',
                details={"component": self.component, "provider": self.provider},
            )
        )


def find_class(begin: frames.Begin) -> type[Node]:
    """The node class of the server, imported again by its module's name, or from its file."""
    sys.path.extend(folder for folder in begin.path if folder not in sys.path)
    if begin.module.startswith(PREFIX):
        return _class_in(USER_MODULES.load_as(begin.module, Path(begin.file)), begin.qualname)
    try:
        found = importlib.util.find_spec(begin.module) if begin.module != "__main__" else None
    except (ImportError, ValueError):
        found = None
    if found is not None and found.origin == begin.file:
        module = importlib.import_module(begin.module)
    else:
        name = "lanemesh_isolated" if begin.module == "__main__" else begin.module
        spec = importlib.util.spec_from_file_location(name, begin.file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{begin.file} is not a Python file")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return _class_in(module, begin.qualname)


def _class_in(module: ModuleType, qualname: str) -> type[Node]:
    thing: Any = module
    for part in qualname.split("."):
        thing = getattr(thing, part)
    found_class: type[Node] = thing
    return found_class


class IsolatedNode:
    """The node in its own process."""

    def __init__(self, begin: frames.Begin, pipe: Pipe) -> None:
        self._pipe = pipe
        self._class = find_class(begin)
        self._context = IsolatedContext(begin, pipe)
        self._node = self._class()
        self._node.config = self._class.Config.model_validate_json(begin.config)
        self._copier: NodeCopier | None = None
        self._warned = False

    async def load(self) -> None:
        """Makes the resource."""
        self._node.resource = await call_hook(self._class.load, self._node.config)
        self._copier = NodeCopier(self._node)

    async def unload(self) -> None:
        """Frees the resource."""
        await call_hook(self._class.unload, self._node.resource)

    async def fire(self, values: dict[str, Any]) -> None:
        """Executes one firing, and reports its outcome."""
        assert self._copier is not None
        node = self._copier.fresh(values)
        variables = copy_context()  # no variable passes to the next firing
        if self._class.kind_ is Kind.PROCESS:
            result = variables.run(node.process, self._context)
            result = await result if inspect.isawaitable(result) else result
            self._check_copies()
            self._pipe.send(frames.Returned(result))
            return
        pairs = variables.run(node.gen_process, self._context)
        if inspect.isawaitable(pairs):
            pairs = await pairs
        if hasattr(pairs, "__aiter__"):
            async with aclosing(pairs) if hasattr(pairs, "aclose") else nullcontext():
                async for pair in pairs:
                    self._pipe.yielded(pair)
        else:
            variables.run(self._yield_each, pairs)
        self._check_copies()
        self._pipe.send(frames.Returned())

    def _yield_each(self, pairs: Iterable[Any]) -> None:
        for pair in pairs:
            self._pipe.yielded(pair)

    def _check_copies(self) -> None:
        """Logs a warning once if a body sets attributes on its copy of the node, which no later firing has."""
        assert self._copier is not None
        if not self._warned and (left := self._copier.lost_attributes()):
            self._warned = True
            self._context.log.warning(left)


def read(source: FileIO) -> Any:
    """The next frame; ends the process if the server has gone."""
    (size,) = frames.LENGTH.unpack(_read_exactly(source, frames.LENGTH.size))
    return frames.from_bytes(_read_exactly(source, size))


def _read_exactly(source: FileIO, size: int) -> bytes:
    """Without a buffer, whose lock the end of the interpreter would need while a thread reads."""
    parts: list[bytes] = []
    while size:
        part = source.read(size)
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


async def serve(source: FileIO, pipe: Pipe) -> None:
    """Fires as often as the server asks."""
    begin: frames.Begin = read(source)
    secrets_of([(begin.config, begin.secret_pointers)])
    logging.getLogger().addHandler(logging.NullHandler())  # log lines are sent to the server
    logging.getLogger().setLevel(begin.log_level)
    quiet_libraries(begin.log_level)
    asked: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        while True:
            frame = read(source)
            if isinstance(frame, frames.Taken):
                pipe.taken(frame.count)
                continue
            if isinstance(frame, frames.Fire):
                pipe.began()
            loop.call_soon_threadsafe(asked.put_nowait, frame)

    threading.Thread(target=listen, daemon=True).start()
    try:
        isolated = IsolatedNode(begin, pipe)
        await isolated.load()
    except BaseException as error:
        pipe.send(frames.Failed(Fault.from_exception(error)))
        return
    pipe.send(frames.Ready())
    while not isinstance(frame := await asked.get(), frames.Close):
        try:
            await isolated.fire(frame.values)
        except BaseException as error:  # including a body that calls `sys.exit`
            pipe.send(frames.Failed(Fault.from_exception(error)))
    await isolated.unload()


def main() -> None:
    """Runs the process from its start to its end."""
    end_children_with_us()
    source = take_standard_input()
    out = os.fdopen(os.dup(1), "wb")
    close_in_children(out)
    pipe = Pipe(out)
    os.dup2(2, 1)
    try:
        run(serve(source, pipe))
    except BaseException:  # of `unload`: the server reads no more
        sys.stderr.write(hidden_in_log(traceback.format_exc()))
    end_within(0)


if __name__ == "__main__":
    main()
