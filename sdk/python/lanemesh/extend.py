"""What authors of services need beyond nodes: code of users, worker threads, shared values, pipes, JSON that lanes carry.

Services import `lanemesh` and this module alone. Names are imported when they are first used, as those of `lanemesh` are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lanemesh import lazy_name

if TYPE_CHECKING:
    from lanemesh._aio.forks import close_in_children
    from lanemesh._aio.shared import SharedCache
    from lanemesh.control.llm import ChatClient
    from lanemesh.control.remote_tools import RemoteTools
    from lanemesh.control.tools import CallableTool
    from lanemesh.file_values import file_document, file_items, file_tags, file_value
    from lanemesh.items import ABSENT, FILE_NAME, GroupOutcome, Item
    from lanemesh.json_text import json_depth, read_json, to_json
    from lanemesh.json_values import INT_MAX, INT_MIN, MAX_JSON_DEPTH, copy_json
    from lanemesh.mesh_of import mesh_of
    from lanemesh.node.callables import innermost
    from lanemesh.node.packages import missing_packages
    from lanemesh.node.runtime.resources import Reloadable
    from lanemesh.node.user_functions import call_function, in_thread
    from lanemesh.permissions import matches_host, not_permitted
    from lanemesh.rendering import rendered
    from lanemesh.server.user_code import UserCode, UserCodeFailed
    from lanemesh.tools.errors import CallFailed
    from lanemesh.tools.function import ToolFunction
    from lanemesh.tools.mark import options_of
    from lanemesh.tools.results import result_of

_HOMES = {
    "lanemesh._aio.shared": ("SharedCache",),
    "lanemesh._aio.forks": ("close_in_children",),
    "lanemesh.control.remote_tools": ("RemoteTools",),
    "lanemesh.control.llm": ("ChatClient",),
    "lanemesh.control.tools": ("CallableTool",),
    "lanemesh.items": ("ABSENT", "FILE_NAME", "GroupOutcome", "Item"),
    "lanemesh.file_values": ("file_document", "file_items", "file_tags", "file_value"),
    "lanemesh.json_text": ("json_depth", "read_json", "to_json"),
    "lanemesh.json_values": ("INT_MAX", "INT_MIN", "MAX_JSON_DEPTH", "copy_json"),
    "lanemesh.mesh_of": ("mesh_of",),
    "lanemesh.node.callables": ("innermost",),
    "lanemesh.node.packages": ("missing_packages",),
    "lanemesh.node.runtime.resources": ("Reloadable",),
    "lanemesh.node.user_functions": ("call_function", "in_thread"),
    "lanemesh.permissions": ("matches_host", "not_permitted"),
    "lanemesh.rendering": ("rendered",),
    "lanemesh.server.user_code": ("UserCode", "UserCodeFailed"),
    "lanemesh.tools.errors": ("CallFailed",),
    "lanemesh.tools.function": ("ToolFunction",),
    "lanemesh.tools.mark": ("options_of",),
    "lanemesh.tools.results": ("result_of",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ABSENT",
    "FILE_NAME",
    "INT_MAX",
    "INT_MIN",
    "MAX_JSON_DEPTH",
    "CallFailed",
    "CallableTool",
    "ChatClient",
    "GroupOutcome",
    "Item",
    "Reloadable",
    "RemoteTools",
    "SharedCache",
    "ToolFunction",
    "UserCode",
    "UserCodeFailed",
    "call_function",
    "close_in_children",
    "copy_json",
    "file_document",
    "file_items",
    "file_tags",
    "file_value",
    "in_thread",
    "innermost",
    "json_depth",
    "matches_host",
    "mesh_of",
    "missing_packages",
    "not_permitted",
    "options_of",
    "read_json",
    "rendered",
    "result_of",
    "to_json",
]


def __getattr__(name: str) -> Any:
    return lazy_name(__name__, _HOME_OF, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
