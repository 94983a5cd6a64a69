"""`lanemesh chat`: turns of a conversation, each a run of the pipeline on one mesh, so that models stay loaded."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import secrets
import signal
import sys
import threading
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from lanemesh._aio.forks import reset_signals_in_children
from lanemesh._aio.signals import STOP_SIGNALS, end_at_once
from lanemesh.client.specs import Conversation
from lanemesh.faults import Fault, LanemeshError
from lanemesh.v1 import update_pb2
from lanemesh.values import Message, Question

from lanemesh_orchestrator.cli.commands.run import StartedRun
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode, InvalidPipeline, RunFailed
from lanemesh_orchestrator.cli.input.documents import PipelineFile, parse_settings, pipeline_of
from lanemesh_orchestrator.cli.input.encoding import require_text
from lanemesh_orchestrator.cli.input.hosts import HostOptions, open_host, shown_address
from lanemesh_orchestrator.cli.input.inputs import line_text
from lanemesh_orchestrator.cli.interrupts import GAVE_UP, GRACE_SECONDS, LAST_SECONDS
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.faults import is_warning
from lanemesh_orchestrator.cli.output.logs import written_by
from lanemesh_orchestrator.cli.output.printer import Printer
from lanemesh_orchestrator.cli.output.render import delivered
from lanemesh_orchestrator.cli.output.run_view import TextView
from lanemesh_orchestrator.cli.output.stats import RunStats
from lanemesh_orchestrator.cli.output.streams import Streams, is_terminal
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
HELP = """/help        lists these commands
/reset       starts a new conversation without the earlier turns
/save FILE   writes the conversation to a new file
A line that begins with a space is sent unchanged. Ctrl-C cancels an answer, Ctrl-D ends the chat."""

_T = TypeVar("_T")


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


def chat(options: ChatOptions) -> ExitCode:
    """Holds a conversation on the terminal, or over the lines of standard input, until its end."""
    settings = parse_settings(options.settings)
    reset_signals_in_children(_terminate)
    signal.signal(signal.SIGTERM, _terminate)
    with LoopThread() as loop:
        session = Session(options, loop.wait(pipeline_of(options.pipe, options.host)), settings)
        loop.wait(session.open())
        code = ExitCode.FAILED
        try:
            code = _converse(loop, session, options)
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        finally:
            code = _close(loop, session, code)
        return code


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends the chat where Ctrl-C would end an answer."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _close(loop: LoopThread, session: Session, code: ExitCode) -> ExitCode:
    """Closes the session of a chat that ends with an exit code. Returns the code, or that of an interrupt in the meantime.

    After an interrupt it takes 5 s at most; a further one ends the process at once.
    """
    interrupts: queue.SimpleQueue[bool] = queue.SimpleQueue()  # its `put` may interrupt its `get`

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.put(True)

    reset_signals_in_children(interrupt)
    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    closing = loop.start(session.close())
    closing.add_done_callback(lambda _: interrupts.put(False))
    if code is not ExitCode.INTERRUPTED and interrupts.get():
        code = ExitCode.INTERRUPTED
    if code is ExitCode.INTERRUPTED and not closing.done():
        with contextlib.suppress(queue.Empty):
            if interrupts.get(timeout=GRACE_SECONDS + LAST_SECONDS):
                end_at_once(ExitCode.INTERRUPTED)
        if not closing.done():
            print(GAVE_UP, file=sys.stderr, flush=True)
            end_at_once(ExitCode.INTERRUPTED)
    closing.result()
    return code


def _converse(loop: LoopThread, session: Session, options: ChatOptions) -> ExitCode:
    interactive = is_terminal(sys.stdin)
    if interactive:
        print("Ctrl-D ends the chat, Ctrl-C an answer; /help lists commands.", file=sys.stderr)
    interrupted, number = False, 0
    while not session.closed:
        try:
            number += 1
            line = _ask(interactive=interactive, number=number)
        except Terminated:
            raise
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
            if not _command(loop, session, line):
                _answer(loop, session, require_text("The input", line))
        except (CommandError, LanemeshError) as error:
            if not interactive:
                raise
            report(error, debug=options.debug)
    return ExitCode.COMPLETED


def _ask(*, interactive: bool, number: int) -> str | None:
    """The next turn, which is line `number` of the input; None at the end."""
    if not interactive:
        line = sys.stdin.buffer.readline() if sys.stdin is not None else b""
        return line_text(line, "standard input", number) if line else None
    try:
        if is_terminal(sys.stdout):
            import readline  # noqa: F401  # adds line editing to `input`

            return input("> ")
        print("> ", end="", file=sys.stderr, flush=True)
        return input()
    except EOFError:
        print(file=sys.stderr)
        return None


def _command(loop: LoopThread, session: Session, line: str) -> bool:
    """Runs a command such as `/reset`. Returns whether the line is a command; a line that begins with a space is not."""
    name, _, argument = line.rstrip().partition(" ")
    if name == "/help":
        print(HELP, file=sys.stderr)
    elif name == "/reset" and not argument:
        loop.start(session.reset()).result()
        print("A new conversation starts.", file=sys.stderr)
    elif name == "/save":
        _save(argument.strip(), loop.start(session.transcript()).result())
    else:
        return False
    return True


def _save(path: str, text: str) -> None:
    """Writes the conversation to a new file. Raises `CommandError` if it cannot be written, or there is such a file."""
    if not path:
        raise CommandError("/save needs the name of a file, such as: /save chat.txt")
    try:
        with Path(path).expanduser().open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CommandError(f"/save {path}: the file exists already. Use another name.") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise CommandError(
            f"/save {path}: it cannot be written: {getattr(error, 'strerror', None) or error}."
        ) from None
    print(f"Saved to {path}.", file=sys.stderr)


def _answer(loop: LoopThread, session: Session, text: str) -> None:
    """Answers one turn. Ctrl-C cancels the answer, a second one ends the process. SIGTERM cancels it and is raised."""
    turn = loop.start(session.turn(text))
    try:
        turn.result()
    except KeyboardInterrupt as interrupt:
        try:
            loop.start(session.cancel())
            concurrent.futures.wait([turn], timeout=GRACE_SECONDS)
            if not turn.done():
                turn.cancel()
                loop.check(LAST_SECONDS)
        except KeyboardInterrupt:
            end_at_once(ExitCode.INTERRUPTED)
        if isinstance(interrupt, Terminated):
            raise


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
        last = " ".join(turns[-1].question.text[:200].split())[:SHOWN_CHARACTERS]
        print(f"The conversation goes on after {len(turns):,} turns, the last: {last}", file=sys.stderr)

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
