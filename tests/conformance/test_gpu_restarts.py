"""An arbiter that is killed and started again: its leases go on, and the command line shows what it does."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from lanemesh.gpu import connect
from lanemesh.v1 import gpu_pb2

from rigs.commands import run
from rigs.gpu import SOON, Client, arbiter_process, entered

pytestmark = pytest.mark.timeout(60)


@pytest.mark.conformance("GPU-09")
async def test_a_killed_arbiter_takes_its_leases_and_models_over(tmp_path: Path) -> None:
    async with arbiter_process(tmp_path) as arbiter:
        link, other_link = connect(arbiter.address), connect(arbiter.address)
        holder, other = Client(link, "holder", "r1"), Client(other_link, "other", "r2")
        unloaded: list[str] = []
        async with holder.lease(memory="10GiB", model="m") as lease:
            await lease.keep(lambda: "m", lambda model: unloaded.append(model))
        async with holder.lease(memory="8GiB") as lease:
            token = lease.fencing_token
            waiting = asyncio.create_task(entered(other.lease()))
            await other.until_place(1)
            await arbiter.kill()
            await arbiter.start()
            await other.until_place(1)
            assert lease.valid
            assert lease.fencing_token == token
            assert not waiting.done()
            leases = {status.state: status for status in await link.leases()}
            assert leases[gpu_pb2.LEASE_STATE_HELD].fencing_token == token
            assert leases[gpu_pb2.LEASE_STATE_KEPT].model == "m"
        await asyncio.wait_for(waiting, SOON)
        assert unloaded == []
        async with other.lease(memory="20GiB", wait_timeout=SOON) as lease:
            assert lease.fencing_token > token
        assert unloaded == ["m"]
        await link.close()
        await other_link.close()


@pytest.mark.conformance("GPU-09")
async def test_leases_of_holders_that_are_gone_expire_after_a_restart(tmp_path: Path) -> None:
    async with arbiter_process(tmp_path, ttl=1) as arbiter:
        link = connect(arbiter.address)
        granted = asyncio.Event()
        stream = link.open(lambda frame: granted.set() if frame is not None and frame.HasField("granted") else None)
        stream.send(gpu_pb2.LeaseRequest(acquire=gpu_pb2.LeaseAcquire()))
        await asyncio.wait_for(granted.wait(), SOON)
        await arbiter.kill()
        await link.close()
        await arbiter.start()
        link = connect(arbiter.address)
        assert await link.leases(), "the arbiter has taken it over"
        async with asyncio.timeout(SOON):
            async for state in link.watch():
                if not state.leases:
                    break
        await link.close()


async def lanemesh(*arguments: str) -> str:
    """What a command prints."""
    done = await asyncio.to_thread(run, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_command_line_shows_devices_models_leases_and_why_requests_wait(tmp_path: Path) -> None:
    async with arbiter_process(tmp_path) as arbiter:
        link = connect(arbiter.address)
        holder, waiter = Client(link, "draws", "r1"), Client(link, "writes", "r2")
        async with holder.lease(memory="10GiB", model="m") as lease:
            await lease.keep(lambda: "m")
        async with holder.lease(memory="12GiB", purpose="draws a picture"):
            waiting = asyncio.create_task(entered(waiter.lease(memory="16GiB")))
            await waiter.until_place(1)
            at = ("--arbiter", arbiter.address)
            status, as_json, explained, watched = await asyncio.gather(
                lanemesh("gpu", "status", *at),
                lanemesh("gpu", "status", "--json", *at),
                lanemesh("gpu", "explain", "--component", "writes", *at),
                first_line("gpu", "watch", "--json", *at),
            )
        await asyncio.wait_for(waiting, SOON)
        await link.close()
    table = " ".join(status.split())
    assert (
        "DEVICE NAME MEMORY FREE LEASED MODELS OTHER sim:0 simulated 24.0 GiB 2.0 GiB 12.0 GiB 10.0 GiB unknown"
        in table
    )
    assert "sim:0 m 10.0 GiB idle for" in table
    assert "sim:0 held draws (on 127.0.0.1:7001, run r1)" in table
    assert "draws a picture" in table
    assert "it needs 16.0 GiB, and 2.0 GiB of 24.0 GiB are free" in table
    found = json.loads(as_json)
    assert [lease["holder"]["component"] for lease in found["leases"]] == ["draws", "draws", "writes"]
    assert explained.startswith('"writes" of run r2 on 127.0.0.1:7001 waits at position 1 for ')
    assert "sim:0 is held by draws (on 127.0.0.1:7001, run r1) for " in explained
    assert [device["device"]["id"] for device in json.loads(watched)["devices"]] == ["sim:0"]


async def first_line(*arguments: str) -> str:
    """The first line of a command that goes on until it is interrupted."""
    command = (sys.executable, "-m", "lanemesh_orchestrator.cli", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 2 * SOON)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), SOON) == 130
    return line.decode()


async def test_an_arbiter_without_devices_says_how_to_simulate_one() -> None:
    assert "LANEMESH_GPUS" in await lanemesh("gpu", "status")


async def test_the_command_line_replays_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    model = {"memory": "16GiB", "peak": "20GiB", "seconds": 0.1}
    trace.write_text(json.dumps({"devices": "sim:0=24GiB", "models": {"A": model, "B": model}, "order": "ABAB"}))
    printed = (await lanemesh("gpu", "simulate", str(trace))).splitlines()
    assert printed[0].split()[:3] == ["ORDER", "LOADS", "UNLOADS"]
    assert [line.split()[:2] for line in printed[1:3]] == [["arbiter", "2"], ["FIFO", "4"]]
    assert printed[3].split() == ["fewest", "loads", "2"]
