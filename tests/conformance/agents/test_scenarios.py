"""Random agents: whatever model and tools do, a run ends in one terminal state, and every call has its result.

`LANEMESH_SCENARIOS=1000` runs more of them, `LANEMESH_SCENARIO_SEED=7` others.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lanemesh import (
    ApprovalState,
    ApprovalUpdate,
    JobUpdate,
    LanemeshError,
    Mesh,
    ToolCallUpdate,
    ToolResultUpdate,
)
from lanemesh.client.runs import Run

COUNT = int(os.environ.get("LANEMESH_SCENARIOS", "30"))
SEED = int(os.environ.get("LANEMESH_SCENARIO_SEED", "1"))
AT_ONCE = 8
TOOLS = Path(__file__).parents[2] / "rigs" / "agent_tools.py"

CALLS: list[dict[str, Any]] = [
    {"name": "add", "arguments": {"a": 1, "b": 2}},
    {"name": "add", "arguments": '{"a": 1, "b": '},
    {"name": "add", "arguments": '"{\\"a\\": 1, \\"b\\": 2}"'},
    {"name": "add", "arguments": "[1, 2]"},
    {"name": "add", "arguments": {"a": "one"}},
    {"name": "add", "arguments": "null"},
    {"name": "add", "arguments": "[" * 2_000},
    {"name": "add", "arguments": {"a": "{{memory.wave-1.r1}}", "b": 1}},
    {"name": "rows", "arguments": {}},
    {"name": "rows", "arguments": ""},
    {"name": "nap", "arguments": {"seconds": 0.01}},
    {"name": "hang", "arguments": {}},
    {"name": "fail", "arguments": {}},
    {"name": "leave", "arguments": {}},
    {"name": "interrupt", "arguments": {}},
    {"name": "not_a_number", "arguments": {}},
    {"name": "raw", "arguments": {}},
    {"name": "injected", "arguments": {}},
    {"name": "loud", "arguments": {}},
    {"name": "delete_everything", "arguments": {}},
    {"name": "peek", "arguments": {"key": "wave-1.r1"}},
    {"name": "cancel_call", "arguments": {"call_id": "call_0_0"}},
    {"name": "helper", "arguments": {"task": "add"}},
]
"""Calls that a model makes, good and bad."""
TEXTS = [
    "",
    "I see.",
    "word " * 60,
    "It is {{memory.wave-1.r1:csv}}.",
    "{{memory.nothing}}",
    "{{",
    '{"calls": [',
    "```json",
]
JSON_TURNS = [
    '{"thought": "hm", "calls": [{"tool": "add", "arguments": {"a": 1, "b": 2}}], "answer": ""}',
    '{"thought": "", "calls": [], "answer": "three"}',
    '{"thought": "", "calls": [{"tool": 3}], "answer": ""}',
    '{"calls": [{"tool": "nothing", "arguments": "text"}]}',
    '{"thought": "cut',
]


def scenario(rng: random.Random) -> dict[str, Any]:
    """A pipeline with an agent of random settings, a random model, tools, and a sub-agent."""
    config: dict[str, Any] = {
        "max_waves": rng.randint(1, 4),
        "tool_timeout": 0.1,
        "max_calls": rng.choice([1, 4, 16]),
        "max_parallel": rng.choice([1, 16]),
        "max_repeats": rng.choice([1, 3]),
        "max_result": rng.choice([100, 20_000]),
        "context_tokens": rng.choice([0, 200]),
        "holdback": rng.choice([1, 80]),
        "tool_calling": rng.choice(["auto", "auto", "native", "json"]),
        "approve": rng.choice([[], [], ["add"], ["tools.*"], ["helper"]]),
        "approval_timeout": 0.05,
        "schedules": rng.choice(
            [{}, {}, {"nap": "background"}, {"*": "background"}, {"hang": "interrupt", "nap": "interrupt"}]
        ),
        "budget": rng.choice([{}, {}, {"calls": 2}, {"tokens": 50}, {"seconds": 0.05}]),
    }
    script: list[Any] = [turn(rng) for _ in range(rng.randint(1, 5))]
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {
                "id": "agent",
                "provider": "agent_wave",
                "config": config,
                "input": [{"lane": "questions", "from": "chat"}],
            },
            helper("model", "llm_scripted", "llm", "agent", script=script, tools=rng.random() > 0.2),
            helper("tools", "tool_python", "tool", "agent", "helper", file=str(TOOLS)),
            helper("helper", "agent_wave", "agent", "agent", max_waves=2, tool_timeout=0.1),
            helper("small", "llm_scripted", "llm", "helper", script=[turn(rng), "Done."]),
            {
                "id": "out",
                "provider": "response",
                "config": {"lane": "text"},
                "input": [{"lane": "text", "from": "agent"}],
            },
        ]
    }


def helper(name: str, provider: str, kind: str, *invokers: str, **config: Any) -> dict[str, Any]:
    control = [{"classType": kind, "from": invoker} for invoker in invokers]
    return {"id": name, "provider": provider, "config": config, "control": control}


def turn(rng: random.Random) -> Any:
    """One turn of a model: text, calls, JSON, nothing, or a failure."""
    if rng.random() < 0.2:
        return rng.choice(JSON_TURNS)
    if rng.random() < 0.2:
        return rng.choice(TEXTS)
    calls = [rng.choice(CALLS)] * 20 if rng.random() < 0.1 else rng.choices(CALLS, k=rng.randint(1, 4))
    return {"text": rng.choice(TEXTS), "tool_calls": calls, "fail": "the line broke" if rng.random() < 0.05 else ""}


async def check(mesh: Mesh, seed: int) -> str:
    """Runs one scenario. Returns the terminal state."""
    rng = random.Random(seed)
    run = mesh.run(scenario(rng), input="What is 1 + 2?")
    act = rng.choice(["none", "none", "none", "approve", "refuse", "cancel"])
    calls: Counter[tuple[str, str]] = Counter()
    results: Counter[tuple[str, str]] = Counter()
    terminal = []
    async with run:
        async for update in run.updates():
            match update:
                case ToolCallUpdate():
                    calls[update.component, update.call.id] += 1
                    if act == "cancel":
                        await run.cancel("enough")
                case ToolResultUpdate():
                    results[update.component, update.call_id] += 1
                case ApprovalUpdate(state=ApprovalState.REQUESTED):
                    await decide(run, update, act)
                case JobUpdate() if update.state.is_terminal:
                    terminal.append(update.state)
    assert len(terminal) == 1, seed
    assert calls == results, (seed, "each call has one result")
    return str(terminal[0])


async def decide(run: Run, request: ApprovalUpdate, act: str) -> None:
    try:
        if act == "approve":
            await run.approve(request.call_id, component=request.component)
        elif act == "refuse":
            await run.refuse(request.call_id, "no", component=request.component)
    except LanemeshError as error:  # its deadline has passed meanwhile
        if error.fault.reason not in ("approval-decided", "run-ended"):
            raise


@pytest.mark.timeout(120 + COUNT)
@pytest.mark.conformance("CTRL-03", "CTRL-05")
async def test_every_agent_ends_once_with_every_call_accounted_for() -> None:
    states: Counter[str] = Counter()
    gate = asyncio.Semaphore(AT_ONCE)
    async with Mesh() as mesh:

        async def one(seed: int) -> None:
            async with gate:
                states[await check(mesh, seed)] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(COUNT):
                group.create_task(one(SEED * 1_000_000 + number))
    assert sum(states.values()) == COUNT
    assert states["completed"] > COUNT / 2
