"""The tools service: plain Python functions, and MCP servers, as tools."""

from lanemesh import Service

from lanemesh_services.tools.mcp import ToolMcp
from lanemesh_services.tools.python import ToolPython
from lanemesh_services.tools.steps import Progress

__all__ = ["SERVICE", "Progress"]

SERVICE = Service("tools", [ToolPython, ToolMcp])
