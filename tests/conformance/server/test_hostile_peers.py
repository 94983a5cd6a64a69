"""Peers that send what they should not, or nothing: each is bounded, and harms no run that goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from lanemesh import Client
from lanemesh._grpc import log_once
from lanemesh.faults import LanemeshError
from lanemesh.v1 import run_pb2, run_pb2_grpc

from repeats import times
from rigs.commands import Command
from rigs.hostile import KINDS, STREAMS, UNARY, Servers, failure, raw, said, servers, unharmed
from rigs.http2_frames import (
    DATA,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    IdleConnection,
    frame,
    frames,
    request,
)
from rigs.runs import NODES, line, node

MAX_IDLE_BYTES = 64 * 1024
"""Most memory that an idle connection takes of a server."""


@pytest.fixture
async def mesh() -> AsyncIterator[Servers]:
    async with servers() as made:
        yield made


@pytest.mark.waits
@pytest.mark.parametrize("kind", KINDS)
async def test_http_1_and_garbage_are_answered_by_the_end_of_the_connection(mesh: Servers, kind: str) -> None:
    dice = random.Random(1)
    async with unharmed(mesh):
        for sent in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"POST /lanemesh.v1.RunService/StartRun HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500),  # TLS to a port without it
            *(dice.randbytes(size) for size in (24, 100, 100_000)),
            PREFACE + dice.randbytes(1000),
            PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, 4, 1, dice.randbytes(200)),
            PREFACE + frame(SETTINGS, 0, 0) + frame(DATA, 0, 7, b"no such stream"),
            PREFACE + frame(SETTINGS, 0, 0) + b"\xff\xff\xff" + dice.randbytes(100),  # a frame of 16 MiB
        ):
            reply = await _reply(mesh.port(kind), sent)
            assert len(reply) < 1000, sent[:40]


async def _reply(port: int, sent: bytes) -> bytes:
    """What a server says. It may also reset the connection, or wait for the rest of a frame: then the end of the client is its
    end."""
    try:
        return await said(port, sent, 2.0)
    except (TimeoutError, ConnectionResetError):
        return b""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_that_comes_byte_by_byte_is_given_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEMESH_LIMITS", "first-frame-seconds=1")
    async with servers() as mesh, unharmed(mesh):
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.port(kind))
        writer.write(PREFACE + frame(SETTINGS, 0, 0) + request(f"/lanemesh.v1.{STREAMS[kind][0]}"))
        writer.write(frame(DATA, 0, 1, b"\x00\x00\x00\x03\xe8"))  # a message of 1,000 bytes

        async def drip() -> None:
            while True:
                writer.write(frame(DATA, 0, 1, b"x"))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        received = b""
        async with asyncio.timeout(20):
            while not any(
                of == 1 and what == HEADERS and flags & END_STREAM for what, flags, of, _ in frames(received)
            ):
                received += await reader.read(65_536)
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_messages_that_cannot_be_read_are_refused_and_logged_once(
    mesh: Servers, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_once.UNREADABLE_REQUESTS, "_lines", log_once.LogOnce(logging.getLogger("lanemesh.grpc")))
    async with unharmed(mesh), raw(mesh.address(kind)) as channel:
        for _ in range(20):
            await failure(channel.unary_unary(UNARY[kind])(b"\xff\xff\xff"))
        for name in STREAMS[kind]:
            stream: Any = channel.stream_stream(f"/lanemesh.v1.{name}")()
            await stream.write(b"\xff\xff\xff")
            await failure(stream.read())
    logged = [entry for entry in caplog.records if UNARY[kind] in entry.getMessage()]
    assert len(logged) == 1
    assert logged[0].exc_info is None
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_a_client_that_never_reads_harms_none(mesh: Servers) -> None:
    flood = line(node("a", "series", "chat", count=5000, size=1000))
    async with unharmed(mesh), raw(mesh.orchestrator.address) as channel, Client(mesh.orchestrator.address) as client:
        run = await client.start(flood, input="x")
        stub: run_pb2_grpc.RunServiceAsyncStub = run_pb2_grpc.RunServiceStub(channel)
        deaf = [stub.WatchRun(run_pb2.WatchRunRequest(run_id=run.id)) for _ in range(20)]
        for call in deaf:
            await call.initial_metadata() if call.done() else None
        result = await asyncio.wait_for(run.result(), 60)
        assert (result.state, len(result.values)) == ("completed", 5000)
        owned = client.run(flood, input="x")  # its owner reads nothing: its outputs wait, and no others
        async with owned:
            await asyncio.wait_for(client.run(line(node("a", "tag", "chat")), input="x").result(), 20)
        for call in deaf:
            call.cancel()


@pytest.fixture
def many_files() -> Iterator[int]:
    """As many open files as the system permits this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard if hard != resource.RLIM_INFINITY else 1_000_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.many
@pytest.mark.apart
async def test_idle_connections_are_bounded_in_number_and_memory(many_files: int, tmp_path: Path) -> None:
    limit = min(times(10_000, 1_000), many_files // 2 - 500)
    environment = {**os.environ, "LANEMESH_LIMITS": f"connections={limit}"}
    with _process("serve", "--port", "0", "--store", "none", environment=environment, folder=tmp_path) as serving:
        address = await asyncio.to_thread(_logged, serving, r"listening, reached at (\S+)")
        nodes = ("node", "--nodes", str(NODES), "--orchestrator", address)
        with _process(*nodes, environment=environment, folder=tmp_path) as joined:
            await asyncio.to_thread(_logged, joined, r"joined as (\S+)")
            await _crowd(serving.pid, address, limit)


@contextmanager
def _process(*command: str, environment: Mapping[str, str], folder: Path) -> Iterator[Command]:
    process = Command(*command, environment=environment, folder=folder, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def _logged(process: Command, pattern: str) -> str:
    """The first group of the pattern in a line that a process logs."""
    assert process.stderr is not None
    for line_ in process.stderr:
        if found := re.search(pattern, line_):
            return found[1]
    raise AssertionError(f"the process has ended before it logged {pattern}")


async def _crowd(pid: int, address: str, limit: int) -> None:
    document = line(node("a", "tag", "chat"))
    loop, port = asyncio.get_running_loop(), int(address.rpartition(":")[2])
    async with Client(address) as client:
        assert (await client.run(document, input="x").result()).values == ("x",)
        async with client.run(document, open_input=True) as run:
            await run.push("before")
            server = psutil.Process(pid)
            before = server.memory_info().rss
            held: list[IdleConnection] = []
            while len(held) < limit + 50:
                part = [loop.create_connection(IdleConnection, "127.0.0.1", port) for _ in range(100)]
                opened = [one for _, one in await asyncio.gather(*part)]
                await asyncio.wait_for(asyncio.gather(*(one.ready.wait() for one in opened)), 30)
                held += opened
            refused = sum(one.is_refused for one in held)
            taken = len(held) - refused
            grown = server.memory_info().rss - before
            print(f"{taken} idle connections: {grown / taken:,.0f} bytes each; {refused} refused")
            assert taken <= limit
            assert taken > limit - 20  # some are those of the mesh itself
            assert grown / taken < MAX_IDLE_BYTES
            await run.push("after")
            await run.end_input()
            assert (await asyncio.wait_for(run.result(), 60)).values == ("before", "after")
        for one in held:
            one.close()
        await asyncio.wait_for(_served_again(address), 60)


async def _served_again(address: str) -> None:
    """Waits until the server has seen that the connections were closed."""
    while True:
        with contextlib.suppress(LanemeshError):
            async with Client(address) as later:
                result = await later.run(line(node("a", "tag", "chat")), input="x").result()
                assert result.values == ("x",)
                return
        await asyncio.sleep(0.1)
