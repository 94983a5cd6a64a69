"""Agents in pipelines: embedded, and with one process per component."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh_orchestrator import Mesh

from endings import lasting

TOOLS = Path(__file__).parents[2] / "rigs" / "agent_tools.py"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def spread_agents() -> AsyncIterator[Mesh]:
    async with lasting("the spread mesh", Mesh("component")) as mesh:
        yield mesh


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_agents() -> AsyncIterator[Mesh]:
    async with lasting("the embedded mesh", Mesh()) as mesh:
        yield mesh


@pytest.fixture(params=["embedded", "spread"])
def agents(request: pytest.FixtureRequest) -> Mesh:
    found: Mesh = request.getfixturevalue(f"{request.param}_agents")
    return found


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A call in a script."""
    return {"name": name, "arguments": arguments}


def helper(name: str, provider: str, kind: str, *invokers: str, **config: Any) -> dict[str, Any]:
    """A helper of some components."""
    control = [{"classType": kind, "from": invoker} for invoker in invokers]
    return {"id": name, "provider": provider, "config": config, "control": control}


def asking(
    script: list[Any], *helpers: dict[str, Any], model: dict[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    """An agent with a scripted model, the tools of the rig, and further helpers."""
    questions = [{"lane": "questions", "from": "chat"}]
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            {"id": "agent", "provider": "agent_wave", "config": config, "input": questions},
            helper("model", "llm_scripted", "llm", "agent", script=script, **(model or {})),
            helper("tools", "tool_python", "tool", "agent", file=str(TOOLS)),
            *helpers,
            {
                "id": "out",
                "provider": "response",
                "config": {"lane": "text"},
                "input": [{"lane": "text", "from": "agent"}],
            },
        ]
    }
