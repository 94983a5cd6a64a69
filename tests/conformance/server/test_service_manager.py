"""A server is a service of systemd: it reports that it is ready, that its event loop runs, and that it stops."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lanemesh._aio.systemd import notify, watchdog_seconds
from lanemesh._grpc.server import GrpcServer
from lanemesh_orchestrator.http_server.server import HttpServer
from starlette.applications import Starlette

WATCHDOG_SECONDS = 0.3


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_SECONDS * 1e6)))
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield listening


async def received(manager: socket.socket) -> str:
    async with asyncio.timeout(10):
        return (await asyncio.get_running_loop().sock_recv(manager, 100)).decode()


def waiting(manager: socket.socket) -> list[str]:
    """The messages that have been sent and not read."""
    found: list[str] = []
    while True:
        try:
            found.append(manager.recv(100).decode())
        except BlockingIOError:
            return found


async def test_a_grpc_server_is_ready_alive_and_stops(manager: socket.socket) -> None:
    server = GrpcServer()
    assert waiting(manager) == []
    await server.start([])
    assert [await received(manager) for _ in range(4)] == ["READY=1", *["WATCHDOG=1"] * 3]
    await server.not_serving()
    while (state := await received(manager)) == "WATCHDOG=1":
        pass
    assert state == "STOPPING=1"
    assert await received(manager) == "WATCHDOG=1", "a server that drains is alive"
    await server.stop(0)
    waiting(manager)
    await asyncio.sleep(WATCHDOG_SECONDS)  # nothing may happen in this time
    assert waiting(manager) == []


async def test_a_blocked_event_loop_sends_the_watchdog_nothing(manager: socket.socket) -> None:
    server = GrpcServer()
    await server.start([])
    assert [await received(manager) for _ in range(2)] == ["READY=1", "WATCHDOG=1"]
    waiting(manager)
    time.sleep(2 * WATCHDOG_SECONDS)  # noqa: ASYNC251 - what a blocked event loop is
    assert waiting(manager) == []
    assert await received(manager) == "WATCHDOG=1"
    await server.stop(0)


async def test_an_http_server_is_ready_and_stops(manager: socket.socket) -> None:
    server = HttpServer(Starlette(), "127.0.0.1", 0)
    running = asyncio.create_task(server.run())
    assert [await received(manager) for _ in range(2)] == ["READY=1", "WATCHDOG=1"]
    server.close()
    await running
    assert waiting(manager)[-1] == "STOPPING=1"


def test_the_watchdog_of_a_parent_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1500000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    assert watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_seconds() == 1.5
    monkeypatch.setenv("WATCHDOG_USEC", "0")
    assert watchdog_seconds() is None


def test_a_manager_that_is_gone_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
    assert "cannot be notified of READY=1" in caplog.text
