"""The conversation of `lanemesh chat`: its mesh, its turns and its answers."""

from __future__ import annotations

import logging
import secrets
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lanemesh.client.specs import Conversation
from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import update_pb2
from lanemesh.values import Message, Question

from lanemesh_orchestrator.cli.commands.run import StartedRun
from lanemesh_orchestrator.cli.exits import CommandError, InvalidPipeline, RunFailed
from lanemesh_orchestrator.cli.input.documents import PipelineFile
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host, shown_address
from lanemesh_orchestrator.cli.output.faults import is_warning
from lanemesh_orchestrator.cli.output.logs import written_by
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import delivered
from lanemesh_orchestrator.cli.output.run_view import TextView
from lanemesh_orchestrator.cli.output.stats import RunStats
from lanemesh_orchestrator.cli.output.streams import Streams
from lanemesh_orchestrator.cli.output.visible import visible
from lanemesh_orchestrator.cli.output.wrapping import WordWrapper

if TYPE_CHECKING:
    from lanemesh.client.run_host import RunHost
    from lanemesh.client.runs import Run

MAX_HISTORY_CHARACTERS = 16_000
"""Maximum length of the history of a question; the oldest turns are dropped first."""

SHOWN_CHARACTERS = 60
"""Most characters of the last question of a session that goes on."""
MAX_TRANSCRIPT_CHARACTERS = 4_000_000
"""Maximum length of a conversation that `/save` writes; the oldest turns are omitted first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """The options of `chat`."""

    pipe: str
    """The pipeline's file, or the name of a deployed one, as "@chat"."""
    host: HostOptions = field(default_factory=HostOptions)
    """`--spread`, `--mesh`, `--nodes`."""
    settings: Sequence[str] = ()
    """`--set`."""
    turns: int = 20
    """`--history`: maximum number of earlier turns that are sent with a question."""
    session: str = ""
    """`--session`: goes on with a session that the mesh keeps; empty: a new session, whose turns are in this process alone."""
    source: str = ""
    """`--source`."""
    debug: bool = False
    """`--debug`."""
    log_level: int = logging.WARNING
    """The lowest level of shown log lines of nodes."""


def _new_session() -> str:
    return f"chat-{secrets.token_hex(16)}"


class Session:
    """A conversation: its mesh and its turns. It is used in the thread of the loop."""

    def __init__(self, options: ChatOptions, pipeline: PipelineFile, settings: dict[str, Any]) -> None:
        self._options = options
        self._pipeline = pipeline
        self._settings = settings
        self._history: deque[tuple[Message, Message]] = deque(maxlen=options.turns)
        self._transcript: deque[tuple[str, str]] = deque()
        self._stack = AsyncExitStack()
        self._opened: RunHost | None = None
        self._streams: Streams | None = None
        self._takes_questions = False
        self._run: Run | None = None
        self._source = ""
        self._first = True
        self._id = options.session or _new_session()
        """The session of its runs: they share its memory."""
        self._is_kept = bool(options.session) and options.turns > 0
        """The mesh keeps the turns and adds the history."""

    @property
    def _host(self) -> RunHost:
        assert self._opened is not None, "opened before the first turn"
        return self._opened

    @property
    def closed(self) -> bool:
        """Standard output was closed."""
        return self._streams is not None and self._streams.closed

    async def open(self) -> None:
        """Starts the mesh and checks the pipeline."""
        self._streams = Streams()
        self._opened = await self._stack.enter_async_context(open_host(self._options.host))
        faults = await self._host.validate(
            self._pipeline.document,
            settings=self._settings,
            variables=self._pipeline.variables,
            source=self._options.source,
        )
        if any(not is_warning(fault) for fault in faults):
            raise InvalidPipeline(self._pipeline.name, self._pipeline.text, faults)
        types = await self._host.node_types(self._pipeline.providers())
        source = self._pipeline.source(types, named=self._options.source, kinds=("chat",))
        if source is None:
            known = ", ".join(one.component for one in self._pipeline.sources(types))
            hint = f"Name one of its sources with --source: {known}" if known else "It has no source, such as chat"
            raise CommandError(f"{self._pipeline.name} cannot be used with chat. {hint}.")
        self._source = source.component
        self._takes_questions = "questions" in source.lanes
        if self._is_kept:
            await self._report_turns()

    async def _report_turns(self) -> None:
        """Reports how many turns the session has. One without turns is new."""
        try:
            turns = await self._host.session(self._pipeline.document, self._id).turns()
        except LanemeshError as error:
            if error.fault.reason != "unknown-session":
                raise
            return
        if not turns:  # it was forked before the end of its only turn
            return
        last = " ".join(turns[-1].question.text[:200].split())[:SHOWN_CHARACTERS]
        print(visible(f"The conversation goes on after {len(turns):,} turns, the last: {last}"), file=sys.stderr)

    async def close(self) -> None:
        """Stops the mesh."""
        await self._stack.aclose()

    async def cancel(self) -> None:
        """Cancels the current answer."""
        if self._run is not None:
            await self._run.cancel("interrupted by the user")

    async def reset(self) -> None:
        """Forgets the turns so far, and begins a new session."""
        self._history.clear()
        self._transcript.clear()
        self._id = _new_session()

    async def transcript(self) -> str:
        """The conversation as text: each question after "> ", and its answer."""
        return "\n".join(f"> {question}\n\n{answer.rstrip()}\n" for question, answer in self._transcript)

    async def turn(self, text: str) -> None:
        """Sends a question, prints the answer when it arrives, and keeps both."""
        history = () if self._is_kept else tuple(message for turn in self._history for message in turn)
        given = Question(text, history=history) if self._takes_questions else text
        self._run = self._host.run(
            self._pipeline.document,
            input=given,
            settings=self._settings,
            variables=self._pipeline.variables,
            source=self._source,
            session=Conversation(id=self._id, history_turns=self._options.turns) if self._is_kept else self._id,
        )
        try:
            answer = await self._show(self._run)
        finally:
            self._run = None
        self._transcript.append((text, answer))
        while sum(len(question) + len(reply) for question, reply in self._transcript) > MAX_TRANSCRIPT_CHARACTERS:
            self._transcript.popleft()
        self._history.append((Message("user", text), Message("assistant", answer)))
        while sum(len(past.content) for turn in self._history for past in turn) > MAX_HISTORY_CHARACTERS:
            self._history.popleft()

    async def _show(self, run: Run) -> str:
        assert self._streams is not None, "opened before the first turn"
        streams = self._streams
        answer: list[str] = []
        stats, job = RunStats(), update_pb2.JobUpdate()
        view = TextView(
            streams,
            Printer(WordWrapper(streams) if streams.out_is_terminal else streams, {}),
            orchestrator=shown_address(self._options.host, self._host) if self._first else None,
            timing=False,
            log_level=self._options.log_level,
        )
        try:
            async with StartedRun(run, self._pipeline) as updates:
                with written_by(streams.note):
                    async for update in updates:
                        stats.take(update)
                        view.show(update)
                        if update.WhichOneof("kind") == "job":
                            job = update.job
                        elif update.WhichOneof("kind") == "output":
                            answer.append(output_text(update.output))
                        await streams.wait_for_capacity()
        finally:
            view.finish(stats, job.state)
            await streams.drain()
        self._first = False
        if job.state == update_pb2.RUN_STATE_FAILED:
            embedded = self._options.host.mesh is None and self._options.host.spread is None
            raise RunFailed(Fault.from_proto(job.error), delivered(stats), embedded=embedded)
        return "".join(answer)


def output_text(output: update_pb2.OutputUpdate) -> str:
    """The text that an output adds to the answer in the history."""
    kind = output.item.WhichOneof("payload")
    if kind == "text":
        return output.item.text
    return output.item.answer.text or output.item.answer.data_json if kind == "answer" else ""
