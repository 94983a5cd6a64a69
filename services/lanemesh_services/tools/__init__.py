"""The tools service: nodes whose tools models can call."""

from lanemesh import Service

from lanemesh_services.tools.caller import ToolCaller
from lanemesh_services.tools.files import ToolFiles
from lanemesh_services.tools.git import ToolGit
from lanemesh_services.tools.grpc_tools import ToolGrpc
from lanemesh_services.tools.http import ToolHttp
from lanemesh_services.tools.mcp import ToolMcp
from lanemesh_services.tools.pipeline import ToolPipeline
from lanemesh_services.tools.python import ToolPython
from lanemesh_services.tools.search import SearchExa, ToolSearch
from lanemesh_services.tools.shell import ToolShell

__all__ = ["SERVICE"]

SERVICE = Service(
    "tools",
    [
        *(ToolPython, ToolHttp, ToolFiles, ToolGit, ToolShell, ToolGrpc, ToolMcp, ToolPipeline, ToolSearch, SearchExa),
        ToolCaller,
    ],
)
