"""`lanemesh chat`: turns of a conversation, each a run of the pipeline on one mesh, so that models stay loaded."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import threading
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from lanemesh._aio.signals import end_at_once
from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import update_pb2
from lanemesh.values import Message, Question

from lanemesh_orchestrator.cli.commands.run import StartedRun
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, InvalidPipeline, RunFailed
from lanemesh_orchestrator.cli.input.documents import PipelineFile, parse_settings, pipeline_of
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host, shown_address
from lanemesh_orchestrator.cli.interrupts import GAVE_UP, GRACE_SECONDS, LAST_SECONDS
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.faults import is_warning, normalised
from lanemesh_orchestrator.cli.output.logs import written_by
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import delivered
from lanemesh_orchestrator.cli.output.run_view import TextView
from lanemesh_orchestrator.cli.output.stats import RunStats
from lanemesh_orchestrator.cli.output.streams import Streams, is_terminal

if TYPE_CHECKING:
    from lanemesh.client.runs import Run, RunHost

MAX_HISTORY_CHARACTERS = 16_000
"""Longest history that goes with a question; the oldest turns are forgotten first."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """What the command line of `chat` says."""

    pipe: str
    """The pipeline's file, or the name of a deployed one, as "@chat"."""
    host: HostOptions = field(default_factory=HostOptions)
    """`--spread`, `--mesh`, `--nodes`."""
    settings: Sequence[str] = ()
    """`--set`."""
    turns: int = 20
    """`--history`: most earlier turns that go with a question."""
    debug: bool = False
    """`--debug`."""
    log_level: int = logging.WARNING
    """The least level of the nodes' logs that is shown."""


def chat(options: ChatOptions) -> ExitCode:
    """Holds a conversation on the terminal, or over the lines of standard input, until its end."""
    settings = parse_settings(options.settings)
    with LoopThread() as loop:
        session = Session(options, loop.wait(pipeline_of(options.pipe, options.host)), settings)
        loop.wait(session.open())
        try:
            return _converse(loop, session, options)
        finally:
            loop.wait(session.close())


def _converse(loop: LoopThread, session: Session, options: ChatOptions) -> ExitCode:
    interactive = is_terminal(sys.stdin)
    if interactive:
        print("Ctrl-D ends the chat, Ctrl-C an answer.", file=sys.stderr)
    interrupted = False
    while not session.closed:
        try:
            line = _ask(interactive=interactive)
        except KeyboardInterrupt:
            # The first one may have been meant for an answer that had just ended.
            if interrupted or not interactive:
                return ExitCode.INTERRUPTED
            interrupted = True
            print("\nCtrl-D, or Ctrl-C again, ends the chat.", file=sys.stderr)
            continue
        if line is None:
            return ExitCode.COMPLETED
        interrupted = False
        if not line.strip():
            continue
        try:
            _answer(loop, session, line)
        except (CommandError, LanemeshError) as error:
            if not interactive:
                raise
            report(error, debug=options.debug)
    return ExitCode.COMPLETED


def _ask(*, interactive: bool) -> str | None:
    """The next turn; None at the end."""
    if not interactive:
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None
    try:
        if is_terminal(sys.stdout):
            import readline  # noqa: F401  # gives `input` its line editing

            return input("> ")
        print("> ", end="", file=sys.stderr, flush=True)
        return input()
    except EOFError:
        print(file=sys.stderr)
        return None


def _answer(loop: LoopThread, session: Session, text: str) -> None:
    """Answers one turn. Ctrl-C cancels the answer, a second one ends the process."""
    turn = loop.start(session.turn(text))
    try:
        turn.result()
    except KeyboardInterrupt:
        try:
            loop.start(session.cancel())
            concurrent.futures.wait([turn], timeout=GRACE_SECONDS)
            if not turn.done():
                turn.cancel()
                loop.check(LAST_SECONDS)
        except KeyboardInterrupt:
            end_at_once(ExitCode.INTERRUPTED)


class Session:
    """A conversation: its mesh and what was said. Lives in the loop's thread."""

    def __init__(self, options: ChatOptions, pipeline: PipelineFile, settings: dict[str, Any]) -> None:
        self._options = options
        self._pipeline = pipeline
        self._settings = settings
        self._history: deque[tuple[Message, Message]] = deque(maxlen=options.turns)
        self._stack = AsyncExitStack()
        self._opened: RunHost | None = None
        self._streams: Streams | None = None
        self._takes_questions = False
        self._run: Run | None = None
        self._first = True

    @property
    def _host(self) -> RunHost:
        assert self._opened is not None, "opened before the first turn"
        return self._opened

    @property
    def closed(self) -> bool:
        """Nobody reads standard output any more."""
        return self._streams is not None and self._streams.closed

    async def open(self) -> None:
        """Starts the mesh and checks the pipeline."""
        self._streams = Streams()
        self._opened = await self._stack.enter_async_context(open_host(self._options.host))
        faults = normalised(await self._host.validate(self._pipeline.document, settings=self._settings))
        if any(not is_warning(fault) for fault in faults):
            raise InvalidPipeline(self._pipeline.name, self._pipeline.text, faults)
        source = self._pipeline.source(await self._host.node_types(self._pipeline.providers()))
        if source is None:
            raise CommandError(f"{self._pipeline.name} is no pipeline to chat with: it has no source, such as chat.")
        self._takes_questions = "questions" in source.lanes

    async def close(self) -> None:
        """Stops the mesh."""
        await self._stack.aclose()

    async def cancel(self) -> None:
        """Cancels the current answer."""
        if self._run is not None:
            await self._run.cancel("interrupted by the user")

    async def turn(self, text: str) -> None:
        """Asks, prints the answer as it comes, and remembers both."""
        history = tuple(message for turn in self._history for message in turn)
        given = Question(text, history=history) if self._takes_questions else text
        self._run = self._host.run(self._pipeline.document, input=given, settings=self._settings)
        try:
            answer = await self._show(self._run)
        finally:
            self._run = None
        self._history.append((Message("user", text), Message("assistant", answer)))
        while sum(len(said.content) for turn in self._history for said in turn) > MAX_HISTORY_CHARACTERS:
            self._history.popleft()

    async def _show(self, run: Run) -> str:
        assert self._streams is not None, "opened before the first turn"
        streams = self._streams
        answer: list[str] = []
        stats, job = RunStats(), update_pb2.JobUpdate()
        view = TextView(
            streams,
            Printer(streams, {}),
            orchestrator=shown_address(self._options.host, self._host) if self._first else None,
            timing=False,
            log_level=self._options.log_level,
        )
        try:
            async with StartedRun(run, self._pipeline, self._host, self._settings) as updates:
                with written_by(streams.note):
                    async for update in updates:
                        stats.take(update)
                        view.show(update)
                        if update.WhichOneof("kind") == "job":
                            job = update.job
                        elif update.WhichOneof("kind") == "output":
                            answer.append(said(update.output))
                        await streams.room()
        finally:
            view.finish(stats, job.state)
            await streams.drain()
        self._first = False
        if job.state == update_pb2.RUN_STATE_FAILED:
            embedded = self._options.host.mesh is None and self._options.host.spread is None
            raise RunFailed(Fault.from_proto(job.error), delivered(stats), embedded=embedded)
        return "".join(answer)


def said(output: update_pb2.OutputUpdate) -> str:
    """What an output adds to the answer, as the history tells it."""
    kind = output.item.WhichOneof("payload")
    if kind == "text":
        return output.item.text
    return output.item.answer.text or output.item.answer.data_json if kind == "answer" else ""


class LoopThread:
    """An event loop in a thread of its own: the main thread can wait for the terminal meanwhile, and takes Ctrl-C."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="lanemesh-loop", daemon=True)

    def __enter__(self) -> LoopThread:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GRACE_SECONDS)

    def start(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Runs a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs a coroutine in the loop and waits for it; Ctrl-C cancels it and is raised here."""
        future = self.start(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def check(self, seconds: float) -> None:
        """Ends the process if the loop does nothing for so long: user code blocks it, and no later turn would get an answer."""
        try:
            self.start(asyncio.sleep(0)).result(seconds)
        except concurrent.futures.TimeoutError:
            print(GAVE_UP, file=sys.stderr, flush=True)
            end_at_once(ExitCode.INTERRUPTED)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
