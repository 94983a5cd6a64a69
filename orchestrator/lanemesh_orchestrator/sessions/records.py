"""The records of sessions: their limits, the interface of their store, and a store in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.v1 import session_pb2

MAX_SESSIONS = 10_000
"""Most sessions of an orchestrator; the least recently used ones are deleted first."""
MAX_TURNS = 1_000
"""Most turns of a session; its first turns are deleted first."""
MAX_SESSION_BYTES = 4 * 1024 * 1024
"""Most bytes of the turns of a session: 4 MiB; its first turns are deleted first."""
MAX_MEMORY_BYTES = 64 * 1024 * 1024
"""Most bytes of all sessions that are kept in memory: 64 MiB; the least recently used sessions are deleted first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSessions:
    """The filter of a list of sessions."""

    owner: str = ""
    """Only sessions of this owner; empty: those without one."""
    deployment: str = ""
    """Only sessions of this deployed pipeline; empty: all."""
    most: int = 100
    """Most sessions in the list."""
    before: tuple[int, str] | None = None
    """Only sessions that stand behind this one: the time of its last use in nanoseconds since 1970, and its id."""


def used_at(session: session_pb2.Session) -> tuple[int, str]:
    """What orders sessions in a list: the time of the last use in nanoseconds since 1970, and the id."""
    return session.used_at.ToNanoseconds(), session.session_id


class SessionStore(Protocol):
    """Stores sessions and their turns."""

    async def get(self, session_id: str) -> session_pb2.Session | None:
        """A session that has not expired; None if there is none."""

    async def of_run(self, run_id: str) -> str:
        """The id of the session with the turn of a run; empty if there is none."""

    async def turns(self, session_id: str, last: int = 0) -> list[session_pb2.Turn]:
        """The last turns of a session, in order; 0: all."""

    async def list(self, wanted: WantedSessions) -> Sequence[session_pb2.Session]:
        """Sessions that have not expired, the last used first."""

    async def begin_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        """Adds a turn to a session, which is created if it does not exist. Sets the number of the turn, and the fields of the
        session. Deletes what exceeds the limits. Raises LanemeshError if the session belongs to another owner, or is for another
        deployed pipeline."""

    async def end_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        """Replaces a turn of a session, and the times of the session, unless the turn was deleted."""

    async def add(self, session: session_pb2.Session, turns: Sequence[session_pb2.Turn]) -> bool:
        """Adds a session with its turns. Returns False if there is one with its id."""

    async def delete(self, session_id: str) -> bool:
        """Deletes a session. Returns False if there is none."""


class MemorySessions:
    """The sessions of an orchestrator without a store, in its memory."""

    def __init__(self, max_sessions: int = MAX_SESSIONS, max_bytes: int = MAX_MEMORY_BYTES) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._sessions: dict[str, tuple[session_pb2.Session, list[session_pb2.Turn]]] = {}
        """In the order of their last use."""
        self._of_run: dict[str, str] = {}
        self._bytes = 0

    async def get(self, session_id: str) -> session_pb2.Session | None:
        """A session."""
        found = self._sessions.get(session_id)
        return _copied(found[0]) if found is not None and not is_expired(found[0]) else None

    async def of_run(self, run_id: str) -> str:
        """The session of a run."""
        return self._of_run.get(run_id, "")

    async def turns(self, session_id: str, last: int = 0) -> list[session_pb2.Turn]:
        """The last turns of a session."""
        found = self._sessions.get(session_id)
        return list(found[1][-last:]) if found is not None else []

    async def list(self, wanted: WantedSessions) -> Sequence[session_pb2.Session]:
        """Sessions, the last used first."""
        found = [
            session
            for session, _ in self._sessions.values()
            if session.owner == wanted.owner
            and wanted.deployment in ("", session.deployment)
            and not is_expired(session)
            and (wanted.before is None or used_at(session) < wanted.before)
        ]
        return [_copied(session) for session in sorted(found, key=used_at, reverse=True)[: wanted.most]]

    async def begin_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        """Adds a turn."""
        there = self._sessions.get(session.session_id)
        if there is not None and is_expired(there[0]):
            await self.delete(session.session_id)
        found = self._sessions.get(session.session_id)
        if found is not None:
            check_same(found[0], session)
            del self._sessions[session.session_id]
        kept, turns = found or (session_pb2.Session(), [])
        turn.number = kept.last_turn + 1
        session.last_turn = turn.number
        session.size_bytes = kept.size_bytes + turn.ByteSize()
        turns.append(_copied_turn(turn))
        self._of_run[turn.run_id] = session.session_id
        self._bytes += turn.ByteSize()
        while len(turns) > 1 and (len(turns) > MAX_TURNS or session.size_bytes > MAX_SESSION_BYTES):
            session.size_bytes -= self._drop(session.session_id, turns.pop(0))
        self._sessions[session.session_id] = _copied(session), turns
        self._evict()

    async def end_turn(self, session: session_pb2.Session, turn: session_pb2.Turn) -> None:
        """Replaces a turn."""
        found = self._sessions.get(session.session_id)
        if found is None:
            return
        kept, turns = found
        key = turn.number, turn.run_id  # another session may have got the id of this one meanwhile
        position = next((place for place, one in enumerate(turns) if (one.number, one.run_id) == key), None)
        if position is None:
            return
        del self._sessions[session.session_id]
        grown = turn.ByteSize() - turns[position].ByteSize()
        kept.size_bytes += grown
        self._bytes += grown
        turns[position] = _copied_turn(turn)
        kept.used_at.CopyFrom(session.used_at)
        kept.expires_at.CopyFrom(session.expires_at)
        self._sessions[session.session_id] = kept, turns
        self._evict()

    async def add(self, session: session_pb2.Session, turns: Sequence[session_pb2.Turn]) -> bool:
        """Adds a session."""
        if session.session_id in self._sessions:
            return False
        self._sessions[session.session_id] = _copied(session), [_copied_turn(turn) for turn in turns]
        self._bytes += session.size_bytes
        self._evict()
        return True

    async def delete(self, session_id: str) -> bool:
        """Deletes a session."""
        found = self._sessions.pop(session_id, None)
        for turn in found[1] if found is not None else ():
            self._drop(session_id, turn)
        return found is not None

    def _evict(self) -> None:
        """Deletes the least recently used sessions beyond the limits, and those at the front that have expired."""
        while self._sessions:
            oldest, (session, turns) = next(iter(self._sessions.items()))
            over = len(self._sessions) > self._max_sessions or self._bytes > self._max_bytes
            if not (is_expired(session) or (over and len(self._sessions) > 1)):
                return
            del self._sessions[oldest]
            for turn in turns:
                self._drop(oldest, turn)

    def _drop(self, session_id: str, turn: session_pb2.Turn) -> int:
        """Forgets a turn of a session. Returns its size in bytes."""
        if self._of_run.get(turn.run_id) == session_id:  # a fork has the turns of another session
            del self._of_run[turn.run_id]
        size = turn.ByteSize()
        self._bytes -= size
        return size


def check_same(kept: session_pb2.Session, session: session_pb2.Session) -> None:
    """Raises LanemeshError if a session that is kept is not the one that a turn is for, but was created with its id meanwhile."""
    if (kept.owner, kept.deployment) != (session.owner, session.deployment):
        message = "another caller created a session with this id meanwhile. Start another session"
        raise LanemeshError(Fault(code=Code.ALREADY_EXISTS, reason="session-exists", message=message))


def is_expired(session: session_pb2.Session) -> bool:
    """Whether a session has not been used for longer than it is kept."""
    return session.expires_at.ToNanoseconds() < time.time_ns()


def _copied(session: session_pb2.Session) -> session_pb2.Session:
    copied = session_pb2.Session()
    copied.CopyFrom(session)
    return copied


def _copied_turn(turn: session_pb2.Turn) -> session_pb2.Turn:
    copied = session_pb2.Turn()
    copied.CopyFrom(turn)
    return copied
