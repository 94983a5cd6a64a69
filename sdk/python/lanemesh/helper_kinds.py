"""The kinds of helper that nodes call over control connections.

A kind is one row of `HELPER_KINDS` and the module that the row names, which defines its `ENDS` (`lanemesh.control.ends`).
Pipelines, node classes, node servers and clients read the table; nothing else lists the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HelperMethod:
    """A method of the nodes that offer a kind."""

    wanted: str
    """How it has to be written, for errors."""
    arguments: int
    """How many arguments it is called with, besides the instance."""
    streams: bool = False
    """It has to be an asynchronous generator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperKind:
    """A kind of helper."""

    name: str
    """What pipelines call it (`classType`), and node classes in `offers` and `invokes`."""
    service: str
    """Full name of the gRPC service by which helpers of other processes are called."""
    module: str
    """The module that defines its `ENDS`. It is imported when a helper of the kind is wired or served."""
    noun: str
    """What one helper is called in errors."""
    several: str
    """How a node reaches one of several helpers: the expression after `context.`."""
    methods: Mapping[str, HelperMethod]
    """The methods of a node that offers it, by name; a node class may leave some of them to its subclasses."""


_LLM = HelperKind(
    name="llm",
    service="lanemesh.v1.LlmService",
    module="lanemesh.control.llm",
    noun="model",
    several="llms",
    methods={
        "chat": HelperMethod("`async def chat(self, context, request)` with `yield`", 2, streams=True),
    },
)
_TOOL = HelperKind(
    name="tool",
    service="lanemesh.v1.ToolService",
    module="lanemesh.control.tools",
    noun="tool",
    several="toolsets",
    methods={
        "list_tools": HelperMethod("`async def list_tools(self, context)`", 1),
        "call_tool": HelperMethod("`async def call_tool(self, context, call)` with `yield`", 2, streams=True),
    },
)
_MEMORY = HelperKind(
    name="memory",
    service="lanemesh.v1.MemoryService",
    module="lanemesh.control.memory",
    noun="memory",
    several="memories",
    methods={
        "put": HelperMethod("`async def put(self, context, space, entry, ttl)`", 4),
        "get": HelperMethod("`async def get(self, context, space, key)`", 3),
        "list": HelperMethod("`async def list(self, context, space, prefix, limit)` with `yield`", 4, streams=True),
        "search": HelperMethod("`async def search(self, context, space, query)` with `yield`", 3, streams=True),
        "clear": HelperMethod("`async def clear(self, context, space, prefix)`", 3),
    },
)
_AGENT = HelperKind(
    name="agent",
    service="lanemesh.v1.AgentService",
    module="lanemesh.control.agent",
    noun="agent",
    several="agents",
    methods={
        "run_agent": HelperMethod("`async def run_agent(self, context, request)` with `yield`", 2, streams=True),
    },
)

HELPER_KINDS: dict[str, HelperKind] = {kind.name: kind for kind in (_LLM, _TOOL, _MEMORY, _AGENT)}
"""The kinds by name."""
