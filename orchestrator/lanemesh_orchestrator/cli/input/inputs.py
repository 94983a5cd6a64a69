"""The inputs of a run: `--input`, `--file` or standard input, as a whole or line by line."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.input.encoding import BYTE_ORDER_MARK
from lanemesh_orchestrator.cli.output.streams import is_terminal

if TYPE_CHECKING:
    from lanemesh_orchestrator.pipeline.source import Source

_READ_BYTES = 64 * 1024
MEDIA = frozenset({"image", "audio", "video"})
"""The first parts of media types, which are the lanes of these media too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """The options for inputs."""

    texts: Sequence[str] = ()
    """`--input`, each one input."""
    files: Sequence[Path] = ()
    """`--file`, each one input."""
    lines: bool = False
    """`--lines`."""

    @property
    def are_given(self) -> bool:
        """The inputs do not come from standard input."""
        return bool(self.texts or self.files)

    def check(self) -> None:
        """Raises `CommandError` for a contradiction."""
        if self.texts and self.files:
            raise CommandError("--input and --file cannot both be given. Put the text into a file, too.")
        if self.lines and self.texts:
            raise CommandError("--lines needs standard input or --file: --input is always one input.")
        for file in self.files:
            if not file.is_file():
                raise CommandError(f"--file {file}: {_why_no_file(file)}")


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return "it is a folder. Give the path of a file."
    if path.exists():
        return "it is a device or a pipe, not a file. Send its content to standard input instead, without --file."
    return "it does not exist. Give the path of a file."


class Inputs:
    """The inputs of a run, as an asynchronous iterable that is read as fast as the source takes them."""

    def __init__(self, options: InputOptions, source: Source | None) -> None:
        """Raises `CommandError` if there is nothing to feed the source, or something and no source."""
        options.check()
        self._options = options
        self._source = source
        self.error: CommandError | None = None
        """Why the inputs broke off, if they did."""
        self.count = 0
        """Number of inputs so far."""
        self.typed = not options.are_given and source is not None and is_terminal(sys.stdin)
        """They are typed on a terminal."""
        self.leaves_terminal = options.are_given or source is None
        """Standard input is not read, so that questions can be asked there."""
        self._first: list[Any] = []
        """The inputs of the first file, which is read before the run begins."""
        if options.files and not options.lines:
            for file in options.files[1:]:
                check_file(file, source)
            self._first = file_inputs(options.files[0], read_value(options.files[0], source))
        elif self.typed:
            print("reading from the terminal; Ctrl-D ends the input", file=sys.stderr)

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for value in self._read():
                self.count += 1
                yield value
        except CommandError as error:
            self.error = error
            raise

    async def _read(self) -> AsyncIterator[Any]:
        options = self._options
        for text in options.texts:
            yield text
        for file in options.files:
            if options.lines:
                async for line in _lines_of(file):
                    yield line
            else:
                inputs = self._first or file_inputs(file, await asyncio.to_thread(read_value, file, self._source))
                self._first = []
                for value in inputs:
                    yield value
        if not options.are_given and self._source is not None and sys.stdin is not None:
            if options.lines or is_terminal_fd(0):
                async for line in read_lines(0, "standard input"):
                    yield line
            elif text := decode(await read_whole(0, "standard input"), "standard input", first=True):
                yield text


async def _lines_of(file: Path) -> AsyncIterator[str]:
    """The lines of a file. Raises `CommandError` if it cannot be opened."""
    try:
        fd = os.open(file, os.O_RDONLY)
    except OSError as error:
        raise _unreadable(file, error) from None
    async for line in read_lines(fd, str(file)):
        yield line
    os.close(fd)  # after the thread that reads it has ended


def is_terminal_fd(fd: int) -> bool:
    """Whether a file descriptor is a terminal: its lines are inputs, because a user expects an answer before Ctrl-D."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def check_file(file: Path, source: Source | None) -> None:
    """Raises `CommandError` if a file is too large for one input, or the source does not take its kind."""
    from lanemesh.file_values import media_type_of
    from lanemesh.items import MAX_MEDIA_BYTES, MAX_VALUE_BYTES

    takes_files = source is None or source.sends("documents")
    mime_type = media_type_of(file.name)
    lane = mime_type.partition("/")[0]
    limit = MAX_MEDIA_BYTES if takes_files or lane in MEDIA else MAX_VALUE_BYTES
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _unreadable(file, error) from None
    if size > limit:
        hint = "Split it." if takes_files or lane in MEDIA else "Split it, or send it with --lines."
        raise CommandError(f"--file {file}: {size:,} bytes exceed the limit of one input, which is {limit:,}. {hint}")
    if lane in MEDIA and not takes_files and source is not None and not source.sends(lane):
        raise CommandError(
            f"--file {file}: {source.label} does not accept {lane} ({mime_type}). Use a source of the node type file."
        )


def read_value(file: Path, source: Source | None) -> Any:
    """The content of a file as the source's value: media by its type, a `Document` with the text or with the file itself, or text
    for a source that has no documents. Raises `CommandError` if it cannot be read, is too large, or the source does not take its
    kind."""
    from lanemesh.file_values import file_document, file_value, media_type_of
    from lanemesh.rendering import valid_unicode

    check_file(file, source)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None
    name, lane = valid_unicode(str(file)), media_type_of(file.name).partition("/")[0]
    if lane in MEDIA:
        sends = source is None or source.sends(lane)
        return file_value(name, content) if sends else file_document(name, content)
    takes_files = source is None or source.sends("documents")
    return file_value(name, content) if takes_files else decode(content, f"--file {file}", first=True)


def _unreadable(file: Path, error: OSError) -> CommandError:
    return CommandError(f"--file {file}: it cannot be read: {error.strerror}.")


def file_inputs(file: Path, value: Any) -> list[Any]:
    """A value of a file as inputs: media with the name of the file, for errors; a document with a file of more than 8 MiB in
    pieces, as one message carries at most 16 MiB."""
    from lanemesh.codec import make_item
    from lanemesh.file_values import file_items
    from lanemesh.items import FILE_NAME, Envelope, LaneType
    from lanemesh.rendering import valid_unicode
    from lanemesh.values import Document, Media

    if isinstance(value, Document) and value.file is not None:
        return list(file_items(value))
    if isinstance(value, Media):
        lane = LaneType(type(value).__name__.lower())
        return [make_item(lane, value, Envelope(metadata={FILE_NAME: valid_unicode(str(file))}), where="the command")]
    return [value]


def decode(content: bytes, name: str, *, first: bool = False) -> str:
    """The text of bytes. `first`: they are the beginning of an input, where a byte order mark is left out.

    Raises `CommandError`, which names the input, if they are not UTF-8."""
    if first:
        content = content.removeprefix(BYTE_ORDER_MARK)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{name}: byte {error.start:,} is not UTF-8, and its name is not that of an image, audio or "
            "video. Convert it to UTF-8 text, or give the file a matching suffix, such as .png or .wav, and use --file."
        ) from None


async def read_whole(fd: int, name: str) -> bytes:
    """Everything that a file descriptor has, up to the limit of one input."""
    from lanemesh.items import MAX_VALUE_BYTES

    content = bytearray()
    async for chunk in read_chunks(fd):
        content += chunk
        if len(content) > MAX_VALUE_BYTES:
            raise CommandError(
                f"{name} has more than {MAX_VALUE_BYTES:,} bytes, the limit of one input. Send it with --lines, or split it."
            )
    return bytes(content)


async def read_lines(fd: int, name: str) -> AsyncIterator[str]:
    """Yields each line of a file descriptor when it arrives, without its end."""
    from lanemesh.items import MAX_VALUE_BYTES

    rest, number = bytearray(), 0
    async for chunk in read_chunks(fd):
        *whole, tail = chunk.split(b"\n")
        for part in whole:
            number += 1
            yield line_text(bytes(rest + part), name, number)
            rest.clear()
        rest += tail
        if len(rest) > MAX_VALUE_BYTES:
            raise CommandError(
                f"{name}, line {number + 1} has more than {MAX_VALUE_BYTES:,} bytes, the limit of one input."
            )
    if rest and (number or bytes(rest) != BYTE_ORDER_MARK):
        yield line_text(bytes(rest), name, number + 1)


def line_text(line: bytes, name: str, number: int) -> str:
    """The text of line `number` (from 1) of an input, without its end. Raises `CommandError` if it is not UTF-8."""
    return decode(line.removesuffix(b"\n").removesuffix(b"\r"), f"{name}, line {number}", first=number == 1)


async def read_chunks(fd: int) -> AsyncIterator[bytes]:
    """Yields the content of a file descriptor when it arrives, at most 64 KiB at a time.

    It is read in a daemon thread, one chunk ahead at most, because a blocking read cannot be cancelled: the process ends without
    waiting for it. It bypasses Python's own buffer, whose lock would be held at exit.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    wanted = threading.Semaphore(1)

    def read() -> None:
        chunk: bytes | OSError = b" "
        while chunk and not isinstance(chunk, OSError):
            wanted.acquire()
            try:
                chunk = os.read(fd, _READ_BYTES)
            except OSError as error:
                chunk = error
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)
            except RuntimeError:  # The loop is closed: there is no reader any more.
                return

    threading.Thread(target=read, name="lanemesh-input", daemon=True).start()
    while True:
        chunk = await arrived.get()
        if isinstance(chunk, OSError):
            raise CommandError(f"The input cannot be read: {chunk.strerror}.")
        if not chunk:
            return
        wanted.release()
        yield chunk
