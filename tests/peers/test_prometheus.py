"""Prometheus and its blackbox exporter probe the health of a server, with the configuration of docs/proxies.md."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from lanemesh_orchestrator.orchestrator import Orchestrator

from peers.programs import prometheus_of


async def test_the_probe_follows_the_health_of_a_server(tmp_path: Path) -> None:
    orchestrator = Orchestrator(embedded=True)
    await orchestrator.listen()
    try:
        async with (
            prometheus_of(tmp_path, target=orchestrator.address) as address,
            httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as web,
        ):

            async def until(value: str) -> None:
                """Waits until Prometheus has this as the latest result of the probe."""
                async with asyncio.timeout(40):
                    while value != await probe_success(web, orchestrator.address):  # noqa: ASYNC110 - nothing reports it
                        await asyncio.sleep(0.1)

            await until("1")
            assert orchestrator.grpc is not None
            await orchestrator.grpc.not_serving()
            await until("0")
    finally:
        await orchestrator.close()


async def probe_success(web: httpx.AsyncClient, instance: str) -> str:
    """The latest value of `probe_success`; empty if there is none yet."""
    answer = await web.get("/api/v1/query", params={"query": f'probe_success{{instance="{instance}"}}'})
    results = answer.json()["data"]["result"]
    return str(results[0]["value"][1]) if results else ""
