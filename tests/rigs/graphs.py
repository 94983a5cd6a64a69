"""Runs random pipelines on a mesh, in this process or spread over node servers, and judges them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lanemesh.channels import Channels
from lanemesh.client.run_reader import wire_updates
from lanemesh.client.runs import Run
from lanemesh.client.specs import run_spec
from lanemesh.faults import Fault
from lanemesh.v1 import update_pb2
from lanemesh_orchestrator.orchestrator import Orchestrator
from lanemesh_orchestrator.runs.active_run import ActiveRun
from lanemesh_orchestrator.runs.link import LocalRunLink
from lanemesh_orchestrator.runs.run_options import RunOptions

from endings import end
from failure_tail import waiting_tasks
from graphs.generate import SERVERS, Features, generate
from graphs.interpret import Impossible
from graphs.judge import Outcome, judge
from graphs.shapes import Graph
from rigs.runs import value_of

NODES = Path(__file__).with_name("graph_nodes.py")
"""The file with the node types."""
BOUND = 60.0
"""Seconds within which any of these runs has ended; they take milliseconds."""
CANCEL_BOUND = 5.0
"""Seconds within which a cancelled run has ended, also where eight of them share one core with others."""
AT_ONCE = 8
"""Runs that are under way at the same time."""
TRANSPORTS = ("embedded", "spread")
"""Where pipelines run: over memory lanes, or over gRPC lanes between node servers."""


@dataclass(frozen=True)
class Mishap:
    """A run that did not do what it has to."""

    seed: int
    transport: str
    what: str
    graph: Graph

    def __str__(self) -> str:
        """All that one needs to see it again."""
        pipeline = json.dumps(self.graph.document())
        homes = f"\n  homes: {dict(self.graph.homes)}" if self.transport == "spread" else ""
        fed = f", fed {self.graph.fed} inputs" if self.graph.fed is not None else ""
        cancel = f", cancelled after {self.graph.cancel_after} updates" if self.graph.cancel_after is not None else ""
        again = f"make fuzz GRAPHS=1 SEED={self.seed} TRANSPORT={self.transport}"
        return f"seed {self.seed}, {self.transport}{fed}{cancel}: {self.what}\n  again: {again}\n  pipeline: {pipeline}{homes}"


class Arena:
    """A mesh for random pipelines."""

    def __init__(self, transport: str, orchestrator: Orchestrator) -> None:
        self.transport = transport
        self.states: Counter[str] = Counter()
        """How many runs ended well in each state."""
        self.growths = 0
        """Lanes that were told to have grown."""
        self._orchestrator = orchestrator

    async def play(self, graph: Graph) -> Mishap | None:
        """Runs one pipeline. Returns what went wrong, if anything did."""
        inputs = [f"i{number}" for number in range(graph.fed or 0)]
        outcome = Outcome()
        running = asyncio.create_task(self._run(graph, inputs, outcome), name=f"seed {graph.seed}")
        _, late = await asyncio.wait([running], timeout=BOUND)
        try:
            if late:
                waiting = "\n    ".join(waiting_tasks())
                running.cancel()
                raise Impossible(f"not ended after {BOUND:g} s; seen of it: {_seen(outcome)}\n    {waiting}")
            running.result()
            judge(graph, inputs, outcome)
        except Exception as error:
            what = str(error) if isinstance(error, Impossible) else f"{type(error).__name__}: {error}"
            return Mishap(graph.seed, self.transport, what, graph)
        self.states[update_pb2.RunState.Name(outcome.state).removeprefix("RUN_STATE_").lower()] += 1
        self.growths += sum(outcome.growths.values())
        return None

    async def _run(self, graph: Graph, inputs: list[str], outcome: Outcome) -> None:
        spec = run_spec(graph.document(), None)
        homes = {name: f"fuzz-{home}" for name, home in graph.homes.items()} if self.transport == "spread" else {}

        async def begin() -> ActiveRun:
            runs = self._orchestrator.runs
            return runs.start(runs.validate(spec), RunOptions(homes=homes))

        channels = Channels(lambda: self._orchestrator.channels)
        async with Run(LocalRunLink(begin, lambda _: channels), inputs) as run:
            seen, cancelled = 0, None
            if graph.cancel_after == 0:
                cancelled = await _cancel(run)
            async for update in wire_updates(run):
                _note(update, outcome)
                seen += 1
                if seen == graph.cancel_after:
                    cancelled = await _cancel(run)
        if cancelled is not None and (took := time.monotonic() - cancelled) > CANCEL_BOUND:
            raise Impossible(f"it ended only {took:.1f} s after it was cancelled")


async def _cancel(run: Run) -> float:
    """Cancels a run. Returns when that was."""
    await run.cancel("the fuzz")
    return time.monotonic()


def _note(update: update_pb2.Update, outcome: Outcome) -> None:
    match update.WhichOneof("kind"):
        case "job":
            outcome.state, outcome.reason = update.job.state, update.job.reason
            if update.job.HasField("error"):
                outcome.error = Fault.from_proto(update.job.error)
        case "node":
            outcome.nodes[update.node.component] = update.node
        case "edge":
            before = outcome.edges.get(update.edge.edge_id)
            outcome.growths[update.edge.edge_id] += update.edge.growths > (before.growths if before else 0)
            outcome.edges[update.edge.edge_id] = update.edge
        case "output" if update.output.item.WhichOneof("payload") is not None:
            outcome.outputs[update.output.component].append(value_of(update.output))


def _seen(outcome: Outcome) -> str:
    nodes = ", ".join(f"{name} {update_pb2.NodeState.Name(node.state)[11:]}" for name, node in outcome.nodes.items())
    edges = ", ".join(
        f"{edge.edge_id} {edge.sent}/{edge.consumed}{f' ({edge.detail})' if edge.detail else ''}"
        for edge in outcome.edges.values()
        if not edge.drained
    )
    return f"{update_pb2.RunState.Name(outcome.state)}; {nodes}; {edges}; outputs {dict(outcome.outputs)}"


@asynccontextmanager
async def arena(transport: str) -> AsyncIterator[Arena]:
    """A mesh of a transport. Spread: node servers in processes of their own, which end with it."""
    orchestrator = Orchestrator(embedded=transport == "embedded", nodes=[NODES])
    servers: list[asyncio.subprocess.Process] = []
    try:
        if transport == "spread":
            await orchestrator.listen()
            servers += [await _server(number, orchestrator.address) for number in range(SERVERS)]
            async with asyncio.timeout(60):
                while len(orchestrator.registry.members) < SERVERS:
                    await orchestrator.registry.changes.wait_at_most(1)
        yield Arena(transport, orchestrator)
        await _nothing_left(orchestrator)
    finally:
        try:
            await end("the mesh", orchestrator.close())
        finally:
            for server in servers:
                server.kill()
                await server.wait()


async def _nothing_left(orchestrator: Orchestrator) -> None:
    """Waits until no run is hosted any more; raises TimeoutError naming those that are."""
    members = orchestrator.registry.members.values()
    for _ in range(100):
        left = [*(run for run, _ in orchestrator.host.runs), *(m.info.name for m in members if m.active_instances)]
        if not left:
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"still there after all runs have ended: {', '.join(left)}")


async def _server(number: int, address: str) -> asyncio.subprocess.Process:
    arguments = ["--nodes", str(NODES), "--name", f"fuzz-{number}", "--orchestrator", address, "--exit-with-parent"]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "lanemesh.server", *arguments, "--log-level", "error"),
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


async def play_all(arena: Arena, seeds: Iterable[int], features: Features) -> AsyncIterator[Mishap | None]:
    """Runs the pipelines of seeds, several at once, and tells of each as it ends."""
    rest = iter(seeds)
    playing: set[asyncio.Task[Mishap | None]] = set()
    try:
        while True:
            while len(playing) < AT_ONCE and (seed := next(rest, None)) is not None:
                playing.add(asyncio.create_task(arena.play(generate(seed, features))))
            if not playing:
                return
            done, playing = await asyncio.wait(playing, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
