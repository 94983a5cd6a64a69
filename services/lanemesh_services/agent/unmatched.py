"""Patterns in the settings of an agent that match no tool, which are mostly mistakes in writing."""

from __future__ import annotations

from lanemesh import Context

from lanemesh_services.agent.config import AgentConfig
from lanemesh_services.agent.errors import unmatched_approval
from lanemesh_services.agent.patterns import is_reference, matches, names_of
from lanemesh_services.agent.toolbox import Toolbox

MAX_NAMED = 30
"""Most tools that a message names."""


def check_patterns(config: AgentConfig, context: Context, toolbox: Toolbox) -> None:
    """Logs a warning for each pattern of `approve` and `schedules` that matches no tool.

    Raises:
        LanemeshError: a pattern of `approve` refers to a tool or a component that is not there, and the tools of the helpers do not
            change during the run, so that no call would ever need the approval ("unmatched-approval").
    """
    if not config.approve and not config.schedules:
        return
    tools = [names_of(name, toolbox.helper_of(name)) for name in toolbox.by_name]
    known = ", ".join(names[-1] for names in tools[:MAX_NAMED]) + (", ..." if len(tools) > MAX_NAMED else "")
    components = {toolbox.helper_of(name) for name in toolbox.by_name}
    faults = []
    for setting, patterns in (("approve", config.approve), ("schedules", config.schedules)):
        for pattern in patterns:
            if pattern == "*" or any(matches(names, (pattern,)) for names in tools):
                continue
            if setting == "approve" and toolbox.fixed and is_reference(pattern, components):
                faults.append(f'"{pattern:.200}"')
            else:
                context.log.warning(
                    'config.%s has the pattern "%s", which matches no tool; the tools: %s',
                    setting,
                    pattern,
                    known or "none",
                )
    if faults:
        raise unmatched_approval(context.component, faults, known or "none")
