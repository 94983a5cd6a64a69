"""A memory as tools for a model: it stores, gets and searches values by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from lanemesh import Context, MemoryEntry, MemoryQuery, MemoryScope, MemorySpace, Node, ToolCall, ToolResult, ToolSpec
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from lanemesh_services.memory.errors import bad_arguments, unknown_tool
from lanemesh_services.memory.ranking import json_of

MAX_VALUE_BYTES = 1024 * 1024
"""Most bytes of a value as JSON text: 1 MiB."""
MAX_SHOWN_CHARACTERS = 4_000
"""Most characters of a value in the result of a search; a longer one is cut."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Put(_Arguments):
    """Stores a value under a key, for later. Replaces an earlier value of the key."""

    key: str = Field(min_length=1, max_length=512, description="A short name by which to get the value.")
    value: JsonValue = Field(description="The value: a text, or any JSON.")


class _Get(_Arguments):
    """Gets the value that was stored under a key."""

    key: str = Field(min_length=1, max_length=512, description="The key.")


class _Search(_Arguments):
    """Searches the stored values by words. Returns keys and values, the best match first."""

    query: str = Field(max_length=10_000, description="Words to search for.")
    limit: int = Field(5, ge=1, le=50, description="Most values to return.")


_TOOLS: dict[str, type[_Arguments]] = {"memory_put": _Put, "memory_get": _Get, "memory_search": _Search}


class MemoryTools(Node):
    """A memory that is a tool as well: `memory_put`, `memory_get` and `memory_search`."""

    offers: ClassVar = ("memory", "tool")

    def tool_scope(self, context: Context) -> MemoryScope:
        """The scope in which the tools store values."""
        raise NotImplementedError

    async def list_tools(self, context: Context) -> list[ToolSpec]:
        """The three tools."""
        return [_spec(name, arguments) for name, arguments in _TOOLS.items()]

    async def call_tool(self, context: Context, call: ToolCall) -> AsyncIterator[ToolResult]:
        """Calls one of the tools. Its values are in the namespace "tools" of its scope."""
        if call.name not in _TOOLS:
            raise unknown_tool(call.name, ", ".join(_TOOLS))
        try:
            given = _TOOLS[call.name].model_validate_json(call.arguments or "{}")
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, one['loc'])) or 'they'}: {one['msg']}" for one in error.errors()]
            raise bad_arguments(call.name, "; ".join(problems)) from None
        space = MemorySpace(self.tool_scope(context), "tools")
        try:
            value = await self._call(context, space, given)
        except (TypeError, ValueError) as error:
            raise bad_arguments(call.name, str(error)) from None
        yield ToolResult(json.dumps(value, ensure_ascii=False), call.id, call.name)

    async def _call(self, context: Context, space: MemorySpace, given: _Arguments) -> Any:
        memory: Any = self
        match given:
            case _Put():
                entry = MemoryEntry(given.key, given.value)
                if (size := len(json_of(entry).encode())) > MAX_VALUE_BYTES:
                    raise ValueError(f"the value has {size:,} bytes, and at most {MAX_VALUE_BYTES:,} can be stored")
                replaced = await memory.put(context, space, entry, None)
                return {"key": given.key, "replaced": replaced}
            case _Get():
                entry = await memory.get(context, space, MemoryEntry(given.key, None).key)
                return {"key": given.key, "found": entry is not None, "value": entry.value if entry else None}
            case _Search():
                found = memory.search(context, space, MemoryQuery(given.query, limit=given.limit))
                return [_match(one) async for one in found]
        raise TypeError(f"{type(given).__name__} is not the arguments of a tool")


def _match(entry: MemoryEntry) -> dict[str, Any]:
    """A match for a model: with its value, or with the beginning of a long one."""
    text = json_of(entry)
    if len(text) <= MAX_SHOWN_CHARACTERS:
        shown: dict[str, Any] = {"value": entry.value}
    else:
        beginning = entry.value if isinstance(entry.value, str) else text
        shown = {"beginning": beginning[:MAX_SHOWN_CHARACTERS], "note": "memory_get returns the whole value"}
    return {"key": entry.key, **shown, "score": round(entry.score or 0.0, 3)}


def _spec(name: str, arguments: type[_Arguments]) -> ToolSpec:
    schema = arguments.model_json_schema()
    description = schema.pop("description")
    schema.pop("title", None)
    return ToolSpec(name, description, schema)
