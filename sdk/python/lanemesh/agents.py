"""The tasks, events and replies of agents in Python: frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from lanemesh.chat import ToolProgress, ToolResult
from lanemesh.json_values import check_text, freeze_json
from lanemesh.values import Answer, Message, ToolCall, Usage

MAX_WAVES = 2**32 - 1
"""Largest bound of the rounds of an agent's loop."""


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """A task for an agent."""

    messages: tuple[Message, ...]
    """The conversation so far, oldest first; the last message is the task. At least one."""
    instructions: str = ""
    """Instructions beyond the agent's own."""
    schema: Mapping[str, Any] | None = None
    """The JSON schema that the answer must follow; None: any text."""
    max_waves: int = 0
    """Most rounds of its loop; 0: as in the agent's config."""

    def __post_init__(self) -> None:
        """Raises ValueError if there is no message, or the number of rounds is outside its bounds."""
        object.__setattr__(self, "messages", tuple(self.messages))
        if not self.messages:
            raise ValueError("a task for an agent has at least one message")
        check_text(self.instructions)
        if self.schema is not None:
            object.__setattr__(self, "schema", freeze_json(self.schema))
        if not 0 <= self.max_waves <= MAX_WAVES:
            raise ValueError(f"max_waves is from 0 to {MAX_WAVES:,}, not {self.max_waves:,}")


@dataclass(frozen=True, slots=True)
class AgentThought:
    """A thought of an agent: text of its model before or beside its calls."""

    text: str
    """The thought."""


AgentStep: TypeAlias = AgentThought | ToolCall | ToolProgress | ToolResult | Answer
"""One step of an agent: a thought, a call of a tool, progress or result of a call, a piece of the answer."""


@dataclass(frozen=True, slots=True)
class AgentEvent:
    """A step of an agent, with its round."""

    step: AgentStep
    """What happened. The last one is an `Answer` with a finish reason."""
    wave: int = 1
    """Round of the agent's loop, from 1."""
    usage: Usage | None = None
    """What the agent and the agents that it called have used so far; None if it does not count it."""


@dataclass(frozen=True, slots=True)
class AgentReply:
    """The whole answer of an agent."""

    text: str
    """Its text."""
    data: Any = None
    """The answer as a JSON value, if it is structured."""
    finish_reason: str = "stop"
    """Why it ended: "stop", "length", "tool_calls", "cancelled" or "error"."""
    usage: Usage | None = None
    """The tokens of all its turns; None if it does not count them."""
    waves: int = 1
    """The rounds of its loop."""

    def __str__(self) -> str:
        return self.text
