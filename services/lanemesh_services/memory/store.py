"""A memory in a database, which outlives runs and servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lanemesh import Context, MemoryEntry, MemoryQuery, MemoryScope, MemorySpace
from lanemesh.extend import in_thread
from pydantic import BaseModel, Field, SecretStr, model_validator

from lanemesh_services.memory.errors import memory_full
from lanemesh_services.memory.in_process import Full, Limits, Owner
from lanemesh_services.memory.internal import MEMORIES, prepared_entry
from lanemesh_services.memory.memory_tools import MemoryTools


class MemoryStore(MemoryTools):
    """A memory in a database: an SQLite file, or PostgreSQL for several servers. Its values outlive runs and servers.

    A search matches words: the score is the part of the words that a value has. With an embedding, values that have one of the same
    length are ranked by it. The values of the scope run are kept in the process of the server, until the run ends.
    """

    class Config(BaseModel):
        """Settings of a memory."""

        file: str | None = Field(
            None,
            description="The SQLite file, such as memory.sqlite. It is created unless it exists.",
            json_schema_extra={"format": "path"},
        )
        url: SecretStr | None = Field(
            None,
            description="The URL of a PostgreSQL database, such as ${MEMORY_URL}: postgresql://user:password@host/database. "
            'It needs `pip install "lanemesh[postgres]"`.',
            json_schema_extra={"x-remote-url": True},
        )
        max_entries: int = Field(100_000, ge=1, le=10_000_000, description="Most values of a namespace of a scope.")
        max_bytes: int = Field(
            1024**3, ge=1024, le=1024**4, description="Most bytes of the values of a namespace, with keys and texts."
        )
        ttl: float | None = Field(
            None, gt=0, le=315_360_000, description="Seconds until a value expires, unless it has its own time."
        )

        @model_validator(mode="after")
        def one_database(self) -> Any:
            """Raises ValueError unless either a file or a URL is set."""
            if (self.file is None) is (self.url is None):
                raise ValueError("set `file` to an SQLite file, or `url` to a PostgreSQL database, and not both")
            return self

    @classmethod
    async def load(cls, config: Any) -> Any:
        """Opens the database. Raises LanemeshError if it cannot be opened."""
        from lanemesh_services.memory.database import Database
        from lanemesh_services.memory.location import file_location, url_location

        url = config.url.get_secret_value() if config.url is not None else ""
        location = url_location(url) if url else file_location(config.file or "")
        return await in_thread(Database, location)

    @classmethod
    async def unload(cls, resource: Any) -> None:
        """Closes the database."""
        await in_thread(resource.close)

    async def put(self, context: Context, space: MemorySpace, entry: MemoryEntry, ttl: float | None) -> bool:
        """Stores a value. Raises LanemeshError if a limit is reached ("memory-full"), or the database fails."""
        limits = Limits(self.config.max_entries, self.config.max_bytes)
        ttl = self.config.ttl if ttl is None else ttl
        try:
            if space.scope is MemoryScope.RUN:
                prepared = await prepared_entry(entry)
                return MEMORIES.put(_run(context), space.namespace, prepared, ttl, limits)[0]
            return bool(await in_thread(self.resource.put, _key(context, space), entry, ttl, limits))
        except Full as full:
            hint = "Clear values, let them expire (ttl), or raise the limit"
            raise memory_full(context.component, str(full), hint) from None

    async def get(self, context: Context, space: MemorySpace, key: str) -> MemoryEntry | None:
        """The value under a key."""
        if space.scope is MemoryScope.RUN:
            return MEMORIES.get(_run(context), space.namespace, key)
        entry: MemoryEntry | None = await in_thread(self.resource.get, _key(context, space), key)
        return entry

    async def list(self, context: Context, space: MemorySpace, prefix: str, limit: int) -> AsyncIterator[MemoryEntry]:
        """The values whose keys begin with a prefix."""
        if space.scope is MemoryScope.RUN:
            for entry in await in_thread(MEMORIES.listed, _run(context), space.namespace, prefix, limit):
                yield entry
            return
        key, after = _key(context, space), None
        while limit and (page := await in_thread(self.resource.page, key, prefix, after, limit)):
            for entry in page:
                yield entry
            limit, after = limit - len(page), page[-1].key

    async def search(self, context: Context, space: MemorySpace, query: MemoryQuery) -> AsyncIterator[MemoryEntry]:
        """The values that match a query."""
        if space.scope is MemoryScope.RUN:
            for entry in await in_thread(MEMORIES.matches, _run(context), space.namespace, query):
                yield entry
            return
        from lanemesh_services.memory.database import PAGE_ROWS

        found = await in_thread(self.resource.matches, _key(context, space), query)
        for start in range(0, len(found), PAGE_ROWS):
            for entry in await in_thread(self.resource.scored, found[start : start + PAGE_ROWS]):
                yield entry

    async def clear(self, context: Context, space: MemorySpace, prefix: str) -> int:
        """Removes the values whose keys begin with a prefix."""
        if space.scope is MemoryScope.RUN:
            return MEMORIES.clear(_run(context), space.namespace, prefix)
        return int(await in_thread(self.resource.clear, _key(context, space), prefix))

    async def finalize(self, context: Context) -> None:
        """Removes the values of the run."""
        MEMORIES.forget(_run(context))

    def tool_scope(self, context: Context) -> MemoryScope:
        """The session of the run, or else the store."""
        return MemoryScope.SESSION if context.session else MemoryScope.STORE


def _run(context: Context) -> Owner:
    return Owner(context.component, run=context.run_id)


def _key(context: Context, space: MemorySpace) -> Any:
    from lanemesh_services.memory.database import SpaceKey

    session = context.session if space.scope is MemoryScope.SESSION else ""
    return SpaceKey(space.scope.value, session, space.namespace)
