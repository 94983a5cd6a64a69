"""A memory as tools for a model: it stores, gets and searches values by itself."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from lanemesh import Context, MemoryEntry, MemoryQuery, MemoryScope, MemorySpace, ToolNode, tool
from lanemesh.extend import CallFailed
from pydantic import Field, JsonValue

from lanemesh_services.memory.ranking import json_of

MAX_VALUE_BYTES = 1024 * 1024
"""Most bytes of a value as JSON text: 1 MiB."""
MAX_SHOWN_CHARACTERS = 4_000
"""Most characters of a value in the result of a search; a longer one is cut."""

_Key = Annotated[str, Field(min_length=1, max_length=512)]


class MemoryTools(ToolNode):
    """A memory that is a tool as well. The values of its tools are in the namespace "tools"."""

    offers: ClassVar = ("memory", "tool")

    def tool_scope(self, context: Context) -> MemoryScope:
        """The scope in which the tools store values."""
        raise NotImplementedError

    @tool
    async def memory_put(self, key: _Key, value: JsonValue, context: Context) -> dict[str, Any]:
        """Stores a value under a key, for later. Replaces an earlier value of the key.

        Args:
            key: A short name by which to get the value.
            value: The value: a text, or any JSON.
        """
        entry = _entry(key, value)
        if (size := len(json_of(entry).encode())) > MAX_VALUE_BYTES:
            raise CallFailed(
                "bad-arguments", f"the value has {size:,} bytes, and at most {MAX_VALUE_BYTES:,} can be stored"
            )
        replaced = await self._memory.put(context, self._space(context), entry, None)
        return {"key": key, "replaced": replaced}

    @tool
    async def memory_get(self, key: _Key, context: Context) -> dict[str, Any]:
        """Gets the value that was stored under a key.

        Args:
            key: The key.
        """
        entry = await self._memory.get(context, self._space(context), _entry(key, None).key)
        return {"key": key, "found": entry is not None, "value": entry.value if entry is not None else None}

    @tool
    async def memory_search(
        self,
        query: Annotated[str, Field(max_length=10_000)],
        context: Context,
        limit: Annotated[int, Field(ge=1, le=50)] = 5,
    ) -> list[dict[str, Any]]:
        """Searches the stored values by words. Returns keys and values, the best match first.

        Args:
            query: Words to search for.
            limit: Most values to return.
        """
        found = self._memory.search(context, self._space(context), MemoryQuery(query, limit=limit))
        return [_match(entry) async for entry in found]

    @property
    def _memory(self) -> Any:
        """This node as a memory: a subclass implements `put`, `get` and `search`."""
        return self

    def _space(self, context: Context) -> MemorySpace:
        return MemorySpace(self.tool_scope(context), "tools")


def _entry(key: str, value: Any) -> MemoryEntry:
    try:
        return MemoryEntry(key, value)
    except (TypeError, ValueError) as error:
        raise CallFailed("bad-arguments", str(error)) from None


def _match(entry: MemoryEntry) -> dict[str, Any]:
    """A match for a model: with its value, or with the beginning of a long one."""
    text = json_of(entry)
    if len(text) <= MAX_SHOWN_CHARACTERS:
        shown: dict[str, Any] = {"value": entry.value}
    else:
        beginning = entry.value if isinstance(entry.value, str) else text
        shown = {"beginning": beginning[:MAX_SHOWN_CHARACTERS], "note": "memory_get returns the whole value"}
    return {"key": entry.key, **shown, "score": round(entry.score or 0.0, 3)}
