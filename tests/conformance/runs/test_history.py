"""An orchestrator that dies, and what is known of its runs when it is back; real processes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE

import pytest
from lanemesh import Client
from lanemesh.client.results import RunResult
from lanemesh.client.run_reader import wire_updates
from lanemesh.faults import LanemeshError

from rigs.forked import ForkedProcess, forked
from rigs.runs import line, lines, node, until

NODES = '''
import asyncio
from pathlib import Path

from lanemesh import Context, In, Node, Out
from pydantic import BaseModel


class Tick(Node):
    """Ticks for ever, or as often as it is told, and writes down its end."""

    class Config(BaseModel):
        journal: str
        ticks: int = 10**9

    text: In[str]
    tick: Out[str]

    async def gen_process(self, context: Context):
        for number in range(self.config.ticks):
            yield "tick", f"{self.text} {number}"
            await asyncio.sleep(0.01)

    async def finalize(self, context: Context):
        with Path(self.config.journal).open("a") as journal:
            journal.write("finalized\\n")
'''
FIVE_SECONDS = 5.0


class Servers:
    """An orchestrator that is killed and started again, always at one address and with one store, and a node server."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal"
        self.store = folder / "runs.sqlite"
        self.address = ""
        self._folder = folder
        self._processes: list[ForkedProcess] = []
        self._orchestrator: ForkedProcess | None = None

    async def serve(self) -> None:
        """Starts the orchestrator."""
        port = self.address.rpartition(":")[2] or "0"
        arguments = ["serve", "--port", port, "--store", str(self.store)]
        self._orchestrator, told = await self._start(arguments, "reached at ")
        self.address = told

    async def node(self) -> None:
        """Starts the node server."""
        (self._folder / "nodes.py").write_text(NODES)
        arguments = ["node", "--nodes", "nodes.py", "--orchestrator", self.address, "--log-level", "info"]
        await self._start(arguments, "joined as ")

    async def kill(self) -> None:
        """Kills the orchestrator."""
        assert self._orchestrator is not None
        self._orchestrator.send_signal(signal.SIGKILL)
        await self._orchestrator.wait()

    async def end(self) -> None:
        """Ends everything."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _start(self, arguments: list[str], word: str) -> tuple[ForkedProcess, str]:
        process = await forked(*arguments, stderr=PIPE, folder=self._folder)
        self._processes.append(process)
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while told := (await process.stderr.readline()).decode():
                if word in told:
                    return process, told.partition(word)[2].split()[0].rstrip(",")
        raise AssertionError(f"{arguments[0]} ended before it said {word!r}")


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Servers]:
    servers = Servers(folder)
    try:
        await servers.serve()
        await servers.node()
        yield servers
    finally:
        await servers.end()


async def joined(client: Client) -> bool:
    try:
        return len(await client.node_servers()) == 1
    except LanemeshError:
        return False


async def until_true(holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.05)


@pytest.mark.conformance("RUN-09", "RUN-13")
async def test_a_killed_orchestrator_leaves_no_run_going_and_remembers_what_clients_saw(tmp_path: Path) -> None:
    async with serving(tmp_path) as servers:
        ticking = line(node("t", "tick", "chat", journal=str(servers.journal)))
        short = line(node("t", "tick", "chat", journal=str(servers.journal), ticks=3))
        async with Client(servers.address) as client:
            whole = await client.run(short, input="short").result()
            run = await client.start(ticking, input="long")
            outputs = run.values()
            seen: list[str] = []
            while len(seen) < 20:
                seen.append(await anext(outputs))
            assert lines(servers.journal) == ["finalized"]
            await servers.kill()
            await until(lambda: lines(servers.journal) == ["finalized"] * 2, FIVE_SECONDS)

            await servers.serve()
            await until_true(lambda: joined(client), 15.0)
            seen += [value async for value in _quietly(outputs)]  # the watcher goes on where it was

            again = await client.attach(run.id).result()
            assert again.values == tuple(seen) == tuple(f"long {number}" for number in range(len(seen)))
            assert (again.state, again.error.reason if again.error else "") == (
                "failed",
                "orchestrator-lost",
            )
            numbers = [update.sequence async for update in wire_updates(client.attach(run.id))]
            assert numbers == list(range(1, len(numbers) + 1))
            records = await client.runs()
            assert [(record.run_id, record.state) for record in records] == [
                (run.id, "failed"),
                (whole.run_id, "completed"),
            ]
            assert (records[0].output_count, records[0].last_sequence) == (len(seen), len(numbers))
            kept: RunResult = await client.attach(whole.run_id).result()
            assert kept.values == whole.values == ("short 0", "short 1", "short 2")
            assert (await client.run(short, input="new").result()).values == ("new 0", "new 1", "new 2")


async def _quietly(values: AsyncIterator[str]) -> AsyncIterator[str]:
    """The rest of the values, without the error that the run has failed."""
    with suppress(LanemeshError):
        async for value in values:
            yield value
