"""The tables of a store, as the code of this version uses them. `migrations` creates them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

_Number = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows automatically only in a column of this type."""

RUNS = Table(
    "runs",
    METADATA,
    Column(
        "number", _Number, primary_key=True, autoincrement=True
    ),  # later runs have larger ones, independently of clocks
    Column("run_id", String(64), nullable=False, unique=True),
    Column("owner", String(64), nullable=False),  # the orchestrator that runs it
    Column("state", Integer, nullable=False),  # a RunState
    Column("deployment", String(64), nullable=False),
    Column("ended_at", Float),  # seconds since 1970; null while it is active
    Column("record", LargeBinary, nullable=False),  # a RunRecord
    Column("pipeline", Text, nullable=False),  # the document, without the values of secret settings
    Index("runs_by_state", "state", "number"),
    sqlite_autoincrement=True,
)
"""One row per run."""

UPDATES = Table(
    "updates",
    METADATA,
    Column("run", _Number, ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),  # see `packing`
)
"""The updates of runs: a row for those that were stored in one go, from number `first` to `last`."""

BIG_VALUES = Table(
    "big_values",
    METADATA,
    Column("hash", LargeBinary(32), primary_key=True),  # SHA-256 of the content
    Column("content", LargeBinary, nullable=False),  # an Item
)
"""Items that are too large to be stored with the updates: each once for all updates."""

BIG_VALUE_USES = Table(
    "big_value_uses",
    METADATA,
    Column("run", _Number, ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
    Column("hash", LargeBinary(32), ForeignKey("big_values.hash"), primary_key=True),
    Index("big_value_uses_by_hash", "hash"),
)
"""The runs of each large item."""

DEPLOYMENTS = Table(
    "deployments",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("spec", LargeBinary, nullable=False),  # a RunSpec
    Column("created_at", Float, nullable=False),  # seconds since 1970
    Column("folder", Text, nullable=False),  # what relative paths count from; empty: nothing
)
"""Versions of deployed pipelines."""
