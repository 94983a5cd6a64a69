"""The nodes of stores. Their libraries are imported when a store is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from lanemesh.extend import in_thread
from pydantic import Field, SecretStr, field_validator, model_validator

from lanemesh_services.search.errors import bad_setting
from lanemesh_services.search.store_nodes import OpenStore, StoreConfig, StoreNode
from lanemesh_services.shared.errors import import_failed
from lanemesh_services.shared.hosted_settings import checked_key, checked_url

QDRANT_PORT = 6333
POSTGRES_PORT = 5432

LocalPath = Annotated[str, Field(min_length=1, max_length=4_000, json_schema_extra={"format": "path"})]


class Qdrant(StoreNode):
    """Stores documents in Qdrant, and answers questions with them: a Qdrant server, or a folder on the node server's host.

    A folder is for one process; a server for several.
    """

    pip_extra = "qdrant"
    python_packages = ("qdrant_client",)
    profiles: ClassVar = {"local": {"host": "localhost"}, "cloud": {}}

    class Config(StoreConfig):
        """Settings of a store."""

        path: LocalPath | None = Field(
            None, description="The folder, for a store without a server, even if there is a `host`. It is created."
        )
        host: str | None = Field(
            None,
            min_length=1,
            max_length=253,
            json_schema_extra={"format": "remote-address"},
            description='Name of the server\'s host, such as "localhost".',
        )
        port: int = Field(
            QDRANT_PORT,
            ge=1,
            le=65_535,
            json_schema_extra={"format": "remote-address"},
            description="Port of the server, for HTTP.",
        )
        url: str | None = Field(
            None,
            json_schema_extra={"format": "remote-url"},
            description='Address of the server instead of host and port, such as "https://x.cloud.qdrant.io:6333".',
        )
        api_key: SecretStr | None = Field(None, description='Key of the server, such as "${QDRANT_API_KEY}".')
        apikey: SecretStr | None = Field(None, description="The same as api_key; documents of RocketRide call it so.")
        timeout: int = Field(30, ge=1, le=3_600, description="Time limit of a request in seconds.")

        _key = field_validator("api_key", "apikey")(checked_key)

        @field_validator("host")
        @classmethod
        def _is_a_host(cls, host: str | None) -> str | None:
            if host is not None:
                _address(host, QDRANT_PORT)
            return host

        @field_validator("url")
        @classmethod
        def _is_an_address(cls, url: str | None) -> str | None:
            return checked_url(url) if url is not None else None

        @model_validator(mode="after")
        def _one_place(self) -> Any:
            servers = sum(place is not None for place in (self.host, self.url))
            if self.path is None and servers != 1:
                raise ValueError("set one of `path` (a folder), `host` and `url` (a server)")
            return self

    @classmethod
    async def load(cls, config: Any) -> OpenStore:
        """Opens the store. Raises LanemeshError if the library is missing, or the folder cannot be opened."""

        def opened() -> OpenStore:
            from qdrant_client import QdrantClient

            from lanemesh_services.search.qdrant_store import QdrantStore, open_folder

            if config.path is not None:
                return OpenStore(open_folder(Path(config.path).expanduser(), config.collection))
            key = config.api_key or config.apikey
            url = config.url or _address(config.host, config.port)
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            client = QdrantClient(
                url=url,
                port=port,
                api_key=key.get_secret_value() if key is not None else None,
                timeout=config.timeout,
                check_compatibility=False,
            )
            return OpenStore(QdrantStore(client, url, config.collection), (parts.hostname or "", port))

        return await _opened(opened, "qdrant_client", cls)


class Lancedb(StoreNode):
    """Stores documents in a folder by LanceDB, and answers questions with them. Several processes may use the folder."""

    pip_extra = "lancedb"
    python_packages = ("lancedb",)

    class Config(StoreConfig):
        """Settings of a store."""

        path: LocalPath = Field(description="The folder. It is created.")

    @classmethod
    async def load(cls, config: Any) -> OpenStore:
        """Opens the store. Raises LanemeshError if the library is missing, or the folder cannot be opened."""

        def opened() -> OpenStore:
            from lanemesh_services.search.lancedb_store import LancedbStore

            return OpenStore(LancedbStore(Path(config.path).expanduser(), config.collection))

        return await _opened(opened, "lancedb", cls)


class Pgvector(StoreNode):
    """Stores documents in PostgreSQL by its extension pgvector, and answers questions with them."""

    pip_extra = "pgvector"
    python_packages = ("psycopg",)

    class Config(StoreConfig):
        """Settings of a store."""

        url: SecretStr = Field(
            description="The URL of the database, such as ${SEARCH_URL}: postgresql://user:password@host/database.",
            json_schema_extra={"x-remote-url": True},
        )
        language: str = Field(
            "english",
            pattern=r"^[a-z_]{1,60}$",
            description='Text search configuration of PostgreSQL, such as "english", "german" or "simple".',
        )
        index: Literal["exact", "hnsw"] = Field(
            "exact",
            description='"exact" compares with all documents; "hnsw" makes an index with the collection, which is faster from some '
            "100,000 documents on, and may miss some.",
        )

    @classmethod
    async def load(cls, config: Any) -> OpenStore:
        """Prepares the store, which connects when it is used. Raises LanemeshError if the driver is missing, or the URL is none."""

        def opened() -> OpenStore:
            from lanemesh_services.search.pgvector_store import PgvectorStore
            from lanemesh_services.shared.postgres_url import KNOWN, checked

            try:
                url = checked(config.url.get_secret_value())
            except ValueError as error:
                raise bad_setting(cls.provider, "url", f"cannot be used: {error}", KNOWN) from None
            store = PgvectorStore(url, config.collection, language=config.language, index=config.index)
            return OpenStore(store, (url.host or "", url.port or POSTGRES_PORT))

        return await _opened(opened, "psycopg", cls)


class SqliteSearch(StoreNode):
    """Stores documents in an SQLite file, with full text and vectors, and answers questions with them."""

    pip_extra = "sqlite-search"
    python_packages = ("apsw", "sqlite_vec")

    class Config(StoreConfig):
        """Settings of a store."""

        path: LocalPath = Field(description="The file, such as documents.sqlite. It is created.")

    @classmethod
    async def load(cls, config: Any) -> OpenStore:
        """Opens the store. Raises LanemeshError if a library is missing, or the file cannot be opened."""

        def opened() -> OpenStore:
            from lanemesh_services.search.sqlite_store import SqliteStore

            return OpenStore(SqliteStore(Path(config.path).expanduser(), config.collection))

        return await _opened(opened, "sqlite_vec", cls)


async def _opened(opened: Callable[[], OpenStore], library: str, node: type[StoreNode]) -> OpenStore:
    def checked_imports() -> OpenStore:
        try:
            return opened()
        except ImportError as error:
            raise import_failed(library, node.provider, node.pip_extra, error) from error

    return await in_thread(checked_imports)


def _address(host: str, port: int) -> str:
    """The address of a host, which documents of RocketRide may write as a URL. Raises ValueError if it is no host."""
    plain = "://" not in host
    parts = urlsplit(checked_url(f"http://[{host}]" if plain and ":" in host else f"http://{host}" if plain else host))
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if plain and (parts.netloc.lower() != name or parts.path):
        raise ValueError('is not the name of a host, such as "localhost"; its port is a setting of its own')
    return f"{parts.scheme}://{name}:{parts.port or port}"
