"""Event streams of a gateway that stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lanemesh.client.run_host import RunHost
from lanemesh_orchestrator.gateway import open_streams
from lanemesh_orchestrator.gateway.gateway import Gateway
from lanemesh_orchestrator.gateway.open_streams import ALL_ENDED_SECONDS
from lanemesh_orchestrator.gateway.options import GatewayOptions
from lanemesh_orchestrator.gateway.sse import EventStream, event
from lanemesh_orchestrator.http_server.server import GRACE_SECONDS
from starlette.types import Message

FOR_LONG = 3_600.0


async def sent_by(gateway: Gateway, stream: EventStream) -> list[Message]:
    """What a stream sends to a client that stays."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "app": SimpleNamespace(state=SimpleNamespace(gateway=gateway)),
    }
    async with asyncio.timeout(20):
        await stream(scope, receive, send)
    return sent


async def one_and_no_end() -> AsyncGenerator[bytes, None]:
    """An event, and then nothing."""
    yield event("first")
    await asyncio.Event().wait()


def new_gateway() -> Gateway:
    return Gateway(mesh=cast("RunHost", None), options=GatewayOptions())


async def test_a_stream_that_begins_while_its_gateway_stops_ends_as_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "LAST_SECONDS", 0.1)
    gateway = new_gateway()
    gateway.streams.end()

    sent = await sent_by(gateway, EventStream(one_and_no_end(), starts=True))

    assert [message.get("body") for message in sent[1:]] == [event("first"), b""]
    assert not sent[-1]["more_body"]
    assert len(gateway.streams) == 0


async def test_a_stream_that_begins_last_ends_before_its_server_cuts_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_streams, "LAST_SECONDS", FOR_LONG)
    assert ALL_ENDED_SECONDS < GRACE_SECONDS
    gateway = new_gateway()
    gateway.streams.end()
    ends_at = gateway.streams.ends_at
    assert ends_at is not None
    later = ends_at + 0.5
    monkeypatch.setattr(open_streams, "time", SimpleNamespace(monotonic=lambda: later))
    gateway.streams.end()  # the end is that of the first call
    assert gateway.streams.ends_at == ends_at

    sent = await sent_by(gateway, EventStream(one_and_no_end(), starts=True))

    assert not sent[-1]["more_body"]
