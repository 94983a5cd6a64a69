"""The addresses of the owners of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "owners",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("address", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drops the table."""
    op.drop_table("owners")
