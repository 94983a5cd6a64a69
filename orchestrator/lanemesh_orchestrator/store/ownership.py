"""The owners of a store: locks of the operating system, or of the database, that end with their process.

Each orchestrator with an open store is an *owner*. It holds a lock of its own, by which others detect that its runs are active, and
the *gate*, exclusively or shared. Ownership does not depend on a clock.

A lock of a database also ends with its connection, which may break while its owner goes on. The owner takes it again soon, and
counts as ended only if its lock stays free for longer.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine, text

from lanemesh_orchestrator.store.errors import store_error
from lanemesh_orchestrator.store.location import Location

LOST_LOCK = "its lock is lost: the database does not answer, or another orchestrator holds it"
KEEP_SECONDS = 1.0
"""Longest time between two checks of an owner whether it still holds its lock of a database, if the database can be reached."""
GONE_SECONDS = 4.0
"""How long the lock of an owner in a database has to be free until the owner counts as ended."""

UNLOCK_SECONDS = 2.0
"""How long a database may take to release the locks of an owner that closes."""


class Ownership(Protocol):
    """The locks of an owner."""

    keep_seconds: float | None
    """Longest time between two calls of `holds`; None: the locks end with the process alone."""

    def is_gone(self, owner: str) -> bool | None:
        """Whether another owner has ended; None: its lock is free, but has to be looked at again after `GONE_SECONDS`."""

    def holds(self) -> bool:
        """Whether the locks are still held; they are taken again if possible."""

    def opening(self) -> AbstractContextManager[None]:
        """Excludes others that open the store at the same time, while tables are created."""

    def release(self) -> None:
        """Releases the locks."""


def own(location: Location, engine: Engine, owner: str, *, shared: bool) -> Ownership:
    """Takes the locks of an owner. `shared`: others may have the store open as well, if they share it too.

    Raises:
        LanemeshError: another process has it open.
    """
    if location.file is not None:
        return FileLocks(location.file, owner, shared=shared)
    return AdvisoryLocks(engine, location.shown, owner, shared=shared)


def in_use(shown: str, *, shared: bool) -> Exception:
    """The error that another process has a store open."""
    why = "by an orchestrator that does not share it" if shared else "by another orchestrator, or a `run --store`"
    hint = "Give another store by --store, or start `lanemesh serve` with --shared-store, so that several can use it."
    return store_error("store-in-use", f"the store {shown} is used {why}. {hint}")


class FileLocks:
    """Locks on files beside an SQLite store."""

    keep_seconds: float | None = None

    def __init__(self, store: Path, owner: str, *, shared: bool) -> None:
        self._folder = store.with_name(f"{store.name}.owners")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._gate = self._open("gate")
        try:
            fcntl.flock(self._gate, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            os.close(self._gate)
            raise in_use(str(store), shared=shared) from None
        self._owner = owner
        self._own = self._open(owner)
        fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def is_gone(self, owner: str) -> bool | None:
        """The lock on its file is free."""
        try:
            other = os.open(self._folder / owner, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / owner).unlink()
            return True
        finally:
            os.close(other)

    def holds(self) -> bool:
        """A lock on a file is held as long as the process lives."""
        return True

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """A lock on a file of its own."""
        lock = self._open("opening")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # held while tables are created, and released with its process
            yield
        finally:
            os.close(lock)

    def release(self) -> None:
        """Closes the files, which releases the locks."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder / self._owner).unlink()
        os.close(self._own)
        os.close(self._gate)

    def _open(self, name: str) -> int:
        return os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class AdvisoryLocks:
    """Advisory locks of PostgreSQL, on a connection of their own: they end with it."""

    keep_seconds: float | None = KEEP_SECONDS

    def __init__(self, engine: Engine, shown: str, owner: str, *, shared: bool) -> None:
        self._engine = engine
        self._shown = shown
        self._owner = owner
        self._shared = shared
        self._free_since: dict[str, float] = {}
        """When the locks of others were found free, which were not held since."""
        self._take()

    def _take(self) -> None:
        self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        kind = "_shared" if self._shared else ""
        if not (self._try(f"pg_try_advisory_lock{kind}", "gate") and self._try("pg_try_advisory_lock", self._owner)):
            self.release()
            raise in_use(self._shown, shared=self._shared)

    def is_gone(self, owner: str) -> bool | None:
        """Its lock is free, and was so before. An exclusive owner needs no second look: no other one can take its locks again."""
        if not self._try("pg_try_advisory_lock", owner):
            self._free_since.pop(owner, None)
            return False
        self._try("pg_advisory_unlock", owner)
        now = time.monotonic()
        if self._shared and now < self._free_since.setdefault(owner, now) + GONE_SECONDS:
            return None
        self._free_since.pop(owner, None)
        return True

    def holds(self) -> bool:
        """The connection works; otherwise the locks are taken again."""
        with contextlib.suppress(Exception):
            self._connection.execute(text("SELECT 1"))
            return True
        with contextlib.suppress(Exception):
            self._connection.invalidate()
            self._connection.close()
        try:
            self._take()
        except Exception:
            return False
        return True

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """An advisory lock of its own. Raises OSError if the database does not answer."""
        if not self.holds():  # its connection may be broken
            raise OSError(LOST_LOCK)
        self._call("pg_advisory_lock", "opening")
        try:
            yield
        finally:
            self._call("pg_advisory_unlock", "opening")

    def release(self) -> None:
        """Releases the locks, and ends the connection: a database that does not answer releases them when it sees that."""
        unlocking = threading.Thread(target=self._unlock, name="unlock", daemon=True)
        unlocking.start()
        unlocking.join(UNLOCK_SECONDS)
        self._connection.invalidate()  # it must not return to the pool with the locks
        self._connection.close()

    def _unlock(self) -> None:
        """Without it, the locks would be free only some time after the connection has ended."""
        with contextlib.suppress(Exception):  # a broken connection has no locks
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))

    def _try(self, function: str, name: str) -> bool:
        return bool(self._call(function, name))

    def _call(self, function: str, name: str) -> object:
        key = int.from_bytes(hashlib.sha256(f"lanemesh {name}".encode()).digest()[:8], "big", signed=True)
        return self._connection.execute(text(f"SELECT {function}(:key)"), {"key": key}).scalar()
