"""`table_writer`: writes tables into a file or a database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from lanemesh import Context, In, Inputs, Json, Node, Out, Outputs, Table
from lanemesh.extend import in_thread, missing_packages
from pydantic import BaseModel, Field, SecretStr, model_validator

from lanemesh_services.file.errors import folder_unusable, table_unfit
from lanemesh_services.file.tables import KINDS, CsvSink, ParquetSink, SqlSink, TableSink
from lanemesh_services.shared.errors import library_missing


class TableWriter(Node):
    """Writes the rows of tables, and JSON objects as rows, into a CSV or Parquet file, an SQLite file, or a database of PostgreSQL.

    A CSV or Parquet file appears complete when the input has ended; if the run fails, the file that was there stays.
    A database gets each table in a transaction of its own. Parquet needs the extra `tables`, PostgreSQL the extra `postgres`.
    """

    class Config(BaseModel):
        """Settings of the table."""

        path: Path | None = Field(
            None,
            description="The file, on the node server: .csv, .parquet, or .sqlite and .db for a database of SQLite.",
        )
        url: SecretStr | None = Field(
            None,
            description='In place of `path`, the database: "postgresql://user:password@host/database", from a variable.',
            json_schema_extra={"x-remote-url": True},
        )
        table: str = Field("data", min_length=1, max_length=63, description="Name of the table in a database.")
        mode: Literal["append", "replace"] = Field(
            "append",
            description="append: adds to a table that is there; replace: empties it first. Files are replaced.",
        )

        @model_validator(mode="after")
        def _has_place(self) -> Any:
            if (self.path is None) == (self.url is None):
                raise ValueError("needs either path or url")
            if self.path is not None and self.path.suffix.lower() not in KINDS:
                raise ValueError(f"path ends in one of {', '.join(KINDS)}")
            return self

    table: Annotated[In[Table | None], "Tables with the same columns."] = None
    data: Annotated[In[Json], "JSON objects, each a row."] = None

    written: Annotated[Out[Json], 'At the end: {"rows": 3, "columns": ["a", "b"]}.']

    @classmethod
    async def load(cls, config: Any) -> None:
        """Raises LanemeshError if a library is missing, or the URL is not one of PostgreSQL, so that no run starts."""
        if config.path is None:
            await in_thread(_check_url, config.url.get_secret_value(), cls.provider)
        elif KINDS[config.path.suffix.lower()] == "parquet" and (missing := missing_packages(["pyarrow"])):
            raise library_missing(missing[0], cls.provider, "tables")

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs) -> None:
        """Writes the rows. Raises LanemeshError."""
        config, component = self.config, context.component
        columns: tuple[str, ...] = ()
        rows, writing = 0, _Writing(lambda: _sink(config, component))
        try:
            async for port, value in inputs.iter_any():
                table = value if port == "table" else _row(value, component)
                await in_thread(writing.write, table)
                rows, columns = rows + len(table.rows), columns or table.columns
                context.progress(rows, 0, f"{rows:,} rows")
            await in_thread(writing.finish)
        except OSError as error:
            path, why = str(config.path), error.strerror or str(error)
            raise folder_unusable(component, path, why, "Name a file in a folder that can be written") from None
        finally:
            await in_thread(writing.abandon)
        if "written" in context.connected_outputs:
            await outputs.emit("written", {"rows": rows, "columns": list(columns)})


class _Writing:
    """A table that is written by worker threads, one call at a time.

    A call that is cancelled continues in its thread: `abandon` waits for it, so that nothing is left behind.
    """

    def __init__(self, make: Callable[[], TableSink]) -> None:
        """`make` opens the table, at the first rows."""
        self._make = make
        self._sink: TableSink | None = None
        self._ended = False
        self._lock = threading.Lock()

    def write(self, table: Table) -> None:
        """Adds rows. Does nothing after the end."""
        with self._lock:
            if self._ended:
                return
            if self._sink is None:
                self._sink = self._make()
            self._sink.write(table.columns, table.rows)

    def finish(self) -> None:
        """Completes the table."""
        with self._lock:
            if self._sink is not None and not self._ended:
                self._sink.finish()
            self._ended = True

    def abandon(self) -> None:
        """Drops what is not complete."""
        with self._lock:
            if self._sink is not None and not self._ended:
                self._sink.abandon()
            self._ended = True


def _row(value: Any, component: str) -> Table:
    """A JSON object as a table of one row. Raises LanemeshError for another value."""
    if not isinstance(value, Mapping) or not value:
        kind = type(value).__name__
        raise table_unfit(component, f"a row is a JSON object with a value for each column, not {kind}", "Send objects")
    return Table(tuple(value), (tuple(value.values()),))


def _check_url(url: str, provider: str) -> None:
    """Raises LanemeshError if no engine can be made of a URL. Nothing is connected."""
    from lanemesh_services.file.databases import sql_engine

    sql_engine(url, provider).dispose()


def _sink(config: Any, component: str) -> TableSink:
    from lanemesh_services.file.databases import sql_engine  # SQLAlchemy takes a while to import

    replace = config.mode == "replace"
    if config.path is None:
        engine = sql_engine(config.url.get_secret_value(), component)
        return SqlSink(engine, config.table, component, replace=replace)
    path = config.path.expanduser().absolute()
    match KINDS[path.suffix.lower()]:
        case "csv":
            return CsvSink(path, component)
        case "parquet":
            return ParquetSink(path, component)
    return SqlSink(sql_engine(path, component), config.table, component, replace=replace)
