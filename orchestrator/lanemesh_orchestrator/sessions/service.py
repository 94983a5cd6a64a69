"""SessionService over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio
from lanemesh._grpc.status import abort
from lanemesh.faults import LanemeshError
from lanemesh.v1 import session_pb2, session_pb2_grpc

from lanemesh_orchestrator.audit import audited, masked

if TYPE_CHECKING:
    from lanemesh_orchestrator.sessions.sessions import Sessions

Context = grpc.aio.ServicerContext[Any, Any]
Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class SessionService(session_pb2_grpc.SessionServiceServicer):
    """Reads, forks and deletes sessions for clients."""

    def __init__(self, sessions: Callable[[], Sessions]) -> None:
        """`sessions` returns them; they are created at the first call."""
        self._sessions = sessions

    async def GetSession(
        self, request: session_pb2.GetSessionRequest, context: Context
    ) -> session_pb2.GetSessionResponse:
        """Returns one with its turns."""
        return await _answer(self._sessions().get, request, context)

    async def ListSessions(
        self, request: session_pb2.ListSessionsRequest, context: Context
    ) -> session_pb2.ListSessionsResponse:
        """Lists them."""
        return await _answer(self._sessions().list, request, context)

    async def ForkSession(
        self, request: session_pb2.ForkSessionRequest, context: Context
    ) -> session_pb2.ForkSessionResponse:
        """Forks one."""
        async with audited(context, "SessionService.ForkSession", session=masked(request.session_id)):
            return await self._sessions().fork(request)

    async def DeleteSession(
        self, request: session_pb2.DeleteSessionRequest, context: Context
    ) -> session_pb2.DeleteSessionResponse:
        """Deletes one."""
        async with audited(context, "SessionService.DeleteSession", session=masked(request.session_id)):
            return await self._sessions().delete(request)


async def _answer(work: Callable[[Asked], Awaitable[Answered]], request: Asked, context: Context) -> Answered:
    try:
        return await work(request)
    except LanemeshError as error:
        await abort(context, error.fault)
    raise AssertionError("abort always raises")
