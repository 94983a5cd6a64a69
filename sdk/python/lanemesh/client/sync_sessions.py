"""Sessions without `await`; their event loop runs in a separate thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lanemesh._aio.loop_thread import LoopThread
from lanemesh.client.sessions import Session, SessionInfo, Turn
from lanemesh.client.specs import Conversation, PipelineDocument
from lanemesh.client.sync_runs import SyncDetachedRun, SyncRequest, SyncRun

if TYPE_CHECKING:
    from lanemesh.client.requests import Request
    from lanemesh.client.runs import Run


class SyncSession:
    """A `Session` for callers without `await`, with the same methods."""

    def __init__(self, loop: LoopThread, session: Session, host: object) -> None:
        """`host` is kept alive by the session."""
        self._loop = loop
        self._session = session
        self._host = host

    @property
    def id(self) -> str:
        """Its id, which lets others read and continue it."""
        return self._session.id

    @property
    def pipeline(self) -> PipelineDocument:
        """The pipeline of its turns."""
        return self._session.pipeline

    @property
    def conversation(self) -> Conversation:
        """Its id and options; `session=` of a run takes it too."""
        return self._session.conversation

    def run(
        self,
        input: Any = None,  # noqa: A002
        *,
        open_input: bool = False,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> SyncRun:
        """The next turn as a run. The arguments and errors are those of `Mesh.run`."""

        async def make() -> Run:
            return self._session.run(
                input, open_input=open_input, settings=settings, timeout=timeout, variables=variables
            )

        return SyncRun(self._loop, self._loop.call(make()), self._host)

    def request(
        self,
        input: Any = None,  # noqa: A002
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
        retries: int = 0,
    ) -> SyncRequest:
        """The next turn as a request. The arguments and errors are those of `Mesh.request`."""

        async def make() -> Request:
            return self._session.request(
                input, settings=settings, timeout=timeout, variables=variables, retries=retries
            )

        return SyncRequest(self._loop, self._loop.call(make()), self._host)

    def start(
        self,
        input: Any = None,  # noqa: A002
        *,
        settings: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> SyncDetachedRun:
        """The next turn as a detached run. The arguments and errors are those of `Mesh.start`."""
        starting = self._session.start(input, settings=settings, timeout=timeout, variables=variables)
        return SyncDetachedRun(self._loop, self._loop.call(starting), self._host)

    def info(self) -> SessionInfo:
        """The session as it is now. Raises LanemeshError if it has no turn yet, or has expired ("unknown-session")."""
        return self._loop.call(self._session.info())

    def turns(self) -> list[Turn]:
        """Its turns, in order. Raises as `info`."""
        return self._loop.call(self._session.turns())

    def fork(self, turn: int = 0, *, id: str = "") -> SyncSession:  # noqa: A002
        """A new session with the turns of this one up to a number. The arguments and errors are those of `Session.fork`."""
        return SyncSession(self._loop, self._loop.call(self._session.fork(turn, id=id)), self._host)

    def delete(self) -> None:
        """Deletes it with its turns. Active runs continue. Raises as `info`."""
        self._loop.call(self._session.delete())
