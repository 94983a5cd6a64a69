"""The current schema of the store. Databases get it from `migrations`, never from this module."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

_RowId = BigInteger().with_variant(Integer, "sqlite")
"""BIGINT, but INTEGER in SQLite: only an INTEGER primary key autoincrements there."""

RUNS = Table(
    "runs",
    METADATA,
    Column("number", _RowId, primary_key=True, autoincrement=True),  # increases with each run, whatever the clock says
    Column("run_id", String(64), nullable=False, unique=True),
    Column("owner", String(64), nullable=False),  # the orchestrator that runs it
    Column("state", Integer, nullable=False),  # a value of `RunState`
    Column("deployment", String(64), nullable=False),  # name of the deployment; empty if the run has none
    Column("ended_at", Float),  # seconds since 1970; null while it is active
    Column("record", LargeBinary, nullable=False),  # a serialized `RunRecord`
    Column("pipeline", Text, nullable=False),  # the document, with `***` for secrets that are written out in it
    Index("runs_by_state", "state", "number"),
    sqlite_autoincrement=True,
)
"""One row per run."""

OWNERS = Table(
    "owners",
    METADATA,
    Column("owner", String(64), primary_key=True),
    Column("address", Text, nullable=False),  # where the calls of clients for its runs are served
)
"""One row per orchestrator that has the store open and listens."""

UPDATES = Table(
    "updates",
    METADATA,
    Column("run", _RowId, ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),  # see `packing`
)
"""One row per batch: the updates `first` to `last`."""

LARGE_VALUES = Table(
    "big_values",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # SHA-256 of the content
    Column("content", LargeBinary, nullable=False),  # a serialized `Item`
)
"""Item values of 64 KiB and more, stored once for all runs."""

LARGE_VALUE_USES = Table(
    "big_value_uses",
    METADATA,
    Column("run", _RowId, ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
    Column("hash", LargeBinary(32), ForeignKey("big_values.hash"), primary_key=True),
    Index("big_value_uses_by_hash", "hash"),
)
"""Which runs refer to which large value; a value without a row is deleted."""

DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("spec", LargeBinary, nullable=False),  # a serialized `RunSpec`
    Column("created_at", Float, nullable=False),  # seconds since 1970
    Column("folder", Text, nullable=False),  # what relative paths count from; empty: nothing
)
"""Versions of deployed pipelines."""

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("session_id", String(128), primary_key=True),
    Column("owner", String(128), nullable=False),  # empty: anyone with the id
    Column("deployment", String(64), nullable=False),  # empty: a pipeline that is not deployed
    Column("used_at", BigInteger, nullable=False),  # nanoseconds since 1970
    Column("expires_at", BigInteger, nullable=False),  # nanoseconds since 1970
    Column("record", LargeBinary, nullable=False),  # a serialized `Session`
    Index("sessions_by_use", "owner", "used_at"),
)
"""One row per session."""

SESSION_TURNS = Table(
    "session_turns",
    METADATA,
    Column("session_id", String(128), ForeignKey("sessions.session_id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("size", Integer, nullable=False),  # bytes of the content
    Column("content", LargeBinary, nullable=False),  # a serialized `Turn`
    Index("session_turns_by_run", "run_id"),
)
"""One row per turn of a session."""
