"""Outputs as people and pipes read them: pieces as they arrive, one whole a line, JSON values as JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from lanemesh.v1 import lane_pb2, update_pb2

if TYPE_CHECKING:
    from lanemesh_orchestrator.cli.output.files import OutputFile

MAX_HELD_BYTES = 1024 * 1024
"""Bytes of pieces that wait while another whole is printed; above that everything is printed when it arrives."""

_Key = tuple[str, str, str]


class Page(Protocol):
    """Where a printer prints."""

    def out(self, data: str | bytes) -> None:
        """An output."""

    def note(self, text: str, *, dim: bool = False) -> None:
        """Prints a note beside the outputs."""


class TextWriter:
    """Writes the values of one destination one after the other; knows whether a line is still open."""

    def __init__(self, write: Callable[[str], None], *, table_width: int = 0) -> None:
        self._write = write
        self._table_width = table_width
        self._open = False
        self._has_text = False

    def value(self, item: lane_pb2.Item) -> None:
        """Writes the value of an item other than media with content; a piece stays on its line until `end`."""
        field = item.WhichOneof("payload")
        if field == "text":
            self._text(item.text)
        elif field == "answer":
            if item.answer.data_json and not self._has_text:
                self._line(item.answer.data_json)
            else:
                self._text(item.answer.text)
        elif field == "question":
            self._text(item.question.text)
        elif field == "document":
            self._text(item.document.content or item.document.file.uri)
        elif field in ("data_json", "tags_json"):
            self._line(getattr(item, field))
        elif field == "table":
            self._line(render_table(item.table, self._table_width))
        elif field is not None:
            self._line(getattr(item, field).uri)

    def end(self) -> None:
        """A whole ends: the next one begins on a line of its own."""
        if self._open:
            self._write("\n")
        self._open = self._has_text = False

    def _text(self, text: str) -> None:
        if text or not self._has_text:
            # An empty whole is an empty line, so that lines out match lines in.
            self._open = not text.endswith("\n")
            self._has_text = self._has_text or bool(text)
            self._write(text)

    def _line(self, text: str) -> None:
        if self._open and self._has_text:
            self._write("\n")
        self._write(text.rstrip("\n") + "\n")
        self._open = False


def render_table(table: lane_pb2.Table, width: int = 0) -> str:
    """A table as CSV with a header, or drawn if there is a `width`. Cells that are no text are JSON, null is empty."""
    from lanemesh_orchestrator.item_json import table_rows

    rows = [[_cell(value) for value in row] for row in table_rows(table)]
    text = io.StringIO()
    if not width:
        csv.writer(text, lineterminator="\n").writerows([list(table.columns), *rows])
        return text.getvalue()
    from rich.console import Console
    from rich.table import Table

    from lanemesh_orchestrator.cli.output.visible import cells

    drawn = Table()
    for column in table.columns:
        drawn.add_column(*cells([column], fold=False))
    for row in rows:
        drawn.add_row(*cells(row, fold=False))
    Console(file=text, width=width, color_system=None).print(drawn)
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Wholes:
    """One whole after the other: while one is written, the pieces of others wait until it has ended."""

    def __init__(self, write: Callable[[update_pb2.OutputUpdate], None], writers: Sequence[TextWriter]) -> None:
        """`write` writes an output, by one of the writers if it is text."""
        self._write = write
        self._writers = writers
        self._current: _Key | None = None
        self._held: dict[_Key, list[update_pb2.OutputUpdate]] = {}
        self._held_bytes = 0
        self._count = 0

    def add(self, output: update_pb2.OutputUpdate) -> None:
        """Writes an output, or holds it."""
        key = self._key(output)
        if self._current is not None and key != self._current:
            self._hold(key, output)
            return
        self._take(key, output)
        if self._current is None:
            self._release()

    def finish(self) -> None:
        """Writes the waiting outputs and ends the last line."""
        self._release(everything=True)
        self._end_line()

    def _key(self, output: update_pb2.OutputUpdate) -> _Key:
        if output.item.HasField("group"):
            return output.component, output.port, output.item.group.id
        self._count += 1
        return output.component, output.port, f" {self._count}"

    def _take(self, key: _Key, output: update_pb2.OutputUpdate) -> None:
        self._write(output)
        self._current = None if _ends_whole(output.item) else key

    def _hold(self, key: _Key, output: update_pb2.OutputUpdate) -> None:
        self._held.setdefault(key, []).append(output)
        self._held_bytes += output.ByteSize()
        if self._held_bytes > MAX_HELD_BYTES:
            self._release(everything=True)

    def _release(self, *, everything: bool = False) -> None:
        """Writes the waiting outputs, up to the first unfinished whole, or all, each on separate lines."""
        if everything:
            self._end_line()
            self._current = None
        while self._held and self._current is None:
            key = next(iter(self._held))
            for output in self._held.pop(key):
                self._held_bytes -= output.ByteSize()
                self._take(key, output)
            if everything and self._current is not None:
                self._end_line()
                self._current = None

    def _end_line(self) -> None:
        for writer in self._writers:
            writer.end()


class Printer:
    """Prints outputs to standard output, and to the files of `--output`.

    The pieces of one whole stay together: while one is written, others for the same place wait until it has ended.
    """

    def __init__(self, page: Page, files: Mapping[str, OutputFile], *, table_width: int = 0) -> None:
        self._page = page
        self._files = dict(files)
        self._stdout = TextWriter(page.out, table_width=table_width)
        self._writers = {name: TextWriter(self._file_writer(file)) for name, file in files.items()}
        shared = [self._stdout, *(self._writers[name] for name, file in files.items() if file.is_stdout)]
        self._printed = _Wholes(self._write, shared)
        self._wholes = {
            name: self._printed if file.is_stdout else _Wholes(self._write, [self._writers[name]])
            for name, file in files.items()
        }
        self._labelled: str | None = None
        self.label_components = False
        """Print the component before its outputs, on standard error, if several components have outputs."""

    def show(self, output: update_pb2.OutputUpdate) -> None:
        """Prints an output, or writes it to its file."""
        file = self._files.get(output.component)
        if file is not None and not file.is_stdout and _content(output.item) is not None:
            self.write_media(output)
        else:
            self._wholes.get(output.component, self._printed).add(output)

    def write_media(self, output: update_pb2.OutputUpdate) -> str:
        """Writes a media output to its file, if it has one. Returns the file; empty if it has none, or is standard output."""
        file, item, media = self._files.get(output.component), output.item, _content(output.item)
        if file is None or media is None:
            return ""
        if file.is_stdout:
            self._page.out(media.content)
            return ""
        group = f"{output.port} {item.group.id}" if item.HasField("group") else ""
        path = file.write_media(media.content, group, media.mime_type, last=_ends_whole(item))
        if _ends_whole(item):
            self._page.note(f"wrote {path} ({media.mime_type}, {file.sizes[path]:,} bytes)", dim=True)
        return path

    def finish(self) -> None:
        """Prints the waiting outputs and ends the last line."""
        for wholes in (self._printed, *self._wholes.values()):
            wholes.finish()

    def _write(self, output: update_pb2.OutputUpdate) -> None:
        if output.component not in self._files:
            self._print(output)
        elif _content(output.item) is not None:
            self.write_media(output)
        else:
            self._put(output, self._writers[output.component])

    def _print(self, output: update_pb2.OutputUpdate) -> None:
        media = media_of(output.item)
        if self.label_components and output.component != self._labelled:
            self._labelled = output.component
            self._page.note(f"{output.component}:", dim=True)
        if media is not None and not media.uri:
            size = f"{len(media.content):,} bytes"
            self._page.note(f"<{media.mime_type}, {size}: use --output {output.component}=FILE>")
            if _ends_whole(output.item):
                self._stdout.end()
        else:
            self._put(output, self._stdout)

    def _put(self, output: update_pb2.OutputUpdate, writer: TextWriter) -> None:
        """Writes a value other than media with content."""
        writer.value(output.item)
        if _ends_whole(output.item):
            writer.end()
        self._note_cut_off(output)

    def _note_cut_off(self, output: update_pb2.OutputUpdate) -> None:
        if output.item.answer.finish_reason == "length":
            why = "it reached max_tokens, the end of the context, or the agent's max_waves"
            self._page.note(
                f"{output.component}: the answer is truncated (length): {why}. Raise that limit in the config."
            )

    def _file_writer(self, file: OutputFile) -> Callable[[str], None]:
        if file.is_stdout:
            return self._page.out

        def write(text: str) -> None:
            file.write(text.encode())

        return write


def _ends_whole(item: lane_pb2.Item) -> bool:
    """Whether an item is a whole, or the last piece of one."""
    return not item.HasField("group") or item.group.last


def _content(item: lane_pb2.Item) -> lane_pb2.Media | None:
    """The media with its content that an item carries; None if it has another value, or only the place of media."""
    media = media_of(item)
    return media if media is not None and (media.content or not media.uri) else None


def media_of(item: lane_pb2.Item) -> lane_pb2.Media | None:
    """The image, audio or video that an item carries, or the file of a document whose text has not been read."""
    field = item.WhichOneof("payload")
    if field == "image":
        return item.image
    if field == "audio":
        return item.audio
    if field == "document" and item.document.HasField("file") and not item.document.content:
        return item.document.file
    return item.video if field == "video" else None
