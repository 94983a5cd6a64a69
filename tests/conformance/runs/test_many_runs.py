"""Many runs at once over one mesh: all end right, and nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import psutil
import pytest
from lanemesh import Client
from lanemesh.v1 import run_pb2
from lanemesh_orchestrator import Mesh

from conformance.runs.rig import NODES, line, node, until

RUNS = 200
CONNECTIONS = 24
"""Most that stay for later: of each of three neighbours, either way, one for 64 lanes at once."""
CHAIN = line(node("a", "tag", "chat", mark="a"), node("b", "pass", "a"), node("c", "tag", "b", mark="c"))


@dataclass(frozen=True)
class Used:
    """What a process holds."""

    files: int
    """Open files that are no connections."""
    connections: int
    megabytes: float

    @classmethod
    def of(cls, process: psutil.Process) -> Used:
        connections = len(process.net_connections("tcp"))
        return cls(process.num_fds() - connections, connections, process.memory_full_info().uss / 1e6)


def trim_heap() -> None:
    """What is free goes back to the system: this process has had the client and the tests in it as well."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def tasks() -> Counter[str]:
    """The tasks of this process by what they do."""
    return Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())


@pytest.mark.conformance("RUN-10")
async def test_two_hundred_runs_at_once_all_end_right_and_leave_nothing_behind() -> None:
    async with Mesh("component", nodes=[NODES]) as mesh, Client(mesh.orchestrator.address) as client:
        pids = [psutil.Process().pid]

        async def one(number: int) -> bool:
            run = await client.start(CHAIN, inputs=[f"{number}.{item}" for item in range(5)])
            result = await run.result()
            right = tuple(f"ca{number}.{item}" for item in range(5))
            return result.state == run_pb2.RUN_STATE_COMPLETED and result.outputs == right

        def idle() -> bool:
            return not any(server.active_instances for server in mesh.orchestrator.registry.servers())

        def used() -> list[Used]:
            gc.collect()
            trim_heap()
            return [Used.of(psutil.Process(pid)) for pid in pids]

        assert (await mesh.run(CHAIN, input="x").result()).outputs == ("cax",)
        pids += [server.info.pid for server in await mesh.node_servers()]
        assert await one(0)
        await until(idle)
        before = tasks()
        at_first = used()
        rounds: list[list[Used]] = []
        for _ in range(3):
            assert all(await asyncio.gather(*(one(number) for number in range(RUNS))))
            await until(lambda: idle() and not mesh.orchestrator.host.runs)
            await until(lambda: tasks() <= before)
            rounds.append(used())
        for first, *then in zip(at_first, *rounds, strict=True):
            assert then[-1].files == first.files
            assert then[-1].connections <= first.connections + CONNECTIONS
            grown = [after.megabytes - earlier.megabytes for earlier, after in pairwise(then)]
            assert min(grown) < 10, grown  # what is lost grows in every round, what the allocator keeps in one of them
