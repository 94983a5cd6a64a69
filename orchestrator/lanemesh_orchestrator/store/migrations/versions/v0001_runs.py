"""Runs, their updates, and the large values in them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "runs",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(64), nullable=False, unique=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("record", sa.LargeBinary, nullable=False),
        sa.Column("pipeline", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_state", "runs", ["state", "number"])
    run = sa.ForeignKey("runs.number", ondelete="CASCADE")
    op.create_table(
        "updates",
        sa.Column("run", _NUMBER, run, primary_key=True),
        sa.Column("first", sa.BigInteger, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "big_values",
        sa.Column("hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "big_value_uses",
        sa.Column("run", _NUMBER, sa.ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("hash", sa.LargeBinary(32), sa.ForeignKey("big_values.hash"), primary_key=True),
    )
    op.create_index("big_value_uses_by_hash", "big_value_uses", ["hash"])


def downgrade() -> None:
    """Drops the tables."""
    for table in ("big_value_uses", "big_values", "updates", "runs"):
        op.drop_table(table)
