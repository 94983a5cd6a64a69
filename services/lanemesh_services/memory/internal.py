"""A memory in the process of its node server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Context, MemoryEntry, MemoryQuery, MemoryScope, MemorySpace
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field

from lanemesh_services.memory.errors import memory_full, scope_not_kept
from lanemesh_services.memory.guarded import Guarded
from lanemesh_services.memory.in_process import Entries, Full, Limits, Owner, Prepared, prepare
from lanemesh_services.memory.memory_tools import MemoryTools

LARGE_CHARACTERS = 32 * 1024
"""Values and texts with more characters are measured in a worker thread."""

MEMORIES = Guarded(Entries())
"""The entries of this process."""


class MemoryInternal(MemoryTools):
    """A memory in the process of its node server, for a run or a session.

    The values of a run are removed when it ends. Those of a session stay until they expire, the server stops, or the process has
    too many: the least recently used sessions go first. Each node server has a memory of its own: run one server of this service.
    """

    class Config(BaseModel):
        """Settings of a memory."""

        name: str = Field(
            "",
            max_length=128,
            description="Memories of one name share the values of a session; by default the id of the component.",
        )
        max_entries: int = Field(10_000, ge=1, le=1_000_000, description="Most values of a run or of a session.")
        max_bytes: int = Field(
            16 * 1024 * 1024,
            ge=1024,
            le=256 * 1024 * 1024,
            description="Most bytes of the values of a run or of a session, with their keys and texts.",
        )
        ttl: float | None = Field(
            None, gt=0, le=315_360_000, description="Seconds until a value expires, unless it has its own time."
        )

    async def put(self, context: Context, space: MemorySpace, entry: MemoryEntry, ttl: float | None) -> bool:
        """Stores a value. Raises LanemeshError ("memory-full") if a limit is reached."""
        owner = self._owner(context, space)
        limits = Limits(self.config.max_entries, self.config.max_bytes)
        prepared = await prepared_entry(entry)
        try:
            ttl = self.config.ttl if ttl is None else ttl
            replaced, removed = MEMORIES.put(owner, space.namespace, prepared, ttl, limits)
        except Full as full:
            hint = "Clear values, let them expire (ttl), or raise the limit"
            raise memory_full(context.component, str(full), hint) from None
        for count in removed:
            context.log.warning(
                "the memory of the least recently used session was removed, with %d values, because the memories of this "
                "process are full",
                count,
            )
        return replaced

    async def get(self, context: Context, space: MemorySpace, key: str) -> MemoryEntry | None:
        """The value under a key."""
        return MEMORIES.get(self._owner(context, space), space.namespace, key)

    async def list(self, context: Context, space: MemorySpace, prefix: str, limit: int) -> AsyncIterator[MemoryEntry]:
        """The values whose keys begin with a prefix."""
        for entry in await in_thread(MEMORIES.listed, self._owner(context, space), space.namespace, prefix, limit):
            yield entry

    async def search(self, context: Context, space: MemorySpace, query: MemoryQuery) -> AsyncIterator[MemoryEntry]:
        """The values that match a query."""
        for entry in await in_thread(MEMORIES.matches, self._owner(context, space), space.namespace, query):
            yield entry

    async def clear(self, context: Context, space: MemorySpace, prefix: str) -> int:
        """Removes the values whose keys begin with a prefix."""
        return MEMORIES.clear(self._owner(context, space), space.namespace, prefix)

    async def finalize(self, context: Context) -> None:
        """Removes the values of the run."""
        MEMORIES.forget(self._run(context))

    def tool_scope(self, context: Context) -> MemoryScope:
        """The session of the run, or else the run."""
        return MemoryScope.SESSION if context.session else MemoryScope.RUN

    def _owner(self, context: Context, space: MemorySpace) -> Owner:
        if space.scope is MemoryScope.RUN:
            return self._run(context)
        if space.scope is not MemoryScope.SESSION:
            raise scope_not_kept(context.component)
        owner = Owner(self.config.name or context.component, session=context.session)
        if MEMORIES.was_removed(owner):
            context.log.warning(
                "the earlier values of this session were removed, because the memories of this process were full and the session "
                "was the least recently used one"
            )
        return owner

    def _run(self, context: Context) -> Owner:
        return Owner(context.component, run=context.run_id)


async def prepared_entry(entry: MemoryEntry) -> Prepared:
    """An entry to be stored. Only its measuring is left to a thread, so that a cancelled call stores nothing later."""
    if len(entry.text) + _characters(entry.value) > LARGE_CHARACTERS:
        return await in_thread(prepare, entry)
    return prepare(entry)


def _characters(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0 if value is None or isinstance(value, int | float) else 1 << 20
