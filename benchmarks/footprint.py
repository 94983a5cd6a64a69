"""What Lanemesh costs before it does any work: `python benchmarks/footprint.py`.

Measures the import of the SDK, the memory of an idle node server and the wall time of a trivial embedded run; medians of
five. Prints each value beside its target and exits 1 if one is missed.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import median

import grpc
import psutil
from lanemesh.v1 import registry_pb2, registry_pb2_grpc

from chain.processes import LANEMESH, free_port, lanemesh
from chain.report import Verdict, console, status, verdicts_json, verdicts_table

ROUNDS = 5
START_LIMIT_S = 20.0

TRIVIAL = {
    "components": [
        {"id": "chat_1", "provider": "chat"},
        {
            "id": "response_1",
            "provider": "response",
            "config": {"lane": "text"},
            "input": [{"lane": "text", "from": "chat_1"}],
        },
    ]
}


def import_ms(statement: str) -> float:
    """How long a statement takes as the first of a fresh interpreter."""
    program = f"from time import perf_counter as now; s = now(); {statement}; print((now() - s) * 1e3)"
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def trivial_run_s() -> float:
    """The wall time of `lanemesh run`, from the start of its process to its end."""
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "trivial.pipe"
        pipe.write_text(json.dumps(TRIVIAL), encoding="utf-8")
        started = time.perf_counter()
        done = subprocess.run([LANEMESH, "run", pipe, "--input", "hello"], capture_output=True, text=True)
        elapsed = time.perf_counter() - started
    if done.returncode or "hello" not in done.stdout:
        raise RuntimeError(f"the trivial run ended with status {done.returncode}: {done.stderr or done.stdout}")
    return elapsed


async def idle_node_server_mb() -> float:
    """Resident memory, in MB of 10^6 bytes, of a node server that has joined a mesh and runs nothing."""
    address = f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(lanemesh("serve", "--store", "none", "--port", address.rpartition(":")[2]))
        server = await stack.enter_async_context(lanemesh("node", "text", "--orchestrator", address))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        registry = registry_pb2_grpc.RegistryServiceStub(channel)
        await _until_joined(registry, server)
        return float(psutil.Process(server.pid).memory_info().rss / 1e6)


async def _until_joined(
    registry: "registry_pb2_grpc.RegistryServiceAsyncStub", process: asyncio.subprocess.Process
) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise RuntimeError(f"the node server ended with status {process.returncode} before it joined the mesh")
        with suppress(grpc.aio.AioRpcError):
            answer = await registry.ListNodeServers(
                registry_pb2.ListNodeServersRequest(), wait_for_ready=True, timeout=5
            )
            if process.pid in {server.info.pid for server in answer.servers}:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the node server did not join the mesh within {START_LIMIT_S:g} s")


def measure(rounds: int) -> list[Verdict]:
    """All values, each with its target. The rounds are interleaved, so that a slow moment of the machine strikes every value."""
    rows: list[tuple[str, float, str, Callable[[], float]]] = [
        ("import lanemesh", 250, "ms", lambda: import_ms("import lanemesh")),
        (
            "import of all that a node needs",
            250,
            "ms",
            lambda: import_ms("from lanemesh import Node, In, Out, Context"),
        ),
        ("idle node server, resident", 60, "MB", lambda: asyncio.run(idle_node_server_mb())),
        ("lanemesh run, trivial and embedded", 0.5, "s", trivial_run_s),
    ]
    found = [[value() for _, _, _, value in rows] for _ in range(rounds)]
    return [
        Verdict(what=what, value=median(values), bound=bound, at_least=False, unit=unit)
        for (what, bound, unit, _), values in zip(rows, zip(*found, strict=True), strict=True)
    ]


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the values as JSON instead of the table")
    parser.add_argument("--quick", action="store_true", help="one round, to see that it works")
    arguments = parser.parse_args()
    verdicts = measure(1 if arguments.quick else ROUNDS)
    if arguments.json:
        print(verdicts_json(verdicts))
    else:
        console().print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
