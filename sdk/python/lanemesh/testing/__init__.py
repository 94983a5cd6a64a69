"""Testing nodes: `run_node` runs one of them through the real actor, inbox and lanes, without a server."""

from __future__ import annotations

from lanemesh.testing.memories import DictMemory
from lanemesh.testing.node_runs import NodeResult, run_node, run_node_async
from lanemesh.testing.standins import FunctionTools, ScriptedAgent, ScriptedModel

__all__ = ["DictMemory", "FunctionTools", "NodeResult", "ScriptedAgent", "ScriptedModel", "run_node", "run_node_async"]
