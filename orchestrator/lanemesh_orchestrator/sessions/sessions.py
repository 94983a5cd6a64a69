"""The sessions of an orchestrator: the conversations of runs, and what clients ask of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial

from lanemesh._aio.tasks import cancel_stragglers
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.memory import check_name
from lanemesh.times import NANOSECONDS, seconds_of, set_seconds, stamp
from lanemesh.v1 import run_pb2, session_pb2, update_pb2
from lanemesh.value_codec import decode_call, decode_media, decode_message
from lanemesh.values import Image, Message

from lanemesh_orchestrator.sessions.conversation import Conversation, RecordedRun
from lanemesh_orchestrator.sessions.records import MAX_TURNS, MemorySessions, SessionStore, WantedSessions, used_at

HISTORY_TURNS = 20
"""Default number of earlier turns in a history."""
HISTORY_BYTES = 64 * 1024
"""Default size of a history: 64 KiB."""
MAX_HISTORY_BYTES = 1024 * 1024
"""Largest history: 1 MiB."""
DAY = 86_400.0
TIME_TO_LIVE = 30 * DAY
"""How long a session is kept after its last use by default, in seconds."""
MAX_TIME_TO_LIVE = 365 * DAY
MAX_OWNER = 128
"""Longest owner, in characters."""
MAX_PAGE = 1_000
PAGE = 100
WRITE_SECONDS = 10.0
"""How long a run waits for the turn of the run before it to be stored."""
CLOSE_SECONDS = 5.0

log = logging.getLogger("lanemesh.sessions")


class Sessions:
    """The sessions of one orchestrator."""

    def __init__(self, store: SessionStore | None = None) -> None:
        """`store` keeps them; None: memory."""
        self._store: SessionStore = store or MemorySessions()
        self._recording: dict[str, dict[asyncio.Task[None], RecordedRun]] = {}
        """The tasks that record turns, by session."""

    async def conversation(self, spec: run_pb2.RunSpec) -> Conversation | None:
        """The part of a run in its session; None if its spec has no conversation.

        Raises:
            LanemeshError: the session is not allowed, belongs to another owner or is for another deployed pipeline, or the store
                cannot be read.
        """
        if not spec.HasField("conversation"):
            return None
        options = spec.conversation
        seconds = _checked(spec)
        await self._settled(spec.session_id)
        deployment = spec.deployment.name if spec.HasField("deployment") else ""
        session = await self._store.get(spec.session_id)
        if session is None:
            session = session_pb2.Session(session_id=spec.session_id, deployment=deployment, owner=options.owner)
            stamp(session.created_at)
        elif session.owner != options.owner:
            raise _unknown()
        elif session.deployment != deployment:
            what = f'"{session.deployment}"' if session.deployment else "pipelines that are not deployed"
            message = f"this session is for {what}. Start another session, or run that pipeline"
            raise LanemeshError(Fault(code=Code.FAILED_PRECONDITION, reason="other-pipeline", message=message))
        turns = (
            await self._store.turns(spec.session_id, options.history_turns or HISTORY_TURNS)
            if session.last_turn
            else []
        )
        history = history_of(turns, options.history_bytes or HISTORY_BYTES)
        return Conversation(
            session,
            history,
            partial(self._begin_turn, seconds=seconds),
            partial(self._end_turn, seconds=seconds),
            append_history=options.append_history,
        )

    def record(self, conversation: Conversation, run: RecordedRun) -> None:
        """Records a run as a turn of its session, in a task that `close` awaits."""
        session_id = conversation.session.session_id
        task = asyncio.create_task(conversation.record(run), name=f"turn of {run.id}")
        self._recording.setdefault(session_id, {})[task] = run
        task.add_done_callback(partial(self._recorded, session_id))

    async def get(self, request: session_pb2.GetSessionRequest) -> session_pb2.GetSessionResponse:
        """A session with its turns. Raises LanemeshError if there is none, or it belongs to another owner."""
        session_id = request.session_id or self._recorded_in(request.run_id)
        if session_id:
            await self._settled(session_id)
        session_id = request.session_id or await self._store.of_run(request.run_id)
        session = await self._owned(session_id, request.owner)
        return session_pb2.GetSessionResponse(session=session, turns=await self._store.turns(session_id))

    async def list(self, request: session_pb2.ListSessionsRequest) -> session_pb2.ListSessionsResponse:
        """One page of sessions, the last used first. Raises LanemeshError if the page token is invalid."""
        await self._settled(*self._recording)
        most = min(request.page_size or PAGE, MAX_PAGE)
        wanted = WantedSessions(
            owner=request.owner, deployment=request.deployment, most=most, before=_place(request.page_token)
        )
        found = await self._store.list(wanted)
        token = "{}:{}".format(*used_at(found[-1])) if len(found) == most else ""
        return session_pb2.ListSessionsResponse(sessions=found, next_page_token=token)

    async def fork(self, request: session_pb2.ForkSessionRequest) -> session_pb2.ForkSessionResponse:
        """Copies the first turns of a session to a new one.

        Raises:
            LanemeshError: there is no such session or turn, or the new id is not allowed or taken.
        """
        _check_id(request.new_session_id)
        await self._settled(request.session_id)
        session = await self._owned(request.session_id, request.owner)
        turns = await self._store.turns(request.session_id)
        if request.turn and request.turn not in {turn.number for turn in turns}:
            message = f"the session has no turn {request.turn}, or no longer has it. `GetSession` returns its turns"
            raise LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-turn", message=message))
        kept = [turn for turn in turns if turn.ended_at.seconds and (not request.turn or turn.number <= request.turn)]
        fork = session_pb2.Session()
        fork.CopyFrom(session)
        fork.session_id = request.new_session_id
        fork.last_turn = kept[-1].number if kept else 0
        fork.size_bytes = sum(turn.ByteSize() for turn in kept)
        stamp(fork.created_at)
        stamp(fork.used_at)
        set_seconds(
            fork.expires_at, seconds_of(fork.used_at) + seconds_of(session.expires_at) - seconds_of(session.used_at)
        )
        if not await self._store.add(fork, kept):
            message = "there is a session with the id of the new session. Use another id"
            raise LanemeshError(Fault(code=Code.ALREADY_EXISTS, reason="session-exists", message=message))
        return session_pb2.ForkSessionResponse(session=fork)

    async def delete(self, request: session_pb2.DeleteSessionRequest) -> session_pb2.DeleteSessionResponse:
        """Deletes a session. Its active runs continue. Raises LanemeshError if there is none, or it belongs to another owner."""
        await self._settled(request.session_id)  # otherwise a turn that is stored later would create it again
        await self._owned(request.session_id, request.owner)
        await self._store.delete(request.session_id)
        return session_pb2.DeleteSessionResponse()

    async def close(self) -> None:
        """Waits until the turns of ended runs are stored, for 5 s at most."""
        tasks = {task for recording in self._recording.values() for task in recording}
        await cancel_stragglers(CLOSE_SECONDS, "turns of sessions to be stored", tasks)

    async def _settled(self, *session_ids: str) -> None:
        """Waits until the turns of sessions whose runs have ended are stored."""
        recordings = [self._recording.get(session_id, {}) for session_id in session_ids]
        ending = [task for recording in recordings for task, run in recording.items() if run.ended.is_set()]
        if ending:
            await asyncio.wait(ending, timeout=WRITE_SECONDS)

    def _recorded_in(self, run_id: str) -> str:
        """The session in which a run is being recorded; empty if there is none."""
        for session_id, recording in self._recording.items():
            if any(run.id == run_id for run in recording.values()):
                return session_id
        return ""

    async def _owned(self, session_id: str, owner: str) -> session_pb2.Session:
        session = await self._store.get(session_id) if session_id else None
        if session is None or session.owner != owner:
            raise _unknown()
        return session

    async def _begin_turn(self, session: session_pb2.Session, turn: session_pb2.Turn, *, seconds: float) -> None:
        _use(session, seconds)
        await self._store.begin_turn(session, turn)

    async def _end_turn(self, session: session_pb2.Session, turn: session_pb2.Turn, *, seconds: float) -> None:
        _use(session, seconds)
        await self._store.end_turn(session, turn)

    def _recorded(self, session_id: str, task: asyncio.Task[None]) -> None:
        recording = self._recording[session_id]
        del recording[task]
        if not recording:
            del self._recording[session_id]
        if not task.cancelled() and task.exception() is not None:
            log.error("a turn of a session is not kept", exc_info=task.exception())


def history_of(turns: Iterable[session_pb2.Turn], max_bytes: int) -> list[Message]:
    """The messages of completed turns, oldest first: as many of the last turns as fit in this number of bytes."""
    found: list[list[Message]] = []
    size = 0
    for turn in reversed(list(turns)):
        answer = turn.answer.text or turn.answer.data_json
        calls = tuple(map(decode_call, turn.answer.tool_calls))
        if turn.state != update_pb2.RUN_STATE_COMPLETED or not (answer or calls):
            continue
        size += turn.question.ByteSize() + len(answer.encode()) + sum(map(len, (call.arguments for call in calls)))
        if size > max_bytes:
            break
        messages = list(map(decode_message, turn.question.history))
        images = tuple(decode_media(Image, image) for image in turn.question.images)
        if turn.question.text or images or not messages:
            messages.append(Message("user", turn.question.text, images=images))
        found.append([*messages, Message("assistant", answer, calls)])
    return [message for messages in reversed(found) for message in messages]


def _use(session: session_pb2.Session, seconds: float) -> None:
    """Notes the use of a session, which is kept for so many seconds after it."""
    now = time.time_ns()
    session.used_at.FromNanoseconds(now)
    session.expires_at.FromNanoseconds(now + round(seconds * NANOSECONDS))


def _checked(spec: run_pb2.RunSpec) -> float:
    """Checks the conversation of a spec. Returns how long its session is kept, in seconds."""
    options = spec.conversation
    _check_id(spec.session_id)
    if len(options.owner) > MAX_OWNER:
        raise _refused(f"the owner of a session has at most {MAX_OWNER} characters, not {len(options.owner)}")
    if options.history_turns > MAX_TURNS or options.history_bytes > MAX_HISTORY_BYTES:
        raise _refused(f"the history of a session has at most {MAX_TURNS:,} turns and {MAX_HISTORY_BYTES:,} bytes")
    if not options.HasField("time_to_live"):
        return TIME_TO_LIVE
    seconds = seconds_of(options.time_to_live)
    if not 0 < seconds <= MAX_TIME_TO_LIVE:
        raise _refused(
            f"a session is kept for more than 0 and at most {MAX_TIME_TO_LIVE:,.0f} seconds after its last use"
        )
    return seconds


def _check_id(session_id: str) -> None:
    try:
        check_name(session_id, "the id of a session")
    except ValueError as error:
        raise _refused(str(error)) from None


def _place(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    number, colon, session_id = token.partition(":")
    if not colon or not number.isascii() or not number.isdecimal() or len(number) > 19:
        message = "the page token is invalid: use the next_page_token of the previous page, or omit it"
        raise LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-page-token", message=message))
    return int(number), session_id


def _refused(message: str) -> LanemeshError:
    return LanemeshError(Fault(code=Code.INVALID_ARGUMENT, reason="bad-session", message=message))


def _unknown() -> LanemeshError:
    message = "there is no such session, or it has expired, or it belongs to another owner. Start one with a turn"
    return LanemeshError(Fault(code=Code.NOT_FOUND, reason="unknown-session", message=message))
