"""Sessions in a store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from lanemesh.v1 import session_pb2

from lanemesh_orchestrator.sessions.records import (
    MAX_SESSION_BYTES,
    MAX_SESSIONS,
    MAX_TURNS,
    WantedSessions,
    check_same,
    is_expired,
    used_at,
)
from lanemesh_orchestrator.store.journal import Journal
from lanemesh_orchestrator.store.tables import SESSION_TURNS, SESSIONS


class StoredSessions:
    """Stores sessions and their turns (`sessions.records.SessionStore`). Its methods raise LanemeshError if the store cannot be
    used."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def get(self, session_id: str) -> session_pb2.Session | None:
        """A session."""
        query = sa.select(SESSIONS.c.record).where(SESSIONS.c.session_id == session_id, _is_kept())
        record = await self._journal.call(lambda store: store.read(lambda one: one.execute(query).scalar()))
        return session_pb2.Session.FromString(record) if record is not None else None

    async def of_run(self, run_id: str) -> str:
        """The session of a run."""
        query = sa.select(SESSION_TURNS.c.session_id).where(SESSION_TURNS.c.run_id == run_id)
        found = await self._journal.call(lambda store: store.read(lambda one: one.execute(query).scalar()))
        return found or ""

    async def turns(self, session_id: str, last: int = 0) -> list[session_pb2.Turn]:
        """The last turns of a session."""
        query = (
            sa.select(SESSION_TURNS.c.content)
            .where(SESSION_TURNS.c.session_id == session_id)
            .order_by(SESSION_TURNS.c.number.desc())
            .limit(last or MAX_TURNS)
        )
        found = await self._journal.call(lambda store: store.read(lambda one: list(one.execute(query).scalars())))
        return [session_pb2.Turn.FromString(content) for content in reversed(found)]

    async def list(self, wanted: WantedSessions) -> Sequence[session_pb2.Session]:
        """Sessions, the last used first."""
        query = sa.select(SESSIONS.c.record).where(SESSIONS.c.owner == wanted.owner, _is_kept())
        if wanted.deployment:
            query = query.where(SESSIONS.c.deployment == wanted.deployment)
        if wanted.before is not None:
            place = sa.tuple_(SESSIONS.c.used_at, SESSIONS.c.session_id)
            query = query.where(place < sa.tuple_(*map(sa.literal, wanted.before)))
        query = query.order_by(SESSIONS.c.used_at.desc(), SESSIONS.c.session_id.desc()).limit(wanted.most)
        found = await self._journal.call(lambda store: store.read(lambda one: list(one.execute(query).scalars())))
        return [session_pb2.Session.FromString(record) for record in found]

    async def begin_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        """Adds a turn."""

        def work(connection: sa.Connection) -> None:
            kept = _record(connection, session.session_id)
            if kept is not None and is_expired(kept):
                _delete(connection, [session.session_id])
                kept = None
            if kept is not None:
                check_same(kept, session)
            turn.number = (kept.last_turn if kept is not None else 0) + 1
            session.last_turn = turn.number
            session.size_bytes = (kept.size_bytes if kept is not None else 0) + turn.ByteSize()
            _put(connection, session, new=kept is None)
            connection.execute(SESSION_TURNS.insert(), _turn_row(session.session_id, turn))
            if turn.number > MAX_TURNS or session.size_bytes > MAX_SESSION_BYTES:
                _trim(connection, session)
            if kept is None:
                _forget(connection)

        await self._write(work)

    async def end_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        """Replaces a turn."""

        def work(connection: sa.Connection) -> None:
            kept = _record(connection, session.session_id)
            if kept is None:
                return
            row = _turn_row(session.session_id, turn)
            here = (
                (SESSION_TURNS.c.session_id == session.session_id)
                & (SESSION_TURNS.c.number == turn.number)
                & (SESSION_TURNS.c.run_id == turn.run_id)  # another session may have got its id meanwhile
            )
            before = connection.execute(sa.select(SESSION_TURNS.c.size).where(here)).scalar()
            if before is None:
                return
            connection.execute(SESSION_TURNS.update().where(here), {"size": row["size"], "content": row["content"]})
            kept.size_bytes += row["size"] - before
            kept.used_at.CopyFrom(session.used_at)
            kept.expires_at.CopyFrom(session.expires_at)
            _put(connection, kept, new=False)

        await self._write(work)

    async def add(self, session: session_pb2.Session, turns: Sequence[session_pb2.Turn]) -> bool:
        """Adds a session."""

        def work(connection: sa.Connection) -> bool:
            if _record(connection, session.session_id) is not None:
                return False
            _put(connection, session, new=True)
            if turns:
                connection.execute(SESSION_TURNS.insert(), [_turn_row(session.session_id, turn) for turn in turns])
            _forget(connection)
            return True

        return bool(await self._write(work))

    async def delete(self, session_id: str) -> bool:
        """Deletes a session."""
        return bool(await self._write(lambda connection: _delete(connection, [session_id])))

    async def _write(self, work: Any) -> Any:
        return await self._journal.call(lambda store: store.change(work))


def _is_kept() -> sa.ColumnElement[bool]:
    return SESSIONS.c.expires_at >= time.time_ns()


def _record(connection: sa.Connection, session_id: str) -> session_pb2.Session | None:
    """The record of a session, also of one that has expired."""
    query = sa.select(SESSIONS.c.record).where(SESSIONS.c.session_id == session_id)
    record = connection.execute(query).scalar()
    return session_pb2.Session.FromString(record) if record is not None else None


def _put(connection: sa.Connection, session: session_pb2.Session, *, new: bool) -> None:
    values = {
        "owner": session.owner,
        "deployment": session.deployment,
        "used_at": used_at(session)[0],
        "expires_at": session.expires_at.ToNanoseconds(),
        "record": session.SerializeToString(),
    }
    if new:
        connection.execute(SESSIONS.insert(), {"session_id": session.session_id, **values})
    else:
        connection.execute(SESSIONS.update().where(SESSIONS.c.session_id == session.session_id), values)


def _turn_row(session_id: str, turn: session_pb2.Turn) -> dict[str, Any]:
    content = turn.SerializeToString()
    return {
        "session_id": session_id,
        "number": turn.number,
        "run_id": turn.run_id,
        "size": len(content),
        "content": content,
    }


def _trim(connection: sa.Connection, session: session_pb2.Session) -> None:
    """Deletes the first turns of a session beyond its limits."""
    here = SESSION_TURNS.c.session_id == session.session_id
    query = sa.select(SESSION_TURNS.c.number, SESSION_TURNS.c.size).where(here).order_by(SESSION_TURNS.c.number.desc())
    total = 0
    for position, row in enumerate(connection.execute(query).all()):
        total += row.size
        if position and (position >= MAX_TURNS or total > MAX_SESSION_BYTES):
            connection.execute(SESSION_TURNS.delete().where(here, SESSION_TURNS.c.number <= row.number))
            session.size_bytes = total - row.size
            _put(connection, session, new=False)
            return


def _forget(connection: sa.Connection) -> None:
    """Deletes expired sessions, and the least recently used ones beyond the limit."""
    expired = sa.select(SESSIONS.c.session_id).where(SESSIONS.c.expires_at < time.time_ns()).limit(1_000)
    surplus = sa.select(SESSIONS.c.session_id).order_by(SESSIONS.c.used_at.desc()).offset(MAX_SESSIONS).limit(1_000)
    for query in (expired, surplus):
        found = list(connection.execute(query).scalars())
        if found:
            _delete(connection, found)


def _delete(connection: sa.Connection, session_ids: Sequence[str]) -> int:
    """Deletes sessions with their turns. Returns their number."""
    connection.execute(SESSION_TURNS.delete().where(SESSION_TURNS.c.session_id.in_(session_ids)))
    return int(connection.execute(SESSIONS.delete().where(SESSIONS.c.session_id.in_(session_ids))).rowcount)
