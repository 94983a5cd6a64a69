"""What GPU leases cost and what their order gains: `python benchmarks/gpu.py`.

Grants of a free device over gRPC, with the arbiter in a process of its own, beside streams of gRPC that are opened for each;
grants and hand-overs in one process; a trace of requests for three models of which one fits at a time; and models of wrong sizes
beside a foreign process.
Prints each value beside its target and exits 1 if one is missed.
"""

import argparse
import asyncio
import gc
import os
import sys
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from lanemesh._grpc.connections import dial
from lanemesh.gpu import ArbiterLink, EmbeddedLink, GpuArbiter, GpuClient, connect
from lanemesh.gpu.simulation import Simulation, fewest_loads, repeated
from lanemesh.v1 import gpu_pb2

from chain import bare_lease
from chain.processes import serving
from chain.report import Verdict, console, status, verdicts_json, verdicts_table
from chain.systems import percentile
from chain.wrong_sizes import wrong_sizes

WAITERS = 1_000
ORDER = "ABAACABC"
LARGE = {"memory": "16GiB", "peak": "20GiB", "seconds": 0.1, "reload": 1.0}
MODELS: dict[str, dict[str, Any]] = dict.fromkeys("ABC", LARGE)
COMPARED = 6
"""How often the order is repeated in the trace whose optimum is searched."""
BLOCK = 20
"""Grants of the arbiter, and then bare exchanges, in a row: so both have the same load of the machine."""
RELEASE = gpu_pb2.LeaseRequest(release=gpu_pb2.LeaseRelease())
ACQUIRE = gpu_pb2.LeaseRequest(acquire=gpu_pb2.LeaseAcquire())


@asynccontextmanager
async def arbiter_process() -> Any:
    """An arbiter process with one simulated device; its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lanemesh.gpu"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "LANEMESH_GPUS": "sim:0=24GiB"},
    )
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def cycle(link: ArbiterLink, acquire: gpu_pb2.LeaseRequest = ACQUIRE) -> float:
    """One lease from its request to its end: how long the grant took, in ms."""
    frames: asyncio.Queue[gpu_pb2.LeaseResponse | None] = asyncio.Queue()
    stream = link.open(frames.put_nowait)
    started = time.perf_counter()
    stream.send(acquire)
    granted_at = 0.0
    while (frame := await frames.get()) is not None:
        if frame.HasField("granted"):
            granted_at = time.perf_counter()
            stream.send(RELEASE)
            stream.close()
    return (granted_at - started) * 1e3


async def grants(count: int) -> tuple[list[float], list[float]]:
    """Grants of a free device over gRPC, one after the other, and between them exchanges of the same messages on bare streams, each
    of which is opened for one exchange, in ms."""
    granted: list[float] = []
    bare: list[float] = []
    async with arbiter_process() as address, serving("chain.bare_lease") as (_, bare_address):
        link, channel = connect(address), dial(bare_address)
        gc.collect()
        gc.freeze()  # as a node server does
        for block in range(-max(count // BLOCK // 10, 1), count // BLOCK):  # those below 0 warm up
            found = [await cycle(link) for _ in range(BLOCK)]
            floor = [await bare_lease.cycle(channel, ACQUIRE, RELEASE) for _ in range(BLOCK)]
            if block >= 0:
                granted += found
                bare += floor
        await link.close()
        await channel.close()
    return granted, bare


async def cycles_per_s(link: ArbiterLink, count: int, clients: int) -> float:
    """Leases of parts of a device a second, from request to end, by so many clients at once."""
    part = gpu_pb2.LeaseRequest(acquire=gpu_pb2.LeaseAcquire(memory_bytes=1 << 20))

    async def client() -> None:
        for _ in range(count // clients):
            await cycle(link, part)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return count / (time.perf_counter() - started)


async def hand_overs(waiters: int) -> tuple[list[float], float]:
    """The times between a release and the next grant while so many wait, and the greatest lag of the event loop, in ms."""
    arbiter = GpuArbiter([gpu_pb2.Device(id="sim:0", memory_bytes=24 << 30)])
    gpu = GpuClient(EmbeddedLink(arbiter), gpu_pb2.LeaseHolder(component="benchmark"))
    found: list[float] = []
    released_at = time.perf_counter()

    async def wait() -> None:
        nonlocal released_at
        lease = gpu.lease()
        async with lease:
            found.append((time.perf_counter() - released_at) * 1e3)
            await asyncio.sleep(0)
            released_at = time.perf_counter()

    lag = 0.0

    async def watch() -> None:
        nonlocal lag
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.005)
            lag = max(lag, (time.perf_counter() - asked - 0.005) * 1e3)

    async with gpu.lease():
        tasks = [asyncio.create_task(wait()) for _ in range(waiters)]
        while len(arbiter.status()[0].waiting) < waiters:
            await arbiter.changed.wait()
        watching = asyncio.create_task(watch())
        released_at = time.perf_counter()
    await asyncio.gather(*tasks)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    return found, lag


def order(times: int) -> list[Verdict]:
    """Loads of models, and waits, for the order of requests."""
    compared = repeated(ORDER * COMPARED, MODELS)
    fewest = fewest_loads(compared)
    assert fewest is not None
    short, long = Simulation(compared).run(), Simulation(repeated(ORDER * times, MODELS)).run()
    fifo = Simulation(repeated(ORDER * times, MODELS), max_bypass=0).run()
    return [
        Verdict(
            what=f"{ORDER} x {COMPARED}: loads against the fewest",
            value=short.loads / fewest,
            bound=1.2,
            at_least=False,
        ),
        Verdict(
            what=f"{ORDER} x {times}: loads against FIFO", value=long.loads / fifo.loads, bound=0.25, at_least=False
        ),
        Verdict(
            what="its longest wait against that in FIFO",
            value=max(long.waits) / max(fifo.waits),
            bound=1,
            at_least=False,
        ),
    ]


async def measure(*, quick: bool) -> list[Verdict]:
    """Every value beside its target."""
    free, bare = await grants(100 if quick else 2_000)
    embedded = EmbeddedLink(GpuArbiter([gpu_pb2.Device(id="sim:0", memory_bytes=24 << 30)]))
    rate = await cycles_per_s(embedded, 1_000 if quick else 20_000, 32)
    waits, lag = await hand_overs(100 if quick else WAITERS)
    wrong = await wrong_sizes(60 if quick else 200)
    return [
        Verdict(
            what="grant of a free device over gRPC, p50",
            value=percentile(free, 0.5),
            bound=1,
            at_least=False,
            unit="ms",
        ),
        Verdict(what="the same, p99", value=percentile(free, 0.99), bound=3, at_least=False, unit="ms"),
        Verdict(
            what="its p50 against a stream that is opened for it",
            value=percentile(free, 0.5) / percentile(bare, 0.5),
            bound=1,
            at_least=False,
        ),
        Verdict(what="leases a second, in one process", value=rate, bound=5_000, at_least=True, unit=""),
        Verdict(
            what="hand-over with 1,000 waiters, p99", value=percentile(waits, 0.99), bound=5, at_least=False, unit="ms"
        ),
        Verdict(what="lag of the event loop meanwhile", value=lag, bound=20, at_least=False, unit="ms"),
        *order(50 if quick else 1_000),
        Verdict(
            what="sizes 30 % wrong, half of the device foreign: out of memory twice",
            value=wrong.failed,
            bound=0,
            at_least=False,
            unit="",
        ),
        Verdict(what="the same: memory in use", value=100 * wrong.mean_used, bound=85, at_least=True, unit="%"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the values as JSON instead of the table")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    options = parser.parse_args(arguments)
    verdicts = asyncio.run(measure(quick=options.quick))
    if options.json:
        print(verdicts_json(verdicts))
    else:
        console().print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    sys.exit(main())
