"""Testing nodes: `run_node` runs one of them through the real actor, inbox and lanes, without a server."""

from __future__ import annotations

from lanemesh.testing.standins import FunctionTools, ScriptedModel
from lanemesh.testing.trial import NodeResult, run_node, run_node_async

__all__ = ["FunctionTools", "NodeResult", "ScriptedModel", "run_node", "run_node_async"]
