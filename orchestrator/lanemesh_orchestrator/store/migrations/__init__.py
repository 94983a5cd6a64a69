"""The migrations of the tables, for alembic."""
