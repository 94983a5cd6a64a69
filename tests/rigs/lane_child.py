"""A process with a real node server, and a way in for tests: `python -m rigs.lane_child`.

It prints where it is reached, and ends when its standard input does: so it never outlives the test process.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

from lanemesh.server.host.host import NodeHost
from lanemesh.server.node_server import NodeServer

import garbage
from rigs.lane_nodes import SERVICE, strings

HEADER = struct.Struct("!I")
"""Length of the pickle that follows."""


async def send(writer: asyncio.StreamWriter, thing: Any) -> None:
    """Sends a thing over a control connection."""
    data = pickle.dumps(thing)
    writer.write(HEADER.pack(len(data)) + data)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next thing on a control connection. Raises IncompleteReadError at its end."""
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    return pickle.loads(await reader.readexactly(length))


class Noise:
    """What went wrong in the background of an event loop: tasks whose error nobody asked for, callbacks that raised."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        asyncio.get_running_loop().set_exception_handler(self._hear)

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.heard.append(f"{context.get('message')}: {context.get('exception')!r} {context.get('task')!r}")


def is_servers_own(task: asyncio.Task[Any]) -> bool:
    """It is one by which a grpc.aio server waits for calls."""
    name = getattr(task.get_coro(), "__qualname__", "")
    return name in ("AioServer._server_main_loop", "AioServer._request_registered_call", "AioServer._request_call")


async def others_end(spared: set[asyncio.Task[Any]], seconds: float = 10.0) -> list[str]:
    """Waits until no task is left but the spared ones and servers' own. Returns those that are when the time is over."""
    while left := {task for task in asyncio.all_tasks() - spared if not is_servers_own(task)}:
        _, stuck = await asyncio.wait(left, timeout=seconds)
        if stuck:
            return [repr(task) for task in stuck]
    return []


class Control:
    """Answers a test: each connection carries one request after the other."""

    def __init__(self, host: NodeHost) -> None:
        self._host = host
        self._spared = asyncio.all_tasks()
        self._noise = Noise()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until it is closed."""
        task = asyncio.current_task()
        assert task is not None
        self._spared.add(task)
        try:
            while True:
                kind, *request = await receive(reader)
                try:
                    answer = (True, await self._answer(kind, *request))
                except Exception as error:
                    answer = (False, error)
                await send(writer, answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._spared.discard(task)

    async def _answer(self, kind: str, *request: Any) -> Any:
        match kind:
            case "act":
                run_id, component, act, args = request
                return await strings(run_id, component).act(act, *args)
            case "look":
                run_id, component, act, args = request
                return await strings(run_id, component).look(act, *args)
            case "cancel":
                run_id, component = request
                body = strings(run_id, component).body
                assert body is not None
                body.cancel()
            case "settle":
                left = await others_end(self._spared)
                garbage.collect()
                heard, self._noise.heard = self._noise.heard, []
                return left + heard + [f"the run {run} is still hosted" for run in self._host.runs]
        return None


async def main() -> None:
    """Serves until standard input ends."""
    loop = asyncio.get_running_loop()
    parent_pipe = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent_pipe), sys.stdin)
    host = NodeHost([SERVICE], name="child")
    server = NodeServer(host)
    await server.start()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "control")
        control = Control(host)
        listening = await asyncio.start_unix_server(control.serve, path, backlog=1000)
        print(json.dumps({"address": server.address, "control": path, "pid": os.getpid()}), flush=True)
        await parent_pipe.read()
        listening.close()
        await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
