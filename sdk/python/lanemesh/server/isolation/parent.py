"""`isolation: "process"`: runs bodies in their own processes, which are killed when a body is cancelled or takes too long."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from lanemesh._aio.generators import MAX_AHEAD
from lanemesh._aio.parent import keep_from_children
from lanemesh.faults import Code, Fault, LanemeshError, NodeDefinitionError
from lanemesh.node.context import Context
from lanemesh.node.node import Kind, Node
from lanemesh.server.isolation import frames as frames

CLOSE_SECONDS = 2.0
"""How long a process may take to unload its resources before it is killed."""

END_SECONDS = 5.0
"""How long to wait for the end of a killed process. Only a process that it started in another session can hold its pipe longer."""

TAKEN_AT_ONCE = MAX_AHEAD // 4
"""Number of values after which the process is notified that they were taken."""

DRAIN_BYTES = 1 << 20
"""How much of the remaining output of a killed process is read at once."""


class IsolatedBody:
    """Runs the bodies of one component in separate processes, as many as there are concurrent firings."""

    abandoned = ""

    def __init__(self, node: Node, config: str, context: Context, secret_pointers: Sequence[str] = ()) -> None:
        """`config` is the node's, as JSON, and `secret_pointers` name the secrets in it. Raises NodeDefinitionError if its class
        cannot run in another process."""
        self._context = context
        self._specs = type(node).inputs_
        self._begin = _begin(type(node), config, context, secret_pointers)
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Starts the first process, and loads there. Raises the errors of `load` as LanemeshError."""
        self._idle.append(await self._started())

    async def process(self, node: Any) -> Any:
        """The result of `process`."""
        process = await self._acquire_process()
        try:
            async for _ in process.fire(self._values(node)):
                pass
        except BaseException:
            self._kill(process)
            raise
        self._release_process(process)
        return process.outcome()

    async def generate(self, node: Any) -> AsyncGenerator[Any, None]:
        """The values that `gen_process` yields."""
        process = await self._acquire_process()
        try:
            async for pair in process.fire(self._values(node)):
                yield pair
        except BaseException:
            self._kill(process)
            raise
        self._release_process(process)
        process.outcome()

    async def close(self, *, at_once: bool = False) -> None:
        """Ends every process; `at_once`: without `unload`."""
        processes, self._all = self._all, set()
        if not at_once:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await asyncio.gather(*(process.unloaded() for process in processes), return_exceptions=True)
        for process in processes:
            self._kill(process)
        await asyncio.gather(*self._ending)

    async def _acquire_process(self) -> ChildProcess:
        """Returns an idle process, or a new one."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            self._kill(process)
        return await self._started()

    async def _started(self) -> ChildProcess:
        process = ChildProcess(self._context, await _spawn())
        self._all.add(process)
        try:
            await process.begin(self._begin)
        except BaseException:
            self._kill(process)
            raise
        return process

    def _release_process(self, process: ChildProcess) -> None:
        """Makes a process available for further firings, unless it is broken."""
        if process.broken:
            self._kill(process)
        else:
            self._idle.append(process)

    def _kill(self, process: ChildProcess) -> None:
        """Kills a process. `close` waits until it has ended."""
        process.kill()
        self._all.discard(process)
        ending = asyncio.create_task(process.ended(), name=f"{self._context.component} process")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _values(self, node: Any) -> dict[str, Any]:
        return {name: getattr(node, name) for name in self._specs}


class ChildProcess:
    """The parent's end of one child process."""

    def __init__(self, context: Context, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.broken = False
        """It cannot be used any more."""
        self._context = context
        self._process = process
        self._to, self._from = process.stdin, process.stdout
        self._last: frames.Returned | frames.Failed = frames.Returned()

    @property
    def alive(self) -> bool:
        """It can fire."""
        return not self.broken and self._process.returncode is None

    async def begin(self, begin: frames.Begin) -> None:
        """Sends it the component to run, and waits until it has loaded."""
        self._to.write(frames.to_bytes(begin))
        frame = await self._next()
        if isinstance(frame, frames.Failed):
            raise LanemeshError(frame.fault)

    async def fire(self, values: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Executes one firing, and yields its values. `outcome` has its end."""
        self._to.write(frames.to_bytes(frames.Fire(values)))
        with suppress(ConnectionError):  # `_next` reports the cause of its death
            await self._to.drain()
        taken = 0
        while True:
            frame = await self._next()
            if isinstance(frame, frames.Yielded):
                yield frame.pair
                taken += 1
                if taken % TAKEN_AT_ONCE == 0:
                    self._to.write(frames.to_bytes(frames.Taken(TAKEN_AT_ONCE)))
                continue
            self._last = frame
            return

    def outcome(self) -> Any:
        """The result of the last firing. Raises LanemeshError if its body raised."""
        if isinstance(self._last, frames.Failed):
            raise LanemeshError(self._last.fault)
        return self._last.result

    async def unloaded(self) -> None:
        """Lets it unload and exit."""
        if self.alive:
            self._to.write(frames.to_bytes(frames.Close()))
            await self._process.wait()

    def kill(self) -> None:
        """Kills it and all processes that it has started."""
        self.broken = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Waits for its end, for END_SECONDS at most."""
        self._to.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._drain()
                await self._process.wait()
        except TimeoutError:
            self._context.log.error(
                "the isolated process %d was killed, but a process that it started still holds its pipe",
                self._process.pid,
            )

    async def _drain(self) -> None:
        """Reads and discards the remaining output: `wait` returns only after the end of the pipe was seen, which is not detected
        while the reader is full."""
        with suppress(
            ConnectionError, RuntimeError
        ):  # RuntimeError: a firing still reads; it kills the process and drains the pipe afterwards
            while await self._from.read(DRAIN_BYTES):
                pass

    async def _next(self) -> Any:
        """The next frame for the present firing. Raises LanemeshError if there will be none."""
        while True:
            try:
                (size,) = frames.LENGTH.unpack(await self._from.readexactly(frames.LENGTH.size))
                frame = frames.from_bytes(await self._from.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionError):
                raise await self._died() from None
            match frame:
                case frames.Logged():
                    self._context.log.log(frame.level, "%s", frame.line)
                case frames.Progressed():
                    self._context.progress(frame.done, frame.total, frame.message)
                case frames.Reported():
                    await self._context.report_tool(frame.event, wave=frame.wave)
                case _:
                    return frame

    async def _died(self) -> LanemeshError:
        self.broken = True
        code = await self._process.wait()
        how = f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        component = self._context.component
        return LanemeshError(
            Fault(
                code=Code.UNAVAILABLE,
                reason="isolated-process-died",
                message=f"{component}: the process of its isolated body {how} during a firing",
                details={"component": component, "exit": str(code)},
            )
        )


async def _spawn() -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "lanemesh.server.isolation.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    keep_from_children(process.stdin)
    return process


def _begin(cls: type[Node], config: str, context: Context, secret_pointers: Sequence[str]) -> frames.Begin:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if cls.kind_ not in (Kind.PROCESS, Kind.GENERATE):
        raise _refused(cls, "only `process` and `gen_process` can be isolated")
    if "<locals>" in cls.__qualname__ or file is None:
        raise _refused(
            cls,
            "another process can import a class only from the top level of a module that has a file; define it there",
        )
    return frames.Begin(
        module=cls.__module__,
        qualname=cls.__qualname__,
        file=os.path.abspath(file),
        path=tuple(os.path.abspath(folder) for folder in sys.path),
        config=config,
        secret_pointers=tuple(secret_pointers),
        run_id=context.run_id,
        component=context.component,
        provider=context.provider,
        traceparent=context.traceparent,
        session=context.session,
        log_level=logging.getLogger(f"lanemesh.node.{context.provider}").getEffectiveLevel(),
    )


def _refused(cls: type[Node], why: str) -> NodeDefinitionError:
    message = f"the node class {cls.__qualname__} cannot be isolated: {why}."
    return NodeDefinitionError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-isolation", message=message))


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
