"""The inputs of a run: `--input`, `--file` or standard input, as a whole or line by line."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanemesh_orchestrator.cli.exits import CommandError
from lanemesh_orchestrator.cli.input.encoding import BYTE_ORDER_MARK
from lanemesh_orchestrator.cli.output.streams import is_terminal

if TYPE_CHECKING:
    from lanemesh_orchestrator.pipeline.source import Source

_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """The options for inputs."""

    text: str | None = None
    """`--input`."""
    file: Path | None = None
    """`--file`."""
    lines: bool = False
    """`--lines`."""

    def check(self) -> None:
        """Raises `CommandError` for a contradiction."""
        if self.text is not None and self.file is not None:
            raise CommandError("--input and --file cannot both be given: a run has one input from the command line.")
        if self.lines and self.text is not None:
            raise CommandError("--lines needs standard input or --file: --input is always one input.")
        if self.file is not None and not self.file.is_file():
            raise CommandError(f"--file {self.file}: {_why_no_file(self.file)}")


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
        self._ready: list[Any] = []
        given = options.text is not None or options.file is not None
        self.typed = not given and source is not None and is_terminal(sys.stdin)
        """They are typed on a terminal."""
        self.leaves_terminal = given or source is None
        """Standard input is not read, so that questions can be asked there."""
        if options.text is not None:
            self._ready = [options.text]
        elif options.file is not None and not options.lines:
            self._ready = file_inputs(options.file, read_value(options.file, source))
        elif self.typed:
            print("reading from the terminal; Ctrl-D ends the input", file=sys.stderr)
        self._streams = not self._ready and (given or source is not None) and (given or sys.stdin is not None)

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            for value in self._ready:
                self.count += 1
                yield value
            if self._streams:
                async for value in self._read():
                    self.count += 1
                    yield value
        except CommandError as error:
            self.error = error
            raise

    async def _read(self) -> AsyncIterator[str]:
        file = self._options.file
        name = str(file) if file is not None else "standard input"
        fd = os.open(file, os.O_RDONLY) if file is not None else 0
        if self._options.lines or is_terminal_fd(fd):
            async for line in read_lines(fd, name):
                yield line
        elif text := decode(await read_whole(fd, name), name, first=True):
            yield text


def is_terminal_fd(fd: int) -> bool:
    """Whether a file descriptor is a terminal: its lines are inputs, because a user expects an answer before Ctrl-D."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def read_value(file: Path, source: Source | None) -> Any:
    """The content of a file as the source's value: media by its type, a `Document` with the text or with the file itself, or text
    for a source that has no documents. Raises `CommandError` if it cannot be read, is too large, or the source does not take its
    kind."""
    from lanemesh.file_values import file_document, file_value, media_type_of
    from lanemesh.items import MAX_MEDIA_BYTES, MAX_VALUE_BYTES

    takes_files = source is None or source.sends("documents")
    mime_type = media_type_of(file.name)
    lane = mime_type.partition("/")[0]
    is_media = lane in ("image", "audio", "video")
    limit = MAX_MEDIA_BYTES if is_media or takes_files else MAX_VALUE_BYTES
    try:
        size = file.stat().st_size
        if size > limit:
            hint = "Split it." if is_media or takes_files else "Split it, or send it with --lines."
            raise CommandError(
                f"--file {file}: {size:,} bytes exceed the limit of one input, which is {limit:,}. {hint}"
            )
        content = file.read_bytes()
    except OSError as error:
        raise CommandError(f"--file {file}: it cannot be read: {error.strerror}.") from None
    if is_media and not takes_files and source is not None and not source.sends(lane):
        raise CommandError(
            f"--file {file}: {source.label} does not accept {lane} ({mime_type}). Use a source of the node type file."
        )
    if is_media:
        sends = source is None or source.sends(lane)
        return file_value(str(file), content) if sends else file_document(str(file), content)
    return file_value(str(file), content) if takes_files else decode(content, f"--file {file}", first=True)


def file_inputs(file: Path, value: Any) -> list[Any]:
    """A value of a file as inputs: media with the name of the file, for errors; a document with a file of more than 8 MiB in
    pieces, as one message carries at most 16 MiB."""
    from lanemesh.codec import make_item
    from lanemesh.file_values import file_items
    from lanemesh.items import FILE_NAME, Envelope, LaneType
    from lanemesh.values import Document, Media

    if isinstance(value, Document) and value.file is not None:
        return list(file_items(value))
    if isinstance(value, Media):
        lane = LaneType(type(value).__name__.lower())
        return [make_item(lane, value, Envelope(metadata={FILE_NAME: str(file)}), where="the command")]
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
