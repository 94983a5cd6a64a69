"""Reads the turn of a run event by event, for a client that may disconnect."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from lanemesh.client.specs import Conversation, Deployed
from lanemesh.faults import Code, Fault, LanemeshError
from lanemesh.values import Question, ToolCall
from starlette.requests import Request

from lanemesh_orchestrator.gateway.connected import while_connected
from lanemesh_orchestrator.gateway.gateway import gateway_of
from lanemesh_orchestrator.gateway.model_api.turns import (
    Began,
    Called,
    Failed,
    Finished,
    Lost,
    TurnEvent,
    TurnReader,
    Wrote,
)

if TYPE_CHECKING:
    from lanemesh.client.run_reader import RunReader
    from lanemesh.client.runs import Run

    from lanemesh_orchestrator.gateway.model_api.deployed import DeployedModel

HEADER_SECONDS = 15.0
"""How long the headers of a stream wait for the first output, so that a run which fails at once is an HTTP error."""
MAX_ANSWER = 16 * 1024 * 1024
"""Most characters of an answer that is sent as a whole."""


class TurnFailed(LanemeshError):
    """The run of a request failed or was cancelled."""


class TurnStream:
    """The events of the turn of a run, Finished or Failed last. A cancelled wait loses nothing."""

    def __init__(self, run: RunReader, model: DeployedModel, *, until: int = 0) -> None:
        """The events of a run of a model. `until`: it ends after the update of this number; 0: after the last one."""
        self._run = run
        self._until = until
        self._updates = run.updates()
        self._reader = TurnReader(model)
        self._ready: deque[TurnEvent] = deque()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TurnEvent:
        if not self._ready and not self._ended:
            await self._advance()
        if not self._ready:
            raise StopAsyncIteration
        event = self._ready.popleft()
        self._ended = self._ended or isinstance(event, (Finished, Failed))
        return event

    async def close(self) -> None:
        """Ends the reading. The run of another caller goes on."""
        await self._updates.aclose()

    async def until_output(self) -> None:
        """Waits for the first event after Began, or for 15 s, and keeps what was read.

        Raises:
            TurnFailed: the run failed before its first output.
            LanemeshError: the run cannot be started.
        """
        read: list[TurnEvent] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(HEADER_SECONDS):
                async for event in self:
                    read.append(event)
                    if not isinstance(event, Began):
                        break
        if read and isinstance(read[-1], Failed):
            raise TurnFailed(read[-1].fault)
        self._ready.extendleft(reversed(read))

    async def _advance(self) -> None:
        while not self._ready:
            try:
                update = await anext(self._updates, None)
            except LanemeshError as error:
                self._ready.append(Lost(error.fault, datetime.now(UTC)))
                return
            if self._run.missed:
                self._ready.append(Lost(_not_kept(self._run.id, self._run.missed), datetime.now(UTC)))
                return
            if update is None:
                self._ended = True
                return
            self._ready.extend(self._reader.read(update))
            if update.sequence == self._until:
                self._ended = True
                return


class OwnedTurn:
    """A run that is cancelled unless it is read to its end, and its events."""

    def __init__(
        self,
        request: Request,
        model: DeployedModel,
        given: Question | str,
        settings: Mapping[str, Any],
        session: Conversation | None = None,
    ) -> None:
        """A run of a model that has not started. `session`: it is the next turn of this one."""
        self._request = request
        mesh = gateway_of(request).mesh
        self._run: Run = mesh.run(
            Deployed(model.name), input=given, settings=settings or None, session=session or "", source=model.source
        )
        self.events = TurnStream(self._run, model)
        """Its events, once it is open."""

    @property
    def run_id(self) -> str:
        """The id of the run, once it is open."""
        return self._run.id

    async def open(self) -> None:
        """Starts the run, and waits for its first output.

        Raises:
            TurnFailed: it failed before its first output.
            LanemeshError: it cannot be started.
            ClientDisconnect: the client has disconnected.
        """
        try:
            await while_connected(self._request, self._open())
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        await self._run.__aenter__()
        await self.events.until_output()

    async def whole(self) -> WholeTurn:
        """Reads the run to its end, and closes it.

        Raises:
            TurnFailed: it failed or was cancelled, or its answer is too long ("answer-too-long").
            ClientDisconnect: the client has disconnected.
        """
        try:
            return await while_connected(self._request, whole_turn(self.events))
        finally:
            await self.close()

    async def close(self) -> None:
        """Cancels the run unless it has ended."""
        await self._run.close()


@dataclass(frozen=True, slots=True)
class WholeTurn:
    """A turn that is complete."""

    began: Began
    """The run."""
    text: str
    """What the model wrote."""
    calls: tuple[ToolCall, ...]
    """The tools that it wants called."""
    finished: Finished
    """Its end."""


async def whole_turn(events: AsyncIterator[TurnEvent]) -> WholeTurn:
    """Reads a turn to its end. Raises TurnFailed if it failed, or is longer than 16 MiB ("answer-too-long")."""
    began: Began | None = None
    texts: list[str] = []
    calls: list[ToolCall] = []
    length = 0
    async for event in events:
        match event:
            case Began():
                began = event
            case Wrote():
                length += len(event.text)
                texts.append(event.text)
            case Called():
                length += len(event.call.arguments)
                calls.append(event.call)
            case Failed():
                raise TurnFailed(event.fault)
            case Finished() if began is not None:
                return WholeTurn(began, "".join(texts), tuple(calls), event)
        if length > MAX_ANSWER:
            message = f"the answer has more than {MAX_ANSWER:,} characters. Request a stream"
            raise TurnFailed(Fault(code=Code.OUT_OF_RANGE, reason="answer-too-long", message=message))
    raise TurnFailed(
        Fault(code=Code.DATA_LOSS, reason="answer-incomplete", message="the updates of the run stopped before its end")
    )


def _not_kept(run_id: str, count: int) -> Fault:
    message = f"{count:,} updates of the run {run_id} are no longer kept. Give the mesh a store"
    return Fault(code=Code.DATA_LOSS, reason="updates-not-kept", message=message)
