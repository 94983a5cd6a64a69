"""The names of the tools of several deployed pipelines. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import lane_pb2

from lanemesh_orchestrator.pipeline.faults import nearest


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool of a deployed pipeline."""

    deployment: str
    """The deployed pipeline."""
    component: str
    """The component that has it."""
    spec: lane_pb2.ToolSpec
    """Its description, with its own name."""

    @property
    def name(self) -> str:
        """Its own name, which other tools may have too."""
        return self.spec.name

    @classmethod
    def of(cls, deployment: str, listed: Mapping[str, Any]) -> FoundTool:
        """A tool as a `tool_caller` lists it."""
        spec = lane_pb2.ToolSpec(name=listed["name"], description=listed["description"])
        spec.parameters_json = json.dumps(_plain(listed["parameters"]), ensure_ascii=False)
        return cls(deployment, listed["helper"], spec)


def named_tools(tools: Sequence[FoundTool], *, within_one: bool) -> list[tuple[str, FoundTool]]:
    """The tools, each with a name of its own, in order.

    A name that several have is preceded by the deployment, or by deployment and component where a deployment has it twice, as in
    "weather_search" and "weather_files_search"; and followed by a number if that is taken as well. `within_one`: all are of one
    deployment, whose name is left out.
    """
    counts = Counter(tool.name for tool in tools)
    taken = set(counts)
    named = []
    for tool in tools:
        name = tool.name
        if counts[name] > 1:
            name = unused(_full_name(tool, tools, within_one=within_one), taken)
            taken.add(name)
        named.append((name, tool))
    return named


def pick_tool(name: str, tools: Sequence[FoundTool], *, within_one: bool, last: bool) -> FoundTool | None:
    """The tool of a name: as in the list, or always with deployment or component in front.

    Raises:
        LanemeshError: there is none and this is the `last` attempt ("unknown-tool"), or several have the name ("several-tools").
    """
    listed = dict(named_tools(tools, within_one=within_one))
    if name in listed:
        return listed[name]
    several = [full for full, tool in listed.items() if tool.name == name]
    if several:
        message = (
            f'several deployed pipelines or components have a tool "{name}"; call one of them: {", ".join(several)}'
        )
        raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="several-tools", message=message))
    for tool in tools:
        if name in (f"{tool.deployment}_{tool.name}", f"{tool.deployment}_{tool.component}_{tool.name}"):
            return tool
    if not last:
        return None
    near = nearest(name, list(listed))
    hint = f'Did you mean "{near}"? ' if near else ""
    message = f'there is no tool "{name[:80]}". {hint}`lanemesh tools list` has all of them'
    raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-tool", message=message, details={"tool": name}))


def _full_name(tool: FoundTool, tools: Iterable[FoundTool], *, within_one: bool) -> str:
    if within_one:
        return f"{tool.component}_{tool.name}"
    same = [one for one in tools if one.name == tool.name and one.deployment == tool.deployment]
    if len(same) > 1:
        return f"{tool.deployment}_{tool.component}_{tool.name}"
    return f"{tool.deployment}_{tool.name}"


def unused(name: str, taken: Collection[str]) -> str:
    """A name, followed by a number if it is taken."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


def _plain(value: Any) -> Any:
    """JSON of frozen mappings and tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
