"""Sessions: conversations over a pipeline that the orchestrator keeps, and their turns."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from lanemesh.client.calls import CALL_SECONDS
from lanemesh.client.specs import Conversation, PipelineDocument, SessionId, wire_text
from lanemesh.client.updates import RunState
from lanemesh.v1 import session_pb2, session_pb2_grpc
from lanemesh.value_codec import decode_answer, decode_question
from lanemesh.values import Answer, Question

if TYPE_CHECKING:
    import grpc.aio

    from lanemesh.client.detached import DetachedRun
    from lanemesh.client.requests import Request
    from lanemesh.client.runs import Run

PAGE = 500
"""Number of sessions in one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session. Times are aware datetimes in UTC."""

    id: str
    """Its id, which lets others read and continue it."""
    deployment: str = ""
    """The deployed pipeline that it is for; empty: a pipeline that is not deployed."""
    title: str = ""
    """The beginning of its first question."""
    created_at: datetime
    """When its first turn began."""
    used_at: datetime
    """When its last turn began or ended."""
    expires_at: datetime
    """When it is deleted unless it is used."""
    last_turn: int = 0
    """Number of its last turn, from 1; 0: it has none."""
    size_bytes: int = 0
    """Size of its turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of a session: a run."""

    number: int
    """Its number, from 1. The first turns of a long session are deleted."""
    run_id: str
    """The run."""
    question: Question
    """What was asked, without the history."""
    answer: Answer
    """The answer; empty while the run is active."""
    state: RunState
    """State of the run."""
    created_at: datetime
    """When it began."""
    ended_at: datetime | None = None
    """When its run ended; None before that."""
    truncated: bool = False
    """The answer was longer than 256 KiB, or the orchestrator no longer had all of it."""


class SessionLink(Protocol):
    """The sessions of an orchestrator in this process, or calls to a remote one. The methods raise LanemeshError."""

    async def get(self, request: session_pb2.GetSessionRequest) -> session_pb2.GetSessionResponse:
        """A session with its turns."""

    async def list(self, request: session_pb2.ListSessionsRequest) -> session_pb2.ListSessionsResponse:
        """One page of sessions."""

    async def fork(self, request: session_pb2.ForkSessionRequest) -> session_pb2.ForkSessionResponse:
        """Copies the first turns of a session to a new one."""

    async def delete(self, request: session_pb2.DeleteSessionRequest) -> session_pb2.DeleteSessionResponse:
        """Deletes a session."""


class TurnHost(Protocol):
    """What makes the turns of sessions: a `Mesh` or a `Client`."""

    def run(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
    ) -> Run:
        """A run of a pipeline."""

    def request(
        self,
        pipeline: PipelineDocument,
        input: Any = None,  # noqa: A002
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
        retries: int = 0,
    ) -> Request:
        """One input to a pipeline, and what it returns."""

    async def start(
        self,
        pipeline: PipelineDocument,
        *,
        input: Any = None,  # noqa: A002
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
        session: SessionId = "",
    ) -> DetachedRun:
        """Starts a detached run."""


class Session:
    """A conversation over a pipeline, which the orchestrator keeps: `await client.session("@chat").request("hello").text()`.

    Each run is a turn: its question gets the earlier turns as its history. The session is created by its first turn.
    """

    def __init__(
        self, host: TurnHost, link: SessionLink, pipeline: PipelineDocument, conversation: Conversation
    ) -> None:
        """`link` reads the sessions of the mesh `host`."""
        self._host = host
        self._link = link
        self.pipeline = pipeline
        """The pipeline of its turns."""
        self.conversation = conversation
        """Its id and options; `session=` of a run takes it too."""

    @property
    def id(self) -> str:
        """Its id, which lets others read and continue it."""
        return self.conversation.id

    def run(
        self,
        input: Any = None,  # noqa: A002
        *,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Run:
        """The next turn as a run. The arguments and errors are those of `Mesh.run`."""
        return self._host.run(
            self.pipeline,
            input=input,
            open_input=open_input,
            settings=settings,
            timeout=timeout,
            variables=variables,
            session=self.conversation,
        )

    def request(
        self,
        input: Any = None,  # noqa: A002
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
        retries: int = 0,
    ) -> Request:
        """The next turn as a request. The arguments and errors are those of `Mesh.request`."""
        return self._host.request(
            self.pipeline,
            input,
            settings=settings,
            timeout=timeout,
            variables=variables,
            session=self.conversation,
            retries=retries,
        )

    async def start(
        self,
        input: Any = None,  # noqa: A002
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> DetachedRun:
        """The next turn as a detached run. The arguments and errors are those of `Mesh.start`."""
        return await self._host.start(
            self.pipeline,
            input=input,
            settings=settings,
            timeout=timeout,
            variables=variables,
            session=self.conversation,
        )

    async def info(self) -> SessionInfo:
        """The session as it is now. Raises LanemeshError if it has no turn yet, or has expired ("unknown-session")."""
        return decode_session((await self._get()).session)

    async def turns(self) -> list[Turn]:
        """Its turns, in order. Raises as `info`."""
        return [decode_turn(turn) for turn in (await self._get()).turns]

    async def fork(self, turn: int = 0, *, id: str = "") -> Session:  # noqa: A002
        """A new session with the turns of this one up to a number.

        Args:
            turn: number of the last turn that the new session has; 0: all.
            id: the id of the new session; empty: a random one.

        Raises:
            LanemeshError: there is no such turn, or a session with the new id ("session-exists").
        """
        request = session_pb2.ForkSessionRequest(
            session_id=wire_text(self.id, "the id of a session"),
            owner=self.conversation.owner,
            turn=turn,
            new_session_id=wire_text(id, "the id of a session") or new_session_id(),
        )
        await self._link.fork(request)
        conversation = replace(self.conversation, id=request.new_session_id)
        return Session(self._host, self._link, self.pipeline, conversation)

    async def delete(self) -> None:
        """Deletes it with its turns. Active runs continue. Raises as `info`."""
        await self._link.delete(
            session_pb2.DeleteSessionRequest(
                session_id=wire_text(self.id, "the id of a session"), owner=self.conversation.owner
            )
        )

    async def _get(self) -> session_pb2.GetSessionResponse:
        return await self._link.get(
            session_pb2.GetSessionRequest(
                session_id=wire_text(self.id, "the id of a session"), owner=self.conversation.owner
            )
        )


def new_session_id() -> str:
    """A random id of a session."""
    return f"session-{secrets.token_hex(16)}"


async def list_sessions(link: SessionLink, deployment: str, owner: str, limit: int) -> list[SessionInfo]:
    """At most `limit` sessions, the last used first."""
    found: list[SessionInfo] = []
    token = ""
    while len(found) < limit:
        request = session_pb2.ListSessionsRequest(
            owner=wire_text(owner, "the owner of a session"),
            deployment=wire_text(deployment, "the name of a deployed pipeline"),
            page_size=min(PAGE, limit - len(found)),
            page_token=token,
        )
        page = await link.list(request)
        found += map(decode_session, page.sessions)
        token = page.next_page_token
        if not token:
            break
    return found


async def session_of_run(link: SessionLink, run_id: str, owner: str) -> SessionInfo:
    """The session with the turn of a run. Raises LanemeshError if there is none, or it has another owner ("unknown-session")."""
    request = session_pb2.GetSessionRequest(
        run_id=wire_text(run_id, "the id of a run"), owner=wire_text(owner, "the owner of a session")
    )
    return decode_session((await link.get(request)).session)


def decode_session(session: session_pb2.Session) -> SessionInfo:
    """The value of a session."""
    return SessionInfo(
        id=session.session_id,
        deployment=session.deployment,
        title=session.title,
        created_at=session.created_at.ToDatetime(UTC),
        used_at=session.used_at.ToDatetime(UTC),
        expires_at=session.expires_at.ToDatetime(UTC),
        last_turn=session.last_turn,
        size_bytes=session.size_bytes,
    )


def decode_turn(turn: session_pb2.Turn) -> Turn:
    """The value of a turn."""
    return Turn(
        number=turn.number,
        run_id=turn.run_id,
        question=decode_question(turn.question),
        answer=decode_answer(turn.answer),
        state=RunState.from_wire(turn.state),
        created_at=turn.created_at.ToDatetime(UTC),
        ended_at=turn.ended_at.ToDatetime(UTC) if turn.HasField("ended_at") else None,
        truncated=turn.truncated,
    )


class GrpcSessionLink:
    """The sessions of a remote orchestrator."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel], call: Callable[[Any], Awaitable[Any]]) -> None:
        """`channel` returns the connection; `call` awaits a call, and raises LanemeshError if it fails."""
        self._channel = channel
        self._call = call

    async def get(self, request: session_pb2.GetSessionRequest) -> session_pb2.GetSessionResponse:
        """A session with its turns."""
        response: session_pb2.GetSessionResponse = await self._call(
            self._stub.GetSession(request, timeout=CALL_SECONDS)
        )
        return response

    async def list(self, request: session_pb2.ListSessionsRequest) -> session_pb2.ListSessionsResponse:
        """One page of sessions."""
        response: session_pb2.ListSessionsResponse = await self._call(
            self._stub.ListSessions(request, timeout=CALL_SECONDS)
        )
        return response

    async def fork(self, request: session_pb2.ForkSessionRequest) -> session_pb2.ForkSessionResponse:
        """Copies the first turns of a session to a new one."""
        response: session_pb2.ForkSessionResponse = await self._call(
            self._stub.ForkSession(request, timeout=CALL_SECONDS)
        )
        return response

    async def delete(self, request: session_pb2.DeleteSessionRequest) -> session_pb2.DeleteSessionResponse:
        """Deletes a session."""
        response: session_pb2.DeleteSessionResponse = await self._call(
            self._stub.DeleteSession(request, timeout=CALL_SECONDS)
        )
        return response

    @property
    def _stub(self) -> session_pb2_grpc.SessionServiceAsyncStub:
        return session_pb2_grpc.SessionServiceStub(self._channel())
