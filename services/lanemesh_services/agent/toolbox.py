"""What an agent may call: the tools of its own helpers, and its sub-agents. Nothing else, whatever a result says."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from lanemesh import AgentThought, Answer, Context, ToolCall, ToolClient, ToolProgress, ToolResult, ToolSpec, Usage

TASK_PARAMETERS = {
    "type": "object",
    "properties": {"task": {"type": "string", "description": "The whole task: the agent knows nothing else."}},
    "required": ["task"],
    "additionalProperties": False,
}
"""The arguments of an agent as a tool."""
MAX_NAME = 64
"""Longest name of a tool that models accept, in characters."""


@dataclass(frozen=True, slots=True)
class SubAgent:
    """A connected agent, as a tool."""

    client: Any
    component: str
    """Its component; empty if it is not known."""


class Toolbox:
    """The tools and sub-agents of one agent."""

    def __init__(self, tools: ToolClient, specs: tuple[ToolSpec, ...], agents: Mapping[str, SubAgent]) -> None:
        """`agents`: sub-agents by the names of their tools."""
        self._tools = tools
        self._agents = agents
        self.specs = (*specs, *(_agent_spec(name, agent) for name, agent in agents.items()))
        """The tools for the model."""
        self.by_name = {spec.name: spec for spec in self.specs}
        """The tools by their names."""

    @classmethod
    async def of(cls, context: Context) -> Toolbox:
        """The tools and agents that are connected to a node. Raises LanemeshError if a helper cannot list its tools."""
        specs = await context.tools.specs()
        taken = {spec.name for spec in specs}
        agents: dict[str, SubAgent] = {}
        connected = context.agents
        for number, (name, client) in enumerate(zip(connected.names, connected, strict=True), 1):
            component = str(getattr(client, "component", ""))
            wanted = re.sub(r"[^A-Za-z0-9_-]", "_", name or component or f"agent_{number}")[:MAX_NAME]
            tool = _unused(wanted, taken)
            taken.add(tool)
            agents[tool] = SubAgent(client, component)
        return cls(context.tools, specs, agents)

    @property
    def fixed(self) -> bool:
        """The tools do not change during the run."""
        return self._tools.fixed

    def without(self) -> Toolbox:
        """The same without anything to call."""
        return Toolbox(self._tools, (), {})

    def helper_of(self, name: str) -> str:
        """The component of the helper that has a tool, or of a sub-agent; empty if it is not known."""
        agent = self._agents.get(name)
        return agent.component if agent is not None else self._tools.helper_of(name)

    async def stream(
        self, call: ToolCall, arguments: Mapping[str, Any], timeout: float
    ) -> AsyncGenerator[ToolProgress | Usage | ToolResult, None]:
        """Makes a call of one of `by_name`: any progress, and what it has used so far, then the result. Raises LanemeshError as
        `ToolClient.stream`."""
        agent = self._agents.get(call.name)
        events: AsyncGenerator[ToolProgress | Usage | ToolResult, None] = (
            self._tools.stream(call, timeout)
            if agent is None
            else _delegated(agent, str(arguments.get("task", "")), timeout)
        )
        async with aclosing(events):
            async for event in events:
                yield event


async def _delegated(
    agent: SubAgent, task: str, timeout: float
) -> AsyncGenerator[ToolProgress | Usage | ToolResult, None]:
    """Gives a task to a sub-agent. Its own component reports its thoughts and calls; here each of its waves is progress."""
    texts: list[str] = []
    data, wave, calls = None, 0, 0
    used = Usage(0, 0)
    async with aclosing(agent.client.stream(task, timeout=timeout)) as events:
        async for event in events:
            step, before = event.step, used
            calls += isinstance(step, ToolCall)
            if event.usage is not None:
                used = event.usage
            else:  # it counts no usage before its end, so its calls are counted here
                used = replace((step.usage if isinstance(step, Answer) else None) or used, tool_calls=calls)
            if isinstance(step, Answer):
                texts.append(step.text)
                data = step.data if step.data is not None else data
                if step.finish_reason:
                    continue  # the result has the usage
            elif isinstance(step, AgentThought | ToolCall) and event.wave != wave:
                wave = event.wave
                yield ToolProgress(f"wave {wave}")
            if used != before:
                yield used
    yield ToolResult(json.dumps("".join(texts) if data is None else data, ensure_ascii=False), usage=used)


def _agent_spec(name: str, agent: SubAgent) -> ToolSpec:
    who = f"the agent {agent.component}" if agent.component else "another agent"
    return ToolSpec(name, f"Gives a task to {who}, and returns its answer.", TASK_PARAMETERS)


def _unused(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted[: MAX_NAME - 8]}_{number}"
    return name
