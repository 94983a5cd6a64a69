"""`lanemesh chat`: turns of a conversation, each a run of the pipeline on one mesh, so that models stay loaded."""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import signal
import sys
from pathlib import Path
from types import FrameType

from lanemesh._aio.forks import reset_signals_in_children
from lanemesh._aio.signals import STOP_SIGNALS, end_at_once
from lanemesh.faults import LanemeshError

from lanemesh_orchestrator.cli.commands.chat_session import ChatOptions, Session
from lanemesh_orchestrator.cli.exits import CommandError, ExitCode
from lanemesh_orchestrator.cli.input.documents import parse_settings, pipeline_of
from lanemesh_orchestrator.cli.input.encoding import require_text
from lanemesh_orchestrator.cli.input.inputs import line_text
from lanemesh_orchestrator.cli.interrupts import GAVE_UP, GRACE_SECONDS, LAST_SECONDS
from lanemesh_orchestrator.cli.loop_thread import LoopThread
from lanemesh_orchestrator.cli.output.errors import report
from lanemesh_orchestrator.cli.output.streams import is_terminal

HELP = """/help        lists these commands
/reset       starts a new conversation without the earlier turns
/save FILE   writes the conversation to a new file
A line that begins with a space is sent unchanged. Ctrl-C cancels an answer, Ctrl-D ends the chat."""


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
