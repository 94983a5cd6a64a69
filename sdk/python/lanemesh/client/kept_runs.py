"""What meshes and clients do alike with the runs and sessions that an orchestrator keeps: list them, and decide approvals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from lanemesh.client.specs import Conversation, PipelineDocument
from lanemesh.v1 import run_pb2

if TYPE_CHECKING:
    from lanemesh.client.records import RunPage, RunRecord
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.sessions import Session, SessionInfo, SessionLink, TurnHost
    from lanemesh.client.updates import RunState

    class SessionHost(TurnHost, Protocol):
        """What makes the turns of sessions, and reads them."""

        @property
        def _sessions(self) -> SessionLink: ...


class KeptRuns(ABC):
    """The records of runs, the approvals for which they wait, and the sessions of their turns. `Mesh` and `Client` say where these
    are."""

    async def runs(
        self, *, limit: int = 100, states: Iterable[RunState | str] = (), deployment: str = ""
    ) -> list[RunRecord]:
        """The records of runs, the latest first.

        Args:
            limit: most records.
            states: only runs in one of these states, such as `["failed", "cancelled"]`; empty: in any state.
            deployment: only runs of this deployment; empty: all runs.

        Raises:
            TypeError: `states` is a single string.
            ValueError: an entry of `states` is no state of a run.
        """
        from lanemesh.client.records import list_runs

        return await list_runs(self._list_runs, limit, states, deployment)

    async def run_page(
        self, *, limit: int = 100, states: Iterable[RunState | str] = (), deployment: str = "", page: str = ""
    ) -> RunPage:
        """One page of the records of runs, the latest first.

        Args:
            limit: most records on the page, from 1 to 1,000.
            states: as in `runs`.
            deployment: as in `runs`.
            page: `next_page` of the previous page; empty: the first page.

        Raises:
            TypeError: as `runs`.
            ValueError: as `runs`, or the limit is out of bounds.
            LanemeshError: `page` is not that of a previous page ("bad-page-token").
        """
        from lanemesh.client.records import list_page

        return await list_page(self._list_runs, limit, states, deployment, page)

    async def record(self, run_id: str) -> RunRecord:
        """The record of a run, with its pipeline. Raises LanemeshError if the run is not known."""
        from lanemesh.client.records import decode_run

        found = await self._get_run(run_id)
        return decode_run(found.run, found.pipeline_json)

    async def approve(self: RunHost, run_id: str, call_id: str, *, component: str = "") -> None:
        """Approves a call for which a component of a run waits. The arguments and errors are those of `Run.approve`."""
        await self.attach(run_id).approve(call_id, component=component)

    async def refuse(self: RunHost, run_id: str, call_id: str, reason: str = "", *, component: str = "") -> None:
        """Refuses a call for which a component of a run waits. The arguments and errors are those of `Run.refuse`."""
        await self.attach(run_id).refuse(call_id, reason, component=component)

    def session(
        self: SessionHost,
        pipeline: PipelineDocument,
        id: str = "",  # noqa: A002
        *,
        owner: str = "",
        history_turns: int = 20,
        history_bytes: int = 64 * 1024,
        time_to_live: float = 30 * 86_400.0,
    ) -> Session:
        """A conversation over a pipeline, which the orchestrator keeps: with its store, or without one in its memory.

        Args:
            pipeline: that of `run`.
            id: 1 to 128 printable characters that others cannot guess; empty: a random id.
            owner: its owner, at most 128 characters. Reading and continuing it needs the same one.
            history_turns: the maximum number of earlier turns in the history of a question, from 1 to 1,000.
            history_bytes: the maximum size of the history, from 1 to 1 MiB. The oldest turns are left out.
            time_to_live: how long it is kept after its last use, in seconds, up to 365 days.
        """
        from lanemesh.client.sessions import Session, new_session_id

        conversation = Conversation(
            id=id or new_session_id(),
            owner=owner,
            history_turns=history_turns,
            history_bytes=history_bytes,
            time_to_live=time_to_live,
        )
        return Session(self, self._sessions, pipeline, conversation)

    async def sessions(self, deployment: str = "", *, owner: str = "", limit: int = 100) -> list[SessionInfo]:
        """The kept sessions, the last used first.

        Args:
            deployment: only sessions of this deployed pipeline; empty: all.
            owner: only sessions of this owner; empty: those without an owner.
            limit: most sessions.
        """
        from lanemesh.client.sessions import list_sessions

        return await list_sessions(self._sessions, deployment, owner, limit)

    async def session_of_run(self, run_id: str, *, owner: str = "") -> SessionInfo:
        """The kept session with the turn of a run. Raises LanemeshError if there is none, or it has another owner
        ("unknown-session")."""
        from lanemesh.client.sessions import session_of_run

        return await session_of_run(self._sessions, run_id, owner)

    @abstractmethod
    async def _list_runs(self, request: run_pb2.ListRunsRequest) -> run_pb2.ListRunsResponse:
        """One page of the records of runs."""

    @abstractmethod
    async def _get_run(self, run_id: str) -> run_pb2.GetRunResponse:
        """A run with its document. Raises LanemeshError if it is not known."""

    @property
    @abstractmethod
    def _sessions(self) -> SessionLink:
        """The kept sessions."""
