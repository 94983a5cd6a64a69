"""SIGTERM and SIGINT: the first one drains a server, the second one ends it at once, with another exit code."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from lanemesh import Client
from lanemesh.faults import LanemeshError

from rigs.commands import Command
from rigs.runs import NODES, line, node

TAG = line(node("a", "tag", "chat"))
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TIMEOUT = 60.0
DRAINED, ENDED = 0, 130
SIGNALS = [signal.SIGTERM, signal.SIGINT]


@contextmanager
def process(folder: Path, *command: str) -> Iterator[Command]:
    """A server, which is killed at the end of the block if it still runs."""
    environment = {**os.environ, "LANEMESH_GPUS": "sim:0=1GiB"}
    made = Command(*command, environment=environment, folder=folder, stderr=subprocess.PIPE)
    try:
        yield made
    finally:
        made.kill()
        made.communicate(timeout=TIMEOUT)


async def found(server: Command, pattern: str) -> str:
    """The first group of the pattern in a line that a server logs."""
    assert server.stderr is not None
    while line_ := await asyncio.to_thread(server.stderr.readline):
        if match := re.search(pattern, line_):
            return match[1]
    raise AssertionError(f"the server has ended before it logged {pattern}")


@contextmanager
def orchestrator(folder: Path, *options: str) -> Iterator[Command]:
    with process(folder, "serve", "--port", "0", "--store", "none", *options) as made:
        yield made


@contextmanager
def joined(folder: Path, address: str) -> Iterator[Command]:
    with process(folder, "node", "--nodes", str(NODES), "--orchestrator", address) as made:
        yield made


async def ended(server: Command) -> int:
    """The exit code."""
    return await asyncio.to_thread(server.wait, TIMEOUT)


async def not_serving(address: str) -> None:
    """Waits until a server reports that it takes no new work."""
    async with asyncio.timeout(TIMEOUT), grpc.aio.insecure_channel(address) as channel:
        async for response in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            if response.status == NOT_SERVING:
                return


@pytest.mark.conformance("SRV-02")
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_node_server_drains_and_a_second_signal_ends_it(number: signal.Signals, tmp_path: Path) -> None:
    with orchestrator(tmp_path) as serving:
        address = await found(serving, r"listening, reached at (\S+)")
        async with Client(address) as client:
            with joined(tmp_path, address) as server:
                own = await found(server, r"joined as \S+ reached at (\S+)")
                async with client.run(TAG, open_input=True) as run:
                    values = run.values()
                    await run.push("before")
                    assert await anext(values) == "before"
                    server.send_signal(number)
                    await not_serving(own)
                    assert server.poll() is None
                    await run.push("after")
                    await run.end_input()
                    assert [value async for value in values] == ["after"]
                assert await ended(server) == DRAINED
            with joined(tmp_path, address) as server:
                own = await found(server, r"joined as \S+ reached at (\S+)")
                async with client.run(TAG, open_input=True) as run:
                    values = run.values()
                    await run.push("before")
                    assert await anext(values) == "before"
                    server.send_signal(number)
                    await not_serving(own)
                    server.send_signal(number)
                    assert await ended(server) == ENDED
                    with pytest.raises(LanemeshError):
                        await values


@pytest.mark.conformance("SRV-02")
@pytest.mark.parametrize("number", SIGNALS)
async def test_an_orchestrator_drains_and_takes_no_new_runs(number: signal.Signals, tmp_path: Path) -> None:
    with orchestrator(tmp_path, "--drain", "60") as serving:
        address = await found(serving, r"listening, reached at (\S+)")
        with joined(tmp_path, address) as server:
            await found(server, r"joined as (\S+)")
            async with Client(address) as client, client.run(TAG, open_input=True) as run:
                values = run.values()
                await run.push("before")
                assert await anext(values) == "before"
                serving.send_signal(number)
                assert await found(serving, r"(draining for 60 s at most; active runs: 1)")
                await not_serving(address)
                with pytest.raises(LanemeshError, match="takes no new runs") as caught:
                    await client.start(TAG, input="x")
                assert caught.value.fault.reason == "stopping"
                await run.push("after")
                await run.end_input()
                assert [value async for value in values] == ["after"]
            assert await ended(serving) == DRAINED


@pytest.mark.conformance("SRV-02")
async def test_a_second_signal_ends_an_orchestrator_at_once(tmp_path: Path) -> None:
    with orchestrator(tmp_path, "--drain", "60") as serving:
        address = await found(serving, r"listening, reached at (\S+)")
        with joined(tmp_path, address) as server:
            await found(server, r"joined as (\S+)")
            async with Client(address) as client:
                await client.start(TAG, open_input=True)
                serving.send_signal(signal.SIGTERM)
                await found(serving, r"(draining)")
                serving.send_signal(signal.SIGTERM)
                assert await ended(serving) == ENDED


async def test_runs_that_do_not_end_in_time_are_cancelled(tmp_path: Path) -> None:
    with orchestrator(tmp_path, "--drain", "0.2") as serving:
        address = await found(serving, r"listening, reached at (\S+)")
        with joined(tmp_path, address) as server:
            await found(server, r"joined as (\S+)")
            async with Client(address) as client, client.run(TAG, open_input=True) as run:
                values = run.values()
                await run.push("before")
                assert await anext(values) == "before"
                serving.send_signal(signal.SIGTERM)
                await found(serving, r"not ended in time, and are cancelled: (1)")
                with pytest.raises(LanemeshError, match="cancelled"):
                    await values
            assert await ended(serving) == DRAINED


@pytest.mark.conformance("SRV-02")
async def test_an_arbiter_ends_in_order_and_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    for signals, code in ((1, DRAINED), (2, ENDED)):
        with process(tmp_path, "gpu", "serve", "--port", "0") as arbiter:
            address = await found(arbiter, r"listens at (\S+)")
            async with grpc.aio.insecure_channel(address) as channel:
                watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
                statuses = aiter(watch)
                await anext(statuses)  # the call keeps the server for a while
                arbiter.send_signal(signal.SIGTERM)
                assert (await asyncio.wait_for(anext(statuses), TIMEOUT)).status == NOT_SERVING
                if signals == 2:
                    arbiter.send_signal(signal.SIGTERM)
                else:
                    watch.cancel()
                assert await ended(arbiter) == code
