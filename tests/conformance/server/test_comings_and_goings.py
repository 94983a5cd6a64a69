"""The logs of a node server about its orchestrator, and of the orchestrator about it: one line for each change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from lanemesh._grpc.connections import dial
from lanemesh.node.node import Service
from lanemesh.server import registration
from lanemesh.server.host.host import NodeHost
from lanemesh.server.registration import Registration
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_services.text import SERVICE

from rigs.ports import free_port


class Attempts:
    """Counts how often an orchestrator is dialled."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()
        self._count = 0

    @asynccontextmanager
    async def dial(self, address: str, **options: Any) -> AsyncIterator[Any]:
        async with self._condition:
            self._count += 1
            self._condition.notify_all()
        async with dial(address, **options) as channel:
            yield channel

    async def more(self, number: int) -> None:
        """Waits for so many more attempts."""
        wanted = self._count + number
        async with self._condition:
            await self._condition.wait_for(lambda: self._count >= wanted)


@pytest.fixture
def port() -> int:
    """A closed port."""
    return free_port()


async def left(orchestrator: Orchestrator) -> None:
    while orchestrator.registry.members:
        await orchestrator.registry.changes.wait()


async def test_an_unreachable_orchestrator_is_logged_once_until_it_is_reached(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = Attempts()
    monkeypatch.setattr(registration, "dial", attempts.dial)
    monkeypatch.setattr(registration, "RETRY_SECONDS", (0.01, 0.05))
    host = NodeHost([Service("text", SERVICE.nodes)], name="text")
    member = Registration(host, f"127.0.0.1:{port}", "127.0.0.1:1")
    where = f"the orchestrator at 127.0.0.1:{port}: "

    with caplog.at_level(logging.INFO, "lanemesh"):
        joining = asyncio.create_task(member.keep())
        await attempts.more(4)
        (told,) = [record.getMessage() for record in caplog.records]
        assert told.startswith(f"cannot reach {where}")
        assert told.endswith("; retrying at least every 0.05 s")

        for _ in range(2):
            caplog.clear()
            orchestrator = Orchestrator(embedded=False)
            await orchestrator.listen(port=port)
            await member.joined.wait()
            await orchestrator.close()
            await attempts.more(4)
            warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            (told,) = warnings
            assert told.startswith(f"lost {where}")
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
    await host.close()


async def test_an_orchestrator_logs_servers_that_join_drain_and_leave(
    caplog: pytest.LogCaptureFixture,
) -> None:
    orchestrator = Orchestrator(embedded=False)
    await orchestrator.listen()
    host = NodeHost([Service("text", SERVICE.nodes)], name="text")
    member = Registration(host, orchestrator.address, "127.0.0.1:1")
    with caplog.at_level(logging.INFO, "lanemesh.registry"):
        joining = asyncio.create_task(member.keep())
        await member.joined.wait()
        member.drain()
        while not orchestrator.registry.members["text"].draining:
            await orchestrator.registry.changes.wait()
        joining.cancel()
        await left(orchestrator)
        said = [record.getMessage() for record in caplog.records if record.name == "lanemesh.registry"]
    await orchestrator.close()
    await host.close()

    providers = ", ".join(sorted(manifest.provider for manifest in host.manifests()))
    assert said == [
        f"text joined from 127.0.0.1:1 with {providers}",
        "text at 127.0.0.1:1 drains: it accepts no new runs",
        "text at 127.0.0.1:1 left",
    ]
