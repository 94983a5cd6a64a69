"""Pipelines as pure functions: text -> document -> graph -> plan. No I/O."""

from lanemesh_orchestrator.pipeline.document import Document, Settings, parse
from lanemesh_orchestrator.pipeline.faults import PipelineFault, PipelineInvalid, Severity
from lanemesh_orchestrator.pipeline.graph import LANE_NAMES, LANES, Component, Control, Edge, Graph
from lanemesh_orchestrator.pipeline.parts import run_graph, run_graph_of
from lanemesh_orchestrator.pipeline.plan import ServerAddress, plan
from lanemesh_orchestrator.pipeline.validation import resolve, validate

__all__ = [
    "LANES",
    "LANE_NAMES",
    "Component",
    "Control",
    "Document",
    "Edge",
    "Graph",
    "PipelineFault",
    "PipelineInvalid",
    "ServerAddress",
    "Settings",
    "Severity",
    "parse",
    "plan",
    "resolve",
    "run_graph",
    "run_graph_of",
    "validate",
]
