"""Lanemesh: streaming AI pipelines as a mesh of gRPC node servers.

This package is what node authors and clients use, `lanemesh.extend` what authors of services use besides, `lanemesh.testing` what
tests of nodes use. Names are imported when first used, so that `import lanemesh` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lanemesh_orchestrator import Mesh, SyncMesh

    from lanemesh.agents import AgentEvent, AgentReply, AgentRequest, AgentThought
    from lanemesh.chat import (
        ChatEvent,
        ChatFinish,
        ChatReply,
        ChatRequest,
        ChatText,
        Sampling,
        ToolProgress,
        ToolResult,
    )
    from lanemesh.client.client import Client
    from lanemesh.client.deployment_info import DeploymentInfo, DeploymentState
    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.gpus import GpuDevice, GpuLease, GpuModel, GpuReport
    from lanemesh.client.node_servers import NodeServerInfo, ServerHealth
    from lanemesh.client.node_types import InputInfo, InvokesInfo, NodeTypeInfo, OutputInfo
    from lanemesh.client.pipeline import Pipeline
    from lanemesh.client.records import RunPage, RunRecord
    from lanemesh.client.requests import Request
    from lanemesh.client.results import RunFailed, RunResult
    from lanemesh.client.runs import Run
    from lanemesh.client.sessions import Session, SessionInfo, Turn
    from lanemesh.client.specs import Conversation, Deployed
    from lanemesh.client.sync import SyncClient
    from lanemesh.client.sync_runs import SyncDetachedRun, SyncRequest, SyncRun
    from lanemesh.client.sync_sessions import SyncSession
    from lanemesh.client.tools import MeshTool
    from lanemesh.client.updates import (
        ApprovalState,
        ApprovalUpdate,
        EdgeShape,
        EdgeUpdate,
        HelperUpdate,
        JobUpdate,
        LogLevel,
        LogUpdate,
        NodeState,
        NodeUpdate,
        OutputUpdate,
        Placement,
        ProgressUpdate,
        RunState,
        ThoughtUpdate,
        ToolCallUpdate,
        ToolProgressUpdate,
        ToolResultUpdate,
        ToolUpdate,
        TraceUpdate,
        Update,
    )
    from lanemesh.faults import Code, Fault, LanemeshError
    from lanemesh.items import Envelope, Group
    from lanemesh.json_values import Json
    from lanemesh.memory import MemoryEntry, MemoryQuery, MemoryScope, MemorySpace
    from lanemesh.node.approvals import Approval
    from lanemesh.node.batch import Batch
    from lanemesh.node.context import Context
    from lanemesh.node.environment import Environment
    from lanemesh.node.function_nodes import node
    from lanemesh.node.gpu import Gpu
    from lanemesh.node.helper_clients import AgentClient, LlmClient, MemoryClient, ToolClient
    from lanemesh.node.inputs import Inputs
    from lanemesh.node.node import Invokes, Node, Service
    from lanemesh.node.outputs import Outputs
    from lanemesh.node.ports import In, Out, Pieces, Whole
    from lanemesh.pipeline_faults import PipelineFault, PipelineInvalid, Severity
    from lanemesh.tools.context import ToolContext
    from lanemesh.tools.mark import tool
    from lanemesh.tools.tool_node import ToolNode
    from lanemesh.values import (
        Answer,
        Audio,
        Document,
        Example,
        Image,
        Media,
        Message,
        Question,
        Table,
        Tags,
        ToolCall,
        ToolSpec,
        Usage,
        Video,
    )

__version__ = "0.1.0"

# gRPC's handlers of forks cancel calls of this process and may hang or crash the child. It reads this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

_HOMES = {
    "lanemesh.client.client": ("Client",),
    "lanemesh.client.deployment_info": ("DeploymentInfo", "DeploymentState"),
    "lanemesh.client.detached": ("DetachedRun",),
    "lanemesh.client.gpus": ("GpuDevice", "GpuLease", "GpuModel", "GpuReport"),
    "lanemesh.client.node_servers": ("NodeServerInfo", "ServerHealth"),
    "lanemesh.client.node_types": ("InputInfo", "InvokesInfo", "NodeTypeInfo", "OutputInfo"),
    "lanemesh.client.pipeline": ("Pipeline",),
    "lanemesh.client.records": ("RunPage", "RunRecord"),
    "lanemesh.client.requests": ("Request",),
    "lanemesh.client.results": ("RunFailed", "RunResult"),
    "lanemesh.client.runs": ("Run",),
    "lanemesh.client.sessions": ("Session", "SessionInfo", "Turn"),
    "lanemesh.client.specs": ("Conversation", "Deployed"),
    "lanemesh.client.sync": ("SyncClient",),
    "lanemesh.client.sync_runs": ("SyncDetachedRun", "SyncRequest", "SyncRun"),
    "lanemesh.client.sync_sessions": ("SyncSession",),
    "lanemesh.client.tools": ("MeshTool",),
    "lanemesh.client.updates": (
        "ApprovalState",
        "ApprovalUpdate",
        "EdgeShape",
        "EdgeUpdate",
        "HelperUpdate",
        "JobUpdate",
        "LogLevel",
        "LogUpdate",
        "NodeState",
        "NodeUpdate",
        "OutputUpdate",
        "Placement",
        "ProgressUpdate",
        "RunState",
        "ThoughtUpdate",
        "ToolCallUpdate",
        "ToolProgressUpdate",
        "ToolResultUpdate",
        "ToolUpdate",
        "TraceUpdate",
        "Update",
    ),
    "lanemesh.agents": ("AgentEvent", "AgentReply", "AgentRequest", "AgentThought"),
    "lanemesh.chat": (
        "ChatEvent",
        "ChatFinish",
        "ChatReply",
        "ChatRequest",
        "ChatText",
        "Sampling",
        "ToolProgress",
        "ToolResult",
        "ToolSpec",
    ),
    "lanemesh.faults": ("Code", "Fault", "LanemeshError"),
    "lanemesh.items": ("Envelope", "Group"),
    "lanemesh.memory": ("MemoryEntry", "MemoryQuery", "MemoryScope", "MemorySpace"),
    "lanemesh.json_values": ("Json",),
    "lanemesh.values": (
        "Answer",
        "Audio",
        "Document",
        "Example",
        "Image",
        "Media",
        "Message",
        "Question",
        "Table",
        "Tags",
        "ToolCall",
        "Usage",
        "Video",
    ),
    "lanemesh.pipeline_faults": ("PipelineFault", "PipelineInvalid", "Severity"),
    "lanemesh.node.approvals": ("Approval",),
    "lanemesh.node.batch": ("Batch",),
    "lanemesh.node.gpu": ("Gpu",),
    "lanemesh.node.context": ("Context",),
    "lanemesh.node.helper_clients": ("AgentClient", "LlmClient", "MemoryClient", "ToolClient"),
    "lanemesh.node.inputs": ("Inputs",),
    "lanemesh.node.environment": ("Environment",),
    "lanemesh.node.node": ("Invokes", "Node", "Service"),
    "lanemesh.node.outputs": ("Outputs",),
    "lanemesh.node.ports": ("In", "Out", "Pieces", "Whole"),
    "lanemesh.tools.context": ("ToolContext",),
    "lanemesh.tools.mark": ("tool",),
    "lanemesh.tools.tool_node": ("ToolNode",),
    "lanemesh_orchestrator": ("Mesh", "SyncMesh"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AgentClient",
    "AgentEvent",
    "AgentReply",
    "AgentRequest",
    "AgentThought",
    "Answer",
    "Approval",
    "ApprovalState",
    "ApprovalUpdate",
    "Audio",
    "Batch",
    "ChatEvent",
    "ChatFinish",
    "ChatReply",
    "ChatRequest",
    "ChatText",
    "Client",
    "Code",
    "Context",
    "Conversation",
    "Deployed",
    "DeploymentInfo",
    "DeploymentState",
    "DetachedRun",
    "Document",
    "EdgeShape",
    "EdgeUpdate",
    "Envelope",
    "Environment",
    "Example",
    "Fault",
    "Gpu",
    "GpuDevice",
    "GpuLease",
    "GpuModel",
    "GpuReport",
    "Group",
    "HelperUpdate",
    "Image",
    "In",
    "InputInfo",
    "Inputs",
    "Invokes",
    "InvokesInfo",
    "JobUpdate",
    "Json",
    "LanemeshError",
    "LlmClient",
    "LogLevel",
    "LogUpdate",
    "Media",
    "MemoryClient",
    "MemoryEntry",
    "MemoryQuery",
    "MemoryScope",
    "MemorySpace",
    "Mesh",
    "MeshTool",
    "Message",
    "Node",
    "NodeServerInfo",
    "NodeState",
    "NodeTypeInfo",
    "NodeUpdate",
    "Out",
    "OutputInfo",
    "OutputUpdate",
    "Outputs",
    "Pieces",
    "Pipeline",
    "PipelineFault",
    "PipelineInvalid",
    "Placement",
    "ProgressUpdate",
    "Question",
    "Request",
    "Run",
    "RunFailed",
    "RunPage",
    "RunRecord",
    "RunResult",
    "RunState",
    "Sampling",
    "ServerHealth",
    "Service",
    "Session",
    "SessionInfo",
    "Severity",
    "SyncClient",
    "SyncDetachedRun",
    "SyncMesh",
    "SyncRequest",
    "SyncRun",
    "SyncSession",
    "Table",
    "Tags",
    "ThoughtUpdate",
    "ToolCall",
    "ToolCallUpdate",
    "ToolClient",
    "ToolContext",
    "ToolNode",
    "ToolProgress",
    "ToolProgressUpdate",
    "ToolResult",
    "ToolResultUpdate",
    "ToolSpec",
    "ToolUpdate",
    "TraceUpdate",
    "Turn",
    "Update",
    "Usage",
    "Video",
    "Whole",
    "node",
    "tool",
]


def lazy_name(module: str, homes: Mapping[str, str], name: str) -> Any:
    """A name of a public module, imported from its home when it is first used. `homes` has the module that defines each name.

    Raises:
        AttributeError: the public module has no such name.
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    setattr(sys.modules[module], name, value)
    return value


def __getattr__(name: str) -> Any:
    if name == "node":  # the package is the decorator, whether it is imported already or not
        return import_module("lanemesh.node")
    return lazy_name(__name__, _HOME_OF, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
