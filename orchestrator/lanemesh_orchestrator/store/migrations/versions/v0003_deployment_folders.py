"""The folders that relative paths of deployed pipelines count from."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the column."""
    op.add_column("deployments", sa.Column("folder", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drops the column."""
    op.drop_column("deployments", "folder")
