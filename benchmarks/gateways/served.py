"""A mesh as users run it, with a web gateway to it in a process of its own, and the ways to run a deployed pipeline there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import httpx
import psutil
from lanemesh import Client, Deployed

from chain.processes import free_port, lanemesh, serving
from delivery.served import served
from gateways.event_client import EventClient

START_LIMIT_S = 120.0


@dataclass(frozen=True)
class Web:
    """A mesh and a gateway that are up."""

    address: str
    """Of the orchestrator."""
    client: Client
    """Connected to the orchestrator over gRPC; it lives in the process of the benchmark."""
    events: EventClient
    """A client of the gateway over HTTP."""
    url: str
    """The URL of the gateway."""
    gateway: psutil.Process
    """The process of the gateway."""


class Front(Protocol):
    """One way by which clients run a deployed pipeline."""

    name: str

    @property
    def between(self) -> psutil.Process | None:
        """The process between the client and the orchestrator; None: there is none."""

    def texts(self, deployment: str) -> AsyncGenerator[str, None]:
        """Starts a run that its caller owns; yields each of its outputs as it arrives."""


class Grpc:
    """The client of the package."""

    name = "gRPC client"
    between = None

    def __init__(self, client: Client) -> None:
        self._client = client

    async def texts(self, deployment: str) -> AsyncGenerator[str, None]:
        """Runs the pipeline by a `Run` call."""
        async with aclosing(self._client.run(Deployed(deployment), input="go").values()) as values:
            async for value in values:
                yield value


class Sse:
    """An HTTP client that reads server-sent events."""

    def __init__(self, events: EventClient, between: psutil.Process, name: str = "SSE") -> None:
        self.name = name
        self.between = between
        self._events = events

    async def texts(self, deployment: str) -> AsyncGenerator[str, None]:
        """Runs the pipeline by a request whose response is the stream of its events, each of which is parsed."""
        body = json.dumps({"pipeline": f"@{deployment}", "input": "go", "detached": False}).encode()
        async with aclosing(self._events.updates("/v1/runs", body)) as updates:
            async for update in updates:
                if update.get("update") == "output":
                    yield update["value"]


@asynccontextmanager
async def web() -> AsyncIterator[Web]:
    """`lanemesh serve` without a store, three node servers, and `lanemesh gateway`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        served(store=False) as mesh,
        lanemesh("gateway", "--mesh", mesh.address, "--http", str(port)) as process,
    ):
        await _until_healthy(url)
        events = EventClient("127.0.0.1", port)
        yield Web(mesh.address, mesh.client, events, url, psutil.Process(process.pid))
        events.close()


@asynccontextmanager
async def relay(address: str) -> AsyncIterator[Front]:
    """The bare relay of `gateways.relay` to an orchestrator. Its runs have at most 256 updates."""
    async with serving("gateways.relay", address) as (process, at):
        events = EventClient("127.0.0.1", int(at.rpartition(":")[2]))
        yield Sse(events, psutil.Process(process.pid), "bare relay")
        events.close()


async def _until_healthy(url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        while time.monotonic() < deadline:
            try:
                if (await http.get("/healthz")).is_success:
                    return
            except httpx.TransportError:  # it does not listen yet
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the gateway was not ready within {START_LIMIT_S:g} s")
