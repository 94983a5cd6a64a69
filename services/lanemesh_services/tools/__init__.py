"""The tools service: nodes whose tools models can call."""

from lanemesh import Service

from lanemesh_services.tools.http import ToolHttp
from lanemesh_services.tools.python import ToolPython

__all__ = ["SERVICE"]

SERVICE = Service("tools", [ToolPython, ToolHttp])
