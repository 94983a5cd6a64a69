"""What an agent costs: `python benchmarks/agents.py`.

Everything is spread: agent, model and tools are processes of their own. A control call is compared with a bare unary call of
grpc.aio, in pairs. Prints each value beside its target and exits 1 if one is missed. Takes about a minute.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

from lanemesh import Answer, OutputUpdate, Run, ToolCallUpdate, ToolResultUpdate
from lanemesh_orchestrator import Mesh

from chain.report import Verdict, console, status, verdicts_table

FOLDER = Path(__file__).parent / "agenting"
AGENTS = 100
WAVES = 10


def pipeline(model: dict[str, Any], *, tools: bool = True, **agent: Any) -> dict[str, Any]:
    """An agent with a model, and with the tools of the benchmark."""
    control = {"control": [{"classType": "llm", "from": "agent"}]}
    components = [
        {"id": "chat", "provider": "chat"},
        {"id": "agent", "provider": "agent_wave", "input": [{"lane": "questions", "from": "chat"}], **agent},
        {"id": "model", **model, **control},
        {
            "id": "out",
            "provider": "response",
            "config": {"lane": "answers"},
            "input": [{"lane": "answers", "from": "agent"}],
        },
    ]
    if tools:
        helper = {"id": "tools", "provider": "bench_tools", "control": [{"classType": "tool", "from": "agent"}]}
        components.append(helper)
    return {"components": components}


def scripted(*turns: Any) -> dict[str, Any]:
    """A model with a script."""
    return {"provider": "llm_scripted", "config": {"script": list(turns)}}


def calling(name: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    """A turn with calls of a tool."""
    return {"tool_calls": [{"name": name, "arguments": given} for given in arguments]}


@asynccontextmanager
async def bare_server() -> AsyncGenerator[str, None]:
    """A bare server in a process of its own; yields its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FOLDER / "bare.py"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()


def most(what: str, value: float, bound: float, unit: str = "x") -> Verdict:
    """A value that may not exceed a bound."""
    return Verdict(what=what, value=value, bound=bound, at_least=False, unit=unit)


async def control_call(mesh: Mesh, calls: int) -> list[Verdict]:
    """A control call without work."""
    async with bare_server() as address:
        document = {
            "components": [
                {"id": "chat", "provider": "chat"},
                {
                    "id": "calls",
                    "provider": "measure_calls",
                    "config": {"address": address, "calls": calls},
                    "input": [{"lane": "text", "from": "chat"}],
                },
                {"id": "tools", "provider": "bench_tools", "control": [{"classType": "tool", "from": "calls"}]},
                {
                    "id": "out",
                    "provider": "response",
                    "config": {"lane": "text"},
                    "input": [{"lane": "text", "from": "calls"}],
                },
            ]
        }
        _, measured = await mesh.run(document, inputs=["warm up", "go"]).values()
        tool_us, bare_us = json.loads(measured)
    return [most(f"control call, p50 ({tool_us:.0f} us, bare {bare_us:.0f} us)", tool_us / bare_us, 1.5)]


async def parallel_calls(mesh: Mesh, rounds: int) -> list[Verdict]:
    """8 calls of 100 ms, from the first call to the last result."""
    turn = calling("nap", *({"seconds": 0.1, "n": number} for number in range(8)))
    took = []
    for _ in range(rounds):
        at: list[float] = []
        async with aclosing(mesh.run(pipeline(scripted(turn, "Done.")), input="go").updates()) as updates:
            async for update in updates:
                if isinstance(update, ToolCallUpdate | ToolResultUpdate):
                    at.append(update.time.timestamp())
        took.append((max(at) - min(at)) * 1e3)
    return [most("8 parallel calls of 100 ms", median(took), 130, "ms")]


async def first_token(mesh: Mesh, rounds: int) -> list[Verdict]:
    """From the model's first token to the client's."""
    document = pipeline({"provider": "stamped_llm"}, tools=False)
    took = []
    async with mesh.run(document, open_input=True) as run, aclosing(run.text()) as texts:
        for _ in range(rounds + 5):
            await run.push("go")
            written_at = int(await anext(texts))
            took.append((time.time_ns() - written_at) / 1e6)
        await run.end_input()
    return [most("first token, after the model's, p50", median(took[5:]), 5, "ms")]


async def ten_waves(mesh: Mesh, rounds: int) -> list[Verdict]:
    """10 waves of one call, from the question to the end of the answer."""
    turns = [calling("echo", {"n": number}) for number in range(WAVES)]
    took = []
    async with mesh.run(pipeline(scripted(*turns, "Done."), config={"max_waves": WAVES + 1}), open_input=True) as run:
        async with aclosing(run.outputs()) as outputs:
            for _ in range(rounds + 5):
                began = time.perf_counter()
                await run.push("go")
                await _answers(outputs, 1)
                took.append((time.perf_counter() - began) * 1e3)
        await run.end_input()
    return [most(f"{WAVES} waves, p50", median(took[5:]), 60, "ms")]


async def many_agents(mesh: Mesh, nap: float) -> list[Verdict]:
    """100 agents of 10 waves at once on one agent server; the waves of all overlap if none waits for another agent's."""
    turns = [calling("nap", {"seconds": nap, "n": number}) for number in range(WAVES)]
    document = pipeline(scripted(*turns, "Done."), config={"max_waves": WAVES + 1}, concurrency=AGENTS)
    async with mesh.run(document, open_input=True) as run, aclosing(run.outputs()) as outputs:
        await _push(run, AGENTS)
        began = time.perf_counter()
        await _answers(outputs, AGENTS)
        took = time.perf_counter() - began
        await run.end_input()
    ideal = WAVES * nap
    return [most(f"{AGENTS} agents at once, of their own time ({took:.1f} s of {ideal:.1f} s)", took / ideal, 1.5)]


async def _push(run: Run, count: int) -> None:
    for _ in range(count):
        await run.push("go")


async def _answers(outputs: Any, count: int) -> None:
    """Waits for the ends of answers."""
    while count:
        update: OutputUpdate = await anext(outputs)
        if isinstance(update.value, Answer) and update.value.finish_reason:
            count -= 1


async def main(options: argparse.Namespace) -> int:
    """Measures, and prints each value beside its target. Returns the exit code."""
    quick = options.quick
    verdicts: list[Verdict] = []
    async with Mesh("component", nodes=[FOLDER / "nodes.py"]) as mesh:
        verdicts += await control_call(mesh, 200 if quick else 2_000)
        verdicts += await parallel_calls(mesh, 3 if quick else 10)
        verdicts += await first_token(mesh, 20 if quick else 200)
        verdicts += await ten_waves(mesh, 10 if quick else 50)
        verdicts += await many_agents(mesh, 0.5 if quick else 2.0)
    console().print(verdicts_table(verdicts))
    return status(verdicts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure shortly")
    sys.exit(asyncio.run(main(parser.parse_args())))
