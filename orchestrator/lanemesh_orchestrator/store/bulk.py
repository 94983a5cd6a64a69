"""Writes many rows by one statement.

A thread that writes to SQLite releases the lock of the interpreter in each step of a statement. While the event loop is busy, it
gets the lock again after 5 ms. So a statement per row would delay the rows by that much each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

ROWS_AT_ONCE = 500
"""Maximum number of rows in one statement: SQLite accepts 32,766 values."""


def insert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    key: Sequence[str] = (),
    changed: Sequence[str] = (),
) -> None:
    """Inserts rows that have values for the same columns.

    Args:
        connection: in a transaction.
        table: the table.
        rows: values by column.
        key: columns that are unique together; a row whose values of them exist is not inserted, but updated. Empty: every row is
            new.
        changed: the columns that are updated; empty: the existing row stays as it is.
    """
    if not rows:
        return
    quote = connection.dialect.identifier_preparer.quote
    columns = [*rows[0]]
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = f"({', '.join([mark] * len(columns))})"
    head = f"INSERT INTO {quote(table.name)} ({', '.join(map(quote, columns))}) VALUES "
    tail = ""
    if key:
        changes = ", ".join(f"{name} = excluded.{name}" for name in map(quote, changed))
        tail = f" ON CONFLICT ({', '.join(map(quote, key))}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        values = tuple(row[column] for row in some for column in columns)
        connection.exec_driver_sql(head + ", ".join([marks] * len(some)) + tail, values)


def new_numbers(connection: sa.Connection, count: int) -> Sequence[int]:
    """Numbers for new runs, larger than all earlier ones. The transaction must exclude other writers of an SQLite store."""
    if not count:
        return ()
    if connection.dialect.name == "sqlite":
        last = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").scalar() or 0
        return range(last + 1, last + 1 + count)
    following = "SELECT nextval(pg_get_serial_sequence('runs', 'number')) FROM generate_series(1, %s)"
    return [number for (number,) in connection.exec_driver_sql(following, (count,))]
