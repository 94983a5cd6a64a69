"""What a gateway shows of GPUs, in a mesh of this process and through an orchestrator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from lanemesh import Client
from lanemesh.gpu import GpuClient, arbiter
from lanemesh.v1 import gpu_pb2
from lanemesh_orchestrator import Mesh

from rigs.gateways import gateway
from rigs.gpu import entered

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def mesh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Mesh]:
    monkeypatch.setenv("LANEMESH_GPUS", "sim:0=24GiB")
    monkeypatch.setenv("LANEMESH_GPU_STATE", str(tmp_path))
    monkeypatch.setattr(arbiter, "_embedded", None)
    async with Mesh() as made:
        yield made


@pytest.fixture(params=["embedded", "orchestrator"])
async def web(request: pytest.FixtureRequest, mesh: Mesh) -> AsyncIterator[httpx.AsyncClient]:
    if request.param == "embedded":
        async with gateway(mesh) as client:
            yield client
        return
    await mesh.orchestrator.listen()
    async with Client(mesh.orchestrator.address) as host, gateway(host) as client:
        yield client


def client(mesh: Mesh, component: str) -> GpuClient:
    return GpuClient(mesh.orchestrator.host.gpu_link, gpu_pb2.LeaseHolder(component=component, run_id="r7"))


async def test_devices_models_leases_and_the_queue_are_listed(mesh: Mesh, web: httpx.AsyncClient) -> None:
    request = client(mesh, "draw").lease(memory="6GiB", peak="9GiB", model="painter", purpose="draws")
    async with request as lease:
        await lease.keep(lambda: "painter")
        waiting = asyncio.create_task(entered(client(mesh, "train").lease()))
        gpus = arbiter.embedded_arbiter()
        while not gpus.status()[0].waiting:
            await gpus.changed.wait()
        found = (await web.get("/v1/gpus")).json()
    await waiting
    (device,) = found["devices"]
    assert (device["id"], device["memory_bytes"], device["model_bytes"]) == ("sim:0", 24 << 30, 6 << 30)
    assert device["free_bytes"] == 15 << 30
    assert [(model["name"], model["idle_seconds"]) for model in device["models"]] == [("painter", None)]
    (held,) = found["leases"]
    assert (held["component"], held["state"], held["run_id"], held["purpose"]) == ("draw", "held", "r7", "draws")
    (request_,) = found["waiting"]
    assert (request_["component"], request_["position"]) == ("train", 1)
    assert "it needs the device alone" in request_["reason"]


async def test_a_mesh_without_gpus_lists_none(
    monkeypatch: pytest.MonkeyPatch, mesh: Mesh, web: httpx.AsyncClient
) -> None:
    monkeypatch.setenv("LANEMESH_GPUS", "")
    monkeypatch.setattr(arbiter, "_embedded", None)
    assert (await web.get("/v1/gpus")).json() == {"devices": [], "leases": [], "waiting": []}


async def test_an_arbiter_that_does_not_answer_is_named(mesh: Mesh, web: httpx.AsyncClient) -> None:
    mesh.orchestrator.gpu_arbiter = "127.0.0.1:1"
    response = await web.get("/v1/gpus")
    assert response.status_code == 503
    assert "127.0.0.1:1 cannot be reached" in response.json()["detail"]
