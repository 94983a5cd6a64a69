"""Tables that are written batch by batch: as CSV, Parquet, or into a database."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh import LanemeshError
from lanemesh.extend import copy_json

from lanemesh_services.file.errors import table_unfit

if TYPE_CHECKING:
    from sqlalchemy import Engine

Row = Sequence[Any]
KINDS: Mapping[str, str] = {".csv": "csv", ".parquet": "parquet", ".sqlite": "sql", ".db": "sql"}
"""What is written, by the ending of the name of the file."""


class TableSink(Protocol):
    """Takes the rows of one table. All methods block."""

    def write(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Adds rows. Raises LanemeshError if they do not fit the table."""

    def finish(self) -> None:
        """Completes the table: it is visible as a whole only now."""

    def abandon(self) -> None:
        """Drops what was added since the start, if it can be dropped."""


class _FileSink:
    """A file that is written beside its place and takes it at the end."""

    def __init__(self, path: Path, component: str) -> None:
        self.path = path
        self.component = component
        self.columns: tuple[str, ...] = ()
        self.temporary = path.with_name(f".{path.name[:100]}-{secrets.token_hex(8)}")

    def ordered(self, columns: Sequence[str], rows: Sequence[Row]) -> Sequence[Row]:
        """The rows in the order of the first columns. Raises LanemeshError if the columns are not those."""
        check_unique(self.component, columns)
        if not self.columns:
            self.columns = tuple(columns)
        if self.columns == tuple(columns):
            return rows
        if set(self.columns) != set(columns):
            had, has = ", ".join(self.columns[:10]), ", ".join(columns[:10])
            raise table_unfit(
                self.component,
                f"a table has the columns {has}, and the first one had {had}",
                "Send tables of one kind, or use a table_writer for each",
            )
        places = [columns.index(name) for name in self.columns]
        return [[row[place] for place in places] for row in rows]

    def finish(self) -> None:
        if self.temporary.exists():
            os.replace(self.temporary, self.path)

    def abandon(self) -> None:
        self.temporary.unlink(missing_ok=True)


def check_unique(component: str, columns: Sequence[str]) -> None:
    """Raises LanemeshError if two columns have the same name: a file or a database would keep one of them."""
    if repeated := sorted(name for name, count in Counter(columns).items() if count > 1):
        names = ", ".join(f'"{name[:80]}"' for name in repeated[:10])
        raise table_unfit(component, f"a table has several columns {names}", "Give each column a name of its own")


class CsvSink(_FileSink):
    """Writes CSV (RFC 4180) in UTF-8, with a line of column names. Objects and arrays are JSON, null is empty."""

    def __init__(self, path: Path, component: str) -> None:
        super().__init__(path, component)
        self._file = open(self.temporary, "x", newline="", encoding="utf-8")  # noqa: SIM115 - closed by finish or abandon
        self._writer = csv.writer(self._file)

    def write(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        first = not self.columns
        rows = self.ordered(columns, rows)
        if first:
            self._writer.writerow(columns)
        self._writer.writerows([_cell(value) for value in row] for row in rows)

    def finish(self) -> None:
        self._file.close()
        super().finish()

    def abandon(self) -> None:
        self._file.close()
        super().abandon()


class ParquetSink(_FileSink):
    """Writes Parquet. The types are those of the first rows; objects and arrays are JSON texts."""

    def __init__(self, path: Path, component: str) -> None:
        super().__init__(path, component)
        self._writer: Any = None
        self._schema: Any = None

    def write(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        import pyarrow
        from pyarrow import parquet

        rows = self.ordered(columns, rows)
        by_column = {name: [_flat(row[index]) for row in rows] for index, name in enumerate(self.columns)}
        try:
            table = pyarrow.Table.from_pydict(by_column, schema=self._schema)
            if self._writer is None:
                nulls = [field for field in table.schema if pyarrow.types.is_null(field.type)]
                for field in nulls:  # only null so far: text takes what follows
                    place = table.schema.get_field_index(field.name)
                    table = table.set_column(
                        place, pyarrow.field(field.name, pyarrow.string()), table[field.name].cast("string")
                    )
                self._schema = table.schema
                self._writer = parquet.ParquetWriter(self.temporary, self._schema)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
            raise table_unfit(
                self.component,
                f"a value does not fit the type of its column: {error}"[:500],
                "Send values of one type in each column",
            ) from None
        self._writer.write_table(table)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
        super().finish()

    def abandon(self) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
        finally:
            super().abandon()


class SqlSink:
    """Inserts the rows into a table of a database, in one transaction for each batch. A table that does not exist is made, with the
    types of the first rows; one that is replaced is emptied in the transaction of the first rows."""

    def __init__(self, engine: Engine, table: str, component: str, *, replace: bool) -> None:
        """`replace`: a table that exists is emptied first."""
        self._engine = engine
        self._name = table
        self._component = component
        self._replace = replace
        self._table: Any = None

    def write(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        from sqlalchemy import delete, insert
        from sqlalchemy.exc import SQLAlchemyError

        check_unique(self._component, columns)
        try:
            if self._table is None:
                self._table = self._opened(columns, rows)
            if missing := set(columns) - set(self._table.columns.keys()):
                known = ", ".join(self._table.columns.keys())
                raise table_unfit(
                    self._component,
                    f'the table "{self._name}" has no column {", ".join(sorted(missing))}; it has {known}',
                    "Add the columns, or name another table",
                )
            values = [dict(zip(columns, map(_flat, row), strict=True)) for row in rows]
            with self._engine.begin() as connection:
                if self._replace:
                    connection.execute(delete(self._table))
                if values:
                    connection.execute(insert(self._table), values)
            self._replace = False
        except SQLAlchemyError as error:
            raise _refused(self._component, self._name, error) from None

    def finish(self) -> None:
        self._engine.dispose()

    def abandon(self) -> None:
        self._engine.dispose()

    def _opened(self, columns: Sequence[str], rows: Sequence[Row]) -> Any:
        from sqlalchemy import Column, MetaData, Table, inspect

        metadata = MetaData()
        if inspect(self._engine).has_table(self._name):
            return Table(self._name, metadata, autoload_with=self._engine)
        kinds = (_sql_type([row[index] for row in rows]) for index in range(len(columns)))
        table = Table(self._name, metadata, *(Column(name, kind) for name, kind in zip(columns, kinds, strict=True)))
        metadata.create_all(self._engine)
        return table


def _refused(component: str, table: str, error: Exception) -> LanemeshError:
    from lanemesh_services.file.errors import database_unusable

    cause = str(getattr(error, "orig", None) or type(error).__name__).split("\n")[0][:300]
    hint = "Check the table, its permissions and the values"
    return database_unusable(component, f'the table "{table[:80]}"', cause, hint)


def _sql_type(values: Sequence[Any]) -> Any:
    """The type of a column by its first values."""
    from sqlalchemy import BigInteger, Boolean, Float, Text

    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {bool}:
        return Boolean()
    if kinds and kinds <= {int}:
        return BigInteger()
    return Float() if kinds and kinds <= {int, float} else Text()


def _flat(value: Any) -> Any:
    """A value as a column has it: objects and arrays as JSON."""
    return value if value is None or isinstance(value, (str, int, float, bool)) else _json(value)


def _cell(value: Any) -> Any:
    """A value as a cell of CSV has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else _flat(value)


def _json(value: Any) -> str:
    return json.dumps(copy_json(value), ensure_ascii=False)
