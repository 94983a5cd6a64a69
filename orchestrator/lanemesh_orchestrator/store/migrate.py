"""Migrates a store to the tables of this version."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from lanemesh_orchestrator.store.errors import store_error


def migrate(connection: Connection, shown: str, to: str = "head") -> None:
    """Creates the tables of a new store, and migrates an older one.

    Raises:
        LanemeshError: it was created by a later version of Lanemesh.
    """
    config = _config(connection)
    _revision(config, connection, shown)
    command.upgrade(config, to)


def check(connection: Connection, shown: str) -> None:
    """Raises LanemeshError unless the tables of a store are those of this version."""
    config = _config(connection)
    if _revision(config, connection, shown) != ScriptDirectory.from_config(config).get_current_head():
        message = (
            f"the store {shown} is of an earlier version of Lanemesh: `lanemesh serve --store {shown}` migrates it"
        )
        raise store_error("store-too-old", message)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "lanemesh_orchestrator.store:migrations")
    config.attributes["connection"] = connection
    return config


def _revision(config: Config, connection: Connection, shown: str) -> str | None:
    """The revision of the tables. Raises LanemeshError for an unknown one."""
    current = MigrationContext.configure(connection).get_current_revision()
    try:
        if current is not None:
            ScriptDirectory.from_config(config).get_revision(current)
    except CommandError:
        message = (
            f"the store {shown} was created by a later version of Lanemesh (its tables are of revision {current}). "
            "Use that version, or give another store by --store"
        )
        raise store_error("store-too-new", message) from None
    return current
