"""A mesh for guests, and their pipelines."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from lanemesh.faults import LanemeshError
from lanemesh.server.environments import interpreter_of
from lanemesh_orchestrator import Mesh

CACHE = os.environ.get("XDG_CACHE_HOME")
FOLDER = Path(__file__).parent
ANSWER = "It rains in Oslo today, so take an umbrella with you when you leave the house, and wear a coat, too."
GUESTS: dict[str, dict[str, Any]] = {
    "agent_wave": {},
    "agent_langchain": {},
    "agent_python": {"file": "guest_agents.py", "name": "loop"},
    "agent_crewai": {},
}
"""Each kind of agent with a config that lets its model call tools."""


def guest_params() -> list[Any]:
    """The agents as parameters; those whose environment has not been made are skipped."""
    return [pytest.param(name, marks=_skipped(name)) for name in GUESTS]


def _skipped(name: str) -> list[pytest.MarkDecorator]:
    if name != "agent_crewai":
        return []
    try:
        interpreter_of("crewai")
    except LanemeshError as error:
        return [pytest.mark.skip(reason=str(error))]
    return []


def agent(component: str, script: list[Any], *, provider: str, **config: Any) -> list[dict[str, Any]]:
    """An agent with its model and tools."""
    return [
        {
            "id": component,
            "provider": provider,
            "config": config,
            "input": [{"lane": "questions", "from": "chat"}],
        },
        {
            "id": f"{component}_llm",
            "provider": "llm_scripted",
            "config": {"script": script},
            "control": [{"classType": "llm", "from": component}],
        },
        {
            "id": f"{component}_tools",
            "provider": "tool_python",
            "config": {"file": "guest_tools.py"},
            "control": [{"classType": "tool", "from": component}],
        },
    ]


def document(*agents: list[dict[str, Any]]) -> dict[str, Any]:
    """A pipeline whose agents all answer one question."""
    components = [one for parts in agents for one in parts]
    inputs = [{"lane": "answers", "from": parts[0]["id"]} for parts in agents]
    return {
        "components": [
            {"id": "chat", "provider": "chat"},
            *components,
            {"id": "out", "provider": "response_answers", "input": inputs},
        ]
    }


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A turn of a scripted model that calls a tool."""
    return {"text": "I need a tool.", "tool_calls": [{"name": name, "arguments": arguments}]}


@pytest.fixture(scope="module", autouse=True)
def cache() -> Iterator[None]:
    """The cache folder in which the environments are, whatever other tests have set."""
    with pytest.MonkeyPatch.context() as patch:
        if CACHE is None:
            patch.delenv("XDG_CACHE_HOME", raising=False)
        else:
            patch.setenv("XDG_CACHE_HOME", CACHE)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "spread"])
async def mesh(request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    """A mesh in this process, or spread over processes."""
    async with Mesh("service" if request.param == "spread" else None, folder=FOLDER) as mesh:
        yield mesh
